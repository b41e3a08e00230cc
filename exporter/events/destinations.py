"""Destinations of acts, with their names in spans, metrics and the summary."""

from __future__ import annotations

from typing import NamedTuple

from exporter.common.net.addresses import (
    UNIX,
    Address,
    address,
    endpoint,
    has_ports,
    transport,
    unix_address,
)

from .facts import Act, Acted, Aggregated

OTHER = "_other"
"""The host of all destinations that are counted together, since there are too many to tell apart."""
SOCKET = "_socket"
"""The host of a socket without a destination: it was denied before it had a peer."""
_ICMP = frozenset({"icmp", "ipv6-icmp"})


class Destination(NamedTuple):
    """A destination of acts; hashable, so that acts can be counted by it."""

    host: str
    """`server.address`: the name that this job resolved to the address, else the address; or a Unix socket's
    name. It is `_other` when destinations aren't told apart, and `_socket`, in metrics only, for a socket
    that was denied."""
    port: int | None
    """None for a protocol without ports, and for `_other`."""
    transport: str | None
    """The IANA keyword, else the protocol's number; None when unknown."""
    peer: Address | None
    """None for `_other` and `_socket`."""

    @property
    def is_address(self) -> bool:
        """Whether there is a destination: a socket that was denied has none yet."""
        return self.peer is not None or self.host != SOCKET

    @property
    def shown(self) -> str:
        """`host:port`, an IPv6 address in brackets; the host alone where there is no port."""
        return shown_destination(self.host if self.is_address else None, self.port, self.transport)

    @property
    def is_loopback(self) -> bool:
        """Whether the destination is this machine itself."""
        return self.peer is not None and self.peer.is_loopback


def shown_destination(host: str | None, port: int | None, kind: str | None) -> str:
    """Return a destination as text; `host` is None for a socket without an address, `kind` its transport."""
    if host is None:
        return f"{'' if kind in _ICMP else 'raw '}{kind or 'unknown'} socket"
    return host if port is None else endpoint(host, port)


def destination(event: Acted | Aggregated, name: str | None = None) -> Destination:
    """Return the destination of one act or of counted acts.

    This job resolved `name` to its address; of a Unix socket, it is the socket's name.
    """
    protocol = transport(event.protocol)
    if isinstance(event, Aggregated) and event.is_other:
        return Destination(OTHER, None, protocol, None)
    if event.act is Act.CREATE:
        return Destination(SOCKET, None, protocol, None)
    if event.protocol == UNIX:
        socket = name or f"@{event.peer.hex()}"
        return Destination(socket, None, protocol, unix_address(socket))
    peer = address(event.peer)
    port = event.peer_port if has_ports(event.protocol) else None
    return Destination(name or peer.text, port, protocol, peer)
