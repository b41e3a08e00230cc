"""Where an act goes, as spans, metrics and the summary name it."""

from __future__ import annotations

from typing import NamedTuple

from exporter.addresses import Address, address, endpoint, has_ports, transport
from exporter.events import Acted, Aggregated

OTHER = "_other"
"""Stands for all destinations beyond those that are told apart."""


class Destination(NamedTuple):
    """One destination; hashable, and small enough to be counted by."""

    host: str
    """`server.address`: the name this job resolved to the address, else the address, else `_other`."""
    port: int | None
    """None for a protocol without ports, and for `_other`."""
    transport: str | None
    """The IANA keyword, else the protocol's number; None when unknown."""
    peer: Address | None
    """None for `_other`."""

    @property
    def shown(self) -> str:
        """`host:port`, an IPv6 address in brackets; the host alone where there is no port."""
        return self.host if self.port is None else endpoint(self.host, self.port)

    @property
    def is_loopback(self) -> bool:
        """Whether it is this machine itself."""
        return self.peer is not None and self.peer.is_loopback


def destination(event: Acted | Aggregated, name: str | None = None) -> Destination:
    """Of an act, or of several; `name` is what this job resolved to the address."""
    protocol = transport(event.protocol)
    if isinstance(event, Aggregated) and event.is_other:
        return Destination(OTHER, None, protocol, None)
    peer = address(event.peer)
    port = event.peer_port if has_ports(event.protocol) else None
    return Destination(name or peer.text, port, protocol, peer)
