"""Requests by netlink, and the kernel's answers (include/uapi/linux/netlink.h)."""

from __future__ import annotations

import os
import socket
import struct
from collections.abc import Iterator

ACK, DUMP = 0x4, 0x300
"""Flags of a request: for one answer, which confirms it; for any number of answers, and an end."""
_REQUEST = 0x1
_ERROR, _DONE = 2, 3
_HEADER, _ATTRIBUTE, _CODE = struct.Struct("=IHHII"), struct.Struct("=HH"), struct.Struct("=i")
_TYPE_MASK = 0x3FFF
_READ_BYTES = 1 << 16


def answers(
    asking: socket.socket, kind: int, flags: int, body: bytes, *, may_lack_some: bool = False
) -> Iterator[bytes]:
    """Send a request, and yield the answers without their headers, until there are no more.

    Raises OSError. With `may_lack_some`, an error after the answers only means that some are missing.
    """
    asking.send(_HEADER.pack(_HEADER.size + len(body), kind, flags | _REQUEST, 0, 0) + body)
    while True:
        data = asking.recv(_READ_BYTES)
        while data:
            length, answer, *_ = _HEADER.unpack_from(data)
            payload, data = data[_HEADER.size : length], data[length + 3 & ~3 :]
            if answer == _DONE and may_lack_some:
                return
            if answer in {_DONE, _ERROR}:
                code = -_CODE.unpack_from(payload)[0]
                if code > 0:
                    raise OSError(code, os.strerror(code))
                return
            yield payload


def attribute(kind: int, value: bytes) -> bytes:
    """Encode an attribute."""
    padding = bytes(-len(value) % 4)
    return _ATTRIBUTE.pack(_ATTRIBUTE.size + len(value), kind) + value + padding


def attributes(data: bytes) -> dict[int, bytes]:
    """Return the values of attributes, by their types."""
    found = {}
    while len(data) >= _ATTRIBUTE.size:
        length, kind = _ATTRIBUTE.unpack_from(data)
        if length < _ATTRIBUTE.size:
            break
        found[kind & _TYPE_MASK] = data[_ATTRIBUTE.size : length]
        data = data[length + 3 & ~3 :]
    return found
