"""Names that share an address: a rule for one grants the address, so attempts to the others pass, too."""

from __future__ import annotations

import re
from functools import lru_cache

from exporter.common.documents.problems import InvalidTextError

from .endpoints import parse_endpoint, parse_host
from .hosts import parse_single_host
from .model import ANSWER, DEFAULT, LOOKUPS, LOOPBACK, NOTHING_SENT, Host, Name

_REMEMBERED_MAX = 4096
_TEXT_MAX = 2048
"""The most characters of a rule; a recorded rule may be any text."""
_IMPLIED = frozenset({DEFAULT, ANSWER, LOOKUPS, NOTHING_SENT, *(rule.text for rule in LOOPBACK)})
"""Texts that are reported as rules, but are in no policy file."""
_HOST = re.compile(r'[{ ]"?host"?: (?:"([^"\\]+)"|([^\s,{}\[\]"]+))[,}]')
"""Finds the host in a rule's long form on one line; parsing YAML takes long, and spans may hold many."""


def is_of_another_name(rule: str, host: str) -> bool:
    """Return whether `rule`, as in `egress.rule`, is for a name that doesn't cover the name `host`."""
    named = name_in(rule)
    if named is None:
        return False
    try:
        found = parse_single_host(host)
    except InvalidTextError:
        return False
    return isinstance(found, Name) and not named.covers(found.text)


def name_in(rule: str) -> Name | None:
    """Return the name or wildcard that `rule` is for. None: it is for addresses, or of no file."""
    if rule in _IMPLIED or len(rule) > _TEXT_MAX:
        return None
    host = _host(rule)
    return host if isinstance(host, Name) else None


@lru_cache(maxsize=_REMEMBERED_MAX)
def _host(text: str) -> Host | None:
    """Return the host of a rule in its short or long form. None: there is none."""
    found = _HOST.search(text) if text.startswith("{") else None
    try:
        return parse_host(found[1] or found[2]) if found else parse_endpoint(text).host
    except InvalidTextError:
        return None
