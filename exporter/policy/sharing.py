"""Names that share an address: a rule for one grants the address, so that acts to the others pass, too."""

from __future__ import annotations

import re
from functools import lru_cache

from exporter.policy.endpoints import EndpointError, parse_endpoint, parse_host
from exporter.policy.hosts import parse_single_host
from exporter.policy.model import ANSWER, DEFAULT, LOOKUPS, LOOPBACK, NOTHING_SENT, Host, Name

_REMEMBERED_MAX = 4096
_TEXT_MAX = 2048
"""Characters of a rule; recorded ones may be anything."""
_IMPLIED = frozenset({DEFAULT, ANSWER, LOOKUPS, NOTHING_SENT, *(rule.text for rule in LOOPBACK)})
"""What is told as a rule and is none of a file."""
_HOST = re.compile(r'[{ ]"?host"?: (?:"([^"\\]+)"|([^\s,{}\[\]"]+))[,}]')
"""In a mapping, on one line as rules are told; YAML takes its time, and spans may hold many rules."""


def is_of_another_name(rule: str, host: str) -> bool:
    """Whether `rule`, as `egress.rule` has it, is for a name, and `host` is one that it doesn't cover."""
    named = name_in(rule)
    if named is None:
        return False
    try:
        found = parse_single_host(host)
    except EndpointError:
        return False
    return isinstance(found, Name) and not named.covers(found.text)


def name_in(rule: str) -> Name | None:
    """The name, or wildcard, that `rule` is for; None for one for addresses, or none of a file."""
    if rule in _IMPLIED or len(rule) > _TEXT_MAX:
        return None
    host = _host(rule)
    return host if isinstance(host, Name) else None


@lru_cache(maxsize=_REMEMBERED_MAX)
def _host(text: str) -> Host | None:
    """Of the short form, or of the long one, in which it is the value of a key."""
    found = _HOST.search(text) if text.startswith("{") else None
    try:
        return parse_host(found[1] or found[2]) if found else parse_endpoint(text).host
    except EndpointError:
        return None
