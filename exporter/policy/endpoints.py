"""Destinations as people write them: `a.example:443`, `*.x.example`, `udp://192.0.2.53:53`, `[::1]:80`.

Also Unix sockets: `unix:///run/docker.sock`.
"""

from __future__ import annotations

import os
import re
from difflib import get_close_matches
from functools import lru_cache
from ipaddress import IPv6Network, ip_address, ip_network
from typing import TYPE_CHECKING, NamedTuple

from exporter.common.documents.problems import InvalidTextError, shown
from exporter.common.net.dns_messages import is_host_name
from exporter.common.net.unix_sockets import NAME_MAX as SOCKET_NAME_MAX
from exporter.common.net.unix_sockets import name_of

from .model import ANY_SOCKET, Effect, Host, Name, Network, NetworkHost, Protocol, SocketName

if TYPE_CHECKING:
    from publicsuffixlist import PublicSuffixList

DEFAULT_PORT = 443
PORT_MAX = 65535
NAME_MAX = 251
"""The most characters of a name.

A key of the kernel's tries has 256 bytes, of which 4 are the job's scope and one ends the name.
"""

_PROTOCOLS = {protocol.name.lower(): protocol for protocol in Protocol}
_PORTLESS = {
    Protocol.ICMP: "icmp has no ports: leave the port out",
    Protocol.UNIX: "a Unix socket has no port: leave it out",
    Protocol.ANY: "`any` is every protocol and port: leave the port out, or write `tcp://` or `udp://`",
}
_UNIX = Protocol.UNIX.name.lower()
_CONTROL = re.compile(r"[\x00-\x1f\x7f]")
_NO_COMMAS = "write one destination an entry, and with --allowed-endpoints blanks between them"
_PORT = re.compile(r"[0-9]{1,5}")
_BLANK_BEFORE_PORT = re.compile(r"([^\s:]+|\[\S+\])\s+([0-9]{1,5}|\*)", re.ASCII)
_HEX = re.compile(r"[0-9a-fA-F]*")
"""A text that may be a group of an IPv6 address."""
_MAPPED = IPv6Network("::ffff:0:0/96")
_NUMBER = re.compile(r"[0-9]+|0x[0-9a-f]*")
_PRIVATE_ZONES = frozenset({"example", "internal", "invalid", "local", "localhost", "test"})
"""Top-level names that are never delegated (RFC 6761, RFC 6762, ICANN's reservation of `internal`)."""


class WrittenDestination(NamedTuple):
    """A destination as it was written; a part that wasn't written is None."""

    host: Host
    protocol: Protocol | None
    ports: tuple[int, ...] | None
    """Empty for `*`, every port."""


class Reach(NamedTuple):
    """The protocol and the ports that a rule is about; `ports` is None for all of them."""

    protocol: Protocol
    ports: tuple[int, ...] | None


def parse_endpoint(text: str) -> WrittenDestination:
    """Parse the destination `text`. Raises InvalidTextError."""
    scheme, separator, rest = text.partition("://")
    if separator and scheme.lower() == _UNIX:
        return WrittenDestination(parse_socket(rest), Protocol.UNIX, None)
    if "," in text:
        raise InvalidTextError(f"{shown(text)} has a comma", _NO_COMMAS)
    if not separator:
        _require_no_scheme(text)
    protocol = parse_protocol(scheme, text) if separator else None
    place = rest if separator else text
    _require_no_user(place)
    host, port = _split(place)
    ports = None if port is None else parse_port(port)
    if ports and protocol in _PORTLESS:
        raise InvalidTextError(f"a port for {protocol.name.lower()}", _PORTLESS[protocol])
    return WrittenDestination(parse_host(host), protocol, ports)


def parse_socket(text: str) -> SocketName:
    """Parse the name of a Unix socket: a path, `@` and an abstract name, or `*`. Raises InvalidTextError."""
    if text == ANY_SOCKET:
        return SocketName(text)
    written = shown(f"{_UNIX}://{text}")
    if not text.startswith(("/", "@")) or len(text) == 1:
        fix = f"write a path as in {_UNIX}:///run/docker.sock, @ and an abstract name, or {_UNIX}://*"
        raise InvalidTextError(f"{written} names no Unix socket", fix)
    if len(name_of(text)) > SOCKET_NAME_MAX:
        raise InvalidTextError(f"{written} is too long", f"a name has at most {SOCKET_NAME_MAX} bytes")
    if _CONTROL.search(text):
        raise InvalidTextError(f"{written} has control characters", "name the socket as ss -xl shows it")
    if text.startswith("/"):
        plain = os.path.normpath(text).replace("//", "/")
        if text != plain:
            raise InvalidTextError(f"{written} is no plain path", f"write {_UNIX}://{plain}")
        if ANY_SOCKET in text:
            fix = f"name sockets one by one, or all: {_UNIX}://*"
            raise InvalidTextError(f"{written} has a wildcard within a path", fix)
    return SocketName(text)


