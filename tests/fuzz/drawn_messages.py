"""DNS messages as resolvers write them, drawn faster than dnspython makes them."""

from __future__ import annotations

import struct
from collections.abc import Sequence
from typing import NamedTuple

import dns.name

from tests.fuzz.draw import Draw

HEADER = struct.Struct("!HHHHHH")
A, CNAME, TXT, AAAA, HTTPS = 1, 5, 16, 28, 65
MAPPED = bytes(10) + b"\xff\xff"
ASKED, REPLIED = 0x0100, 0x8180
"""Flags of a question, and of an answer without an error."""
POINTER = b"\xc0\x0c"
"""To the question's name."""
_RECORD = struct.Struct("!HHIH")
_LABELS = (b"registry", b"example", b"a", b"xn--caf-dma", b"_dns", b"R-2", b"a.b", b"\0", b"\xff", b"x" * 63)


class Record(NamedTuple):
    """A record of an answer, and the addresses that it tells."""

    owner: bytes
    """As on the wire, as `data`."""
    kind: int
    data: bytes
    peers: tuple[bytes, ...] = ()


def drawn_message(draw: Draw) -> bytes:
    """An answer, not always a sane one."""
    name = drawn_name(draw)
    records = [
        draw.choice((addresses(draw, name), Record(name, CNAME, drawn_name(draw))))
        for _ in range(draw.length(5))
    ]
    return written(draw, draw.getrandbits(16), draw.choice((A, AAAA, HTTPS, 12)), name, records)


def written(draw: Draw, identifier: int, kind: int, name: bytes, records: list[Record]) -> bytes:
    """With pointers to the question's name where a name ends like it, now and then."""
    short = [
        record._replace(
            owner=POINTER if record.owner == name and draw.chance(0.8) else record.owner,
            data=POINTER if record.data == name and record.kind == CNAME else record.data,
        )
        for record in records
    ]
    return packed(identifier, REPLIED, kind, name, short)


def packed(identifier: int, flags: int, kind: int, name: bytes, records: Sequence[Record]) -> bytes:
    """A message with one question, as it is on the wire."""
    parts = [HEADER.pack(identifier, flags, 1, len(records), 0, 0), name, struct.pack("!HH", kind, 1)]
    for record in records:
        parts += record.owner, _RECORD.pack(record.kind, 1, 60, len(record.data)), record.data
    return b"".join(parts)


def drawn_name(draw: Draw) -> bytes:
    """A name on the wire, uncompressed."""
    labels = draw.some(lambda: draw.choice(_LABELS), 3) or [b"example"]
    if draw.chance(0.2):
        labels.append(draw.randbytes(1 + draw.length(20)))
    return b"".join(bytes([len(label)]) + label for label in labels) + b"\0"


def addresses(draw: Draw, owner: bytes) -> Record:
    """One that tells addresses."""
    way = draw.randrange(3)
    if way == 0:
        data = draw.randbytes(4)
        return Record(owner, A, data, (MAPPED + data,))
    if way == 1:
        data = draw.randbytes(16)
        return Record(owner, AAAA, data, (data,))
    four, six = draw.some(lambda: draw.randbytes(4), 3), draw.some(lambda: draw.randbytes(16), 2)
    hints = [(1, draw.blob(6)), (4, b"".join(four)), (6, b"".join(six)), (9, b"")]
    parameters = b"".join(struct.pack("!HH", key, len(value)) + value for key, value in hints)
    peers = (*(MAPPED + each for each in four), *six)
    return Record(owner, HTTPS, b"\0\1\0" + parameters, peers)


def shown(wire: bytes) -> str:
    """A name as text."""
    return dns.name.from_wire(wire, 0)[0].canonicalize().to_text(omit_final_dot=True)
