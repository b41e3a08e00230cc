"""A name server in forty lines (RFC 1035): one question a datagram, A and AAAA from a table."""

from __future__ import annotations

import ipaddress
import socketserver
import struct
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping

_HEADER = struct.Struct("!6H")
_RECORD = struct.Struct("!HHHIH")
_TYPES = {1: 4, 28: 6}
"""The IP version of the addresses in records of type A and AAAA, by the number of the type."""
_CLASS_IN = 1
_RESPONSE, _NO_SUCH_NAME = 0x8580, 0x8583
_NAME_OF_QUESTION = 0xC000 | _HEADER.size
_TTL_S = 60


def answer(query: bytes, addresses: Mapping[str, str]) -> bytes:
    """Return the response to `query`. Raises IndexError or struct.error when it isn't a query."""
    query_id = _HEADER.unpack_from(query)[0]
    name, end = _question_name(query)
    kind = struct.unpack_from("!H", query, end)[0]
    found = ipaddress.ip_address(addresses[name]) if name in addresses else None
    record = b""
    if found is not None and _TYPES.get(kind) == found.version:
        record = _RECORD.pack(_NAME_OF_QUESTION, kind, _CLASS_IN, _TTL_S, len(found.packed)) + found.packed
    flags = _NO_SUCH_NAME if found is None else _RESPONSE
    header = _HEADER.pack(query_id, flags, 1, 1 if record else 0, 0, 0)
    return header + query[_HEADER.size : end + 4] + record


def _question_name(query: bytes) -> tuple[str, int]:
    """Return the name that is asked for, and the offset of its type."""
    labels, at = [], _HEADER.size
    while length := query[at]:
        labels.append(query[at + 1 : at + 1 + length].decode("ascii", errors="replace").lower())
        at += 1 + length
    return ".".join(labels), at + 1


def name_server(address: str, port: int, addresses: Mapping[str, str]) -> socketserver.UDPServer:
    """Make a server that listens at once, in the calling thread's network; `serve_forever` answers."""

    class Handler(socketserver.DatagramRequestHandler):
        def handle(self) -> None:
            self.wfile.write(answer(self.rfile.read(), addresses))

    return socketserver.UDPServer((address, port), Handler)