def reach(effect: Effect, protocol: Protocol | None, ports: tuple[int, ...] | None) -> Reach:
    """Fill in protocol and ports that weren't written.

    An allow without a port is for 443. A deny without a port is for every port, and without a protocol as
    well for everything. Other rules without a protocol are for tcp. Raises InvalidTextError where a protocol
    without ports has some.
    """
    if protocol is None:
        protocol = Protocol.ANY if effect is Effect.DENY and ports is None else Protocol.TCP
    if protocol in _PORTLESS:
        if ports:
            raise InvalidTextError(f"ports for {protocol.name.lower()}", _PORTLESS[protocol])
        return Reach(protocol, None)
    if ports is None:
        return Reach(protocol, None if effect is Effect.DENY else (DEFAULT_PORT,))
    return Reach(protocol, ports or None)


def parse_protocol(scheme: str, text: str) -> Protocol:
    """Find the protocol called `scheme`, the beginning or all of `text`. Raises InvalidTextError."""
    found = _PROTOCOLS.get(scheme.lower())
    if found is not None:
        return found
    if scheme != text and scheme.lower() in ("http", "https", "ssh", "git", "ftp"):
        raise InvalidTextError(
            f"{shown(text)} is a URL", "name host and port alone, as in registry.example:443"
        )
    near = get_close_matches(scheme.lower(), _PROTOCOLS, n=1)
    hint = f"did you mean {near[0]}?" if near else f"known are {', '.join(_PROTOCOLS)}"
    raise InvalidTextError(f"unknown protocol {shown(scheme)}", hint)


def parse_port(text: str) -> tuple[int, ...]:
    """Parse a port; the result is empty for `*`, every port. Raises InvalidTextError."""
    if text == "*":
        return ()
    if _PORT.fullmatch(text) and 1 <= int(text) <= PORT_MAX:
        return (int(text),)
    what = "out of range" if text.lstrip("-").isdecimal() else "not a port"
    raise InvalidTextError(f"port {shown(text)} is {what}", f"ports are 1 to {PORT_MAX}, or `*` for all")


def parse_host(text: str) -> NetworkHost:
    """Parse a name, `*.name`, an address, or a network. Raises InvalidTextError."""
    if not text:
        raise InvalidTextError("no host", "name one, as in registry.example:443")
    _require_no_user(text)
    last = text.removesuffix(".").rpartition(".")[2].lower()  # with the final dot, a number is no name either
    if ":" in text or "/" in text or _NUMBER.fullmatch(last):
        return _network(text)
    return _name(text)


def _require_no_scheme(text: str) -> None:
    """Raise InvalidTextError for `udp:a.example` or `udp:192.0.2.53:53`; `udp:443` may be a host's port."""
    scheme, _, rest = text.partition(":")
    if rest and scheme.lower() in _PROTOCOLS and not (_PORT.fullmatch(rest) or rest == "*"):
        raise InvalidTextError(f"{shown(text)} lacks slashes", f"write {shown(f'{scheme.lower()}://{rest}')}")


def _require_no_user(text: str) -> None:
    """Raise InvalidTextError for `user@a.example`; `a.example/x@1` has a path."""
    user, at, _ = text.rpartition("@")
    if at and "/" not in user:
        raise InvalidTextError(
            f"{shown(text)} has a user in front of the host", f"leave out {shown(user + at)}"
        )


def _split(text: str) -> tuple[str, str | None]:
    """Split host and port; the port is None where there is none. Raises InvalidTextError."""
    if found := _BLANK_BEFORE_PORT.fullmatch(text):
        fix = f"put `:` before the port, as in {shown(':'.join(found.groups()))}"
        raise InvalidTextError(f"{shown(text)} has a blank before the port", fix)
    if text.startswith("["):
        host, bracket, tail = text[1:].partition("]")
        if not bracket or not (tail == "" or tail.startswith(":")):
            raise InvalidTextError(f"{shown(text)} has brackets in disorder", "write [2001:db8::1]:443")
        return host, tail[1:] if tail else None
    if text.count(":") > 1:
        if _has_ports(text):
            fix = "name one, or several as in {host: registry.example, ports: [80, 443]}"
            raise InvalidTextError(f"{shown(text)} has more than one port", fix)
        raise InvalidTextError(
            f"{shown(text)} is ambiguous", "write an IPv6 address in brackets: [2001:db8::1]:443"
        )
    host, colon, port = text.partition(":")
    return host, port if colon else None


