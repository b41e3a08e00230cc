"""Names that share an address: a rule for one grants the address, so that acts to the others pass, too."""

from __future__ import annotations

from functools import lru_cache

from exporter.policy.endpoints import EndpointError, parse_endpoint
from exporter.policy.hosts import parse_single_host
from exporter.policy.model import ANSWER, DEFAULT, LOOPBACK, NOTHING_SENT, Host, Name

_REMEMBERED_MAX = 16_384
_TEXT_MAX = 8192
"""Characters of a rule; recorded ones may be anything."""
_IMPLIED = frozenset({DEFAULT, ANSWER, NOTHING_SENT, *(rule.text for rule in LOOPBACK)})
"""What is told as a rule and is none of a file."""


@lru_cache(maxsize=_REMEMBERED_MAX)
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


@lru_cache(maxsize=_REMEMBERED_MAX)
def name_in(rule: str) -> Name | None:
    """The name, or wildcard, that `rule` is for; None for one for addresses, or none of a file."""
    if rule in _IMPLIED or len(rule) > _TEXT_MAX:
        return None
    host = _host_of_mapping(rule) if rule.startswith("{") else _host(rule)
    return host if isinstance(host, Name) else None


def _host(text: str) -> Host | None:
    try:
        return parse_endpoint(text).host
    except EndpointError:
        return None


def _host_of_mapping(text: str) -> Host | None:
    from exporter.policy.parse import parse_policy  # YAML, which a run without such rules does without
    from exporter.policy.problems import PolicyError

    try:
        rules = parse_policy(f"version: 1\nallow:\n- {text}\n".encode(errors="replace"), "").rules
    except PolicyError:
        return None
    return rules[0].host if rules else None
