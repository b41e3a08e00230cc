"""Write rules as text, for policies that are made of recorded attempts."""

from __future__ import annotations

from collections.abc import Sequence

from exporter.common.net.addresses import endpoint
from exporter.common.text import first_of, printable

ANY = "any"
CHAINS_SHOWN = 3
TEXT_MAX = 120
"""The most characters of a name in a comment."""
_SCHEMES = {"tcp": "tcp", "udp": "udp", "icmp": "icmp", "ipv6-icmp": "icmp"}
_WITH_PORTS = ("tcp", "udp")


def scheme_of(transport: str) -> str:
    """Return the name of `transport` in rules: `any`, every protocol, for one that no rule can name."""
    return _SCHEMES.get(transport, ANY)


def has_ports(scheme: str) -> bool:
    """Return whether a rule for `scheme` names a port."""
    return scheme in _WITH_PORTS


def rule_text(host: str, port: int | None, scheme: str) -> str:
    """Write a rule's short form; `host` is a name, a wildcard or an address, `port` None for no port."""
    prefix = "" if scheme == "tcp" else f"{scheme}://"
    if port is not None:
        return f"{prefix}{endpoint(host, port)}"
    return f"{prefix}[{host}]" if ":" in host else f"{prefix}{host}"


def chains_text(chains: Sequence[str]) -> str:
    """List the first chains, and how many more there are, for a comment; harmless whatever is in them."""
    shown = [printable(chain, limit=TEXT_MAX) or "unknown" for chain in chains]
    return first_of(shown, CHAINS_SHOWN, between="; ")