def _has_ports(text: str) -> bool:
    """Whether `text` is a host and ports, and can't be an IPv6 address without brackets."""
    host, *ports = text.split(":")
    return not _HEX.fullmatch(host) and all(_PORT.fullmatch(port) or port == "*" for port in ports)


def _network(text: str) -> Network:
    address, slash, length = text.partition("/")
    if not _is_address(address):
        if slash and not _NUMBER.fullmatch(address.rpartition(".")[2]):
            raise InvalidTextError(
                f"{shown(text)} has a path", "name host and port alone; paths can't be told apart"
            )
        raise InvalidTextError(
            f"{shown(text)} is no address", "write 192.0.2.1, 10.0.0.0/8 or [2001:db8::/32]"
        )
    if slash and not (length.isdecimal() and length.isascii()):
        raise InvalidTextError(f"{shown(text)} is a bad CIDR", "write the prefix as a number: 10.0.0.0/8")
    try:
        network = ip_network(text, strict=False)
    except ValueError:
        raise InvalidTextError(
            f"{shown(text)} is a bad CIDR", "a prefix has at most 32 bits, of IPv6 128"
        ) from None
    if isinstance(network, IPv6Network) and network.subnet_of(_MAPPED):
        inside = f"{network.network_address.ipv4_mapped}/{network.prefixlen - 96}"
        raise InvalidTextError(f"{shown(text)} is IPv4 in IPv6", f"write {inside}: it means both forms")
    if ip_address(address) != network.network_address:
        alone = f"{address}/{network.max_prefixlen}"
        raise InvalidTextError(
            f"{shown(text)} has host bits set", f"write {network}, or {alone} for the one address"
        )
    return network


def _is_address(text: str) -> bool:
    if "%" in text:
        return False
    try:
        ip_network(text)
    except ValueError:
        return False
    return "/" not in text


def _name(text: str) -> Name:
    is_wildcard = text.startswith("*.")
    bare = text[2:] if is_wildcard else text
    if "*" in bare:
        fix = "a wildcard stands in front, for whole labels: *.x.example; any address is 0.0.0.0/0 or [::/0]"
        raise InvalidTextError(f"{shown(text)} is no name", fix)
    if not bare.isascii():
        raise InvalidTextError(f"{shown(text)} is not ASCII", f"write it as DNS has it{_as_dns_has_it(bare)}")
    bare = bare.lower().removesuffix(".")
    if not is_host_name(bare) or len(bare) > NAME_MAX:
        fix = f"labels of letters, digits, - and _ with dots between, {NAME_MAX} characters in all"
        raise InvalidTextError(f"{shown(text)} is not a host's name", fix)
    if is_wildcard and _is_public_suffix(bare):
        fix = "anybody can have a name there: name the hosts, or a zone of one owner, as in *.x." + bare
        raise InvalidTextError(f"{shown(text)}: {bare} is a public suffix", fix)
    return Name(bare, is_wildcard)


def _as_dns_has_it(text: str) -> str:
    if len(text) > NAME_MAX:
        return ", in letters, digits, - and _"  # the time to encode it grows with the square of its length
    try:
        encoded = text.encode("idna").decode("ascii").lower()
    except UnicodeError:
        return ", in letters, digits, - and _"
    return f": {encoded}" if is_host_name(encoded) else ", in letters, digits, - and _"


def _is_public_suffix(zone: str) -> bool:
    """Return whether names below `zone` have different owners, by the registries' part of the suffix list."""
    if zone in _PRIVATE_ZONES:
        return False
    suffixes = _suffixes()
    return suffixes.is_public(zone) or suffixes.publicsuffix(f"-.{zone}", accept_unknown=False) == f"-.{zone}"


@lru_cache(maxsize=1)
def _suffixes() -> PublicSuffixList:
    """Load the package's public suffix list, which takes 70 ms: only when a wildcard needs it."""
    from publicsuffixlist import PublicSuffixList

    return PublicSuffixList(only_icann=True)
