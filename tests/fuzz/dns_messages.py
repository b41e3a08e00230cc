"""DNS messages: sane answers are read as they were written, anything else is refused or what it says."""

from __future__ import annotations

import ipaddress
import struct
from typing import NamedTuple

import dns.exception
import dns.message
import dns.name
import dns.rdataclass
import dns.rdatatype

from exporter.dns_messages import MessageError, Question, Reply, is_host_name, parse_question, parse_reply
from tests.fuzz.draw import Draw

_HEADER = struct.Struct("!HHHHHH")
_RECORD = struct.Struct("!HHIH")
_A, _CNAME, _TXT, _AAAA, _HTTPS = 1, 5, 16, 28, 65
_MAPPED = bytes(10) + b"\xff\xff"
_POINTERS = (b"\xc0\x0c", b"\xc0\0", b"\xc0\xff", b"\xff\xff", b"\x80", b"\x40", b"\0", b"\x3f", b"\0\1\0\1")
_LABELS = (b"registry", b"example", b"a", b"xn--caf-dma", b"_dns", b"R-2", b"a.b", b"\0", b"\xff", b"x" * 63)
_SEEN_BY_DNSPYTHON = 0.1
"""Its reader of whole messages takes ten times as long as all the rest."""


class _Record(NamedTuple):
    owner: bytes
    """As on the wire, as `data`."""
    kind: int
    data: bytes
    peers: tuple[bytes, ...] = ()


def check(draw: Draw) -> None:
    """A third are sane, the others sane ones that were changed, and what never was one."""
    way = draw.randrange(3)
    if way == 0:
        _a_sane_answer_is_read(draw)
    elif way == 1:
        _is_sound(draw, draw.mutated(_drawn_message(draw), _POINTERS))
    else:
        body = b"".join(draw.choice((*_POINTERS, b"\3abc", draw.blob(20))) for _ in range(draw.length(30)))
        _is_sound(draw, _HEADER.pack(*(draw.choice((0, 1, 0x8180, 200)) for _ in range(6))) + body)


def _a_sane_answer_is_read(draw: Draw) -> None:
    name = _name(draw)
    chain, records = [name], []
    for _ in range(draw.length(4)):
        target = _name(draw)
        if target.lower() not in [known.lower() for known in chain]:
            records.append(_Record(chain[-1], _CNAME, target))
            chain.append(target)
    peers: list[bytes] = []
    for _ in range(draw.length(8)):
        record = _addresses(draw, draw.choice(chain))
        records.append(record)
        peers += record.peers
    for _ in range(draw.length(3)):  # of another name, or of a kind that is no address
        stranger = _addresses(draw, b"\x08stranger\7invalid\0")
        records.insert(0, draw.choice((stranger, _Record(name, _TXT, draw.blob(20)))))
    kind, identifier = draw.choice((_A, _AAAA, _HTTPS)), draw.getrandbits(16)
    message = _message(draw, identifier, kind, name, records)
    asked = Question(identifier, kind, _shown(name))
    assert parse_reply(message, is_cut=False) == Reply(asked, tuple(peers))
    asks = bytearray(message)
    asks[2] &= 0x7F
    assert parse_question(bytes(asks)) == asked
    _a_cut_answer_gives_some_of_it(draw, message, asked, peers)


def _a_cut_answer_gives_some_of_it(draw: Draw, message: bytes, asked: Question, peers: list[bytes]) -> None:
    try:
        reply = parse_reply(message[: draw.randrange(len(message) + 1)], is_cut=True)
    except MessageError:
        return
    assert reply.question == asked
    assert list(reply.addresses) == peers[: len(reply.addresses)]


def _drawn_message(draw: Draw) -> bytes:
    name = _name(draw)
    records = [
        draw.choice((_addresses(draw, name), _Record(name, _CNAME, _name(draw))))
        for _ in range(draw.length(5))
    ]
    return _message(draw, draw.getrandbits(16), draw.choice((_A, _AAAA, _HTTPS, 12)), name, records)


def _message(draw: Draw, identifier: int, kind: int, name: bytes, records: list[_Record]) -> bytes:
    """With pointers to the question's name where a name ends like it, now and then."""
    parts = [_HEADER.pack(identifier, 0x8180, 1, len(records), 0, 0), name, struct.pack("!HH", kind, 1)]
    for record in records:
        owner = b"\xc0\x0c" if record.owner == name and draw.chance(0.8) else record.owner
        data = b"\xc0\x0c" if record.data == name and record.kind == _CNAME else record.data
        parts += owner, _RECORD.pack(record.kind, 1, 60, len(data)), data
    return b"".join(parts)


def _name(draw: Draw) -> bytes:
    labels = draw.some(lambda: draw.choice(_LABELS), 3) or [b"example"]
    if draw.chance(0.2):
        labels.append(draw.randbytes(1 + draw.length(20)))
    return b"".join(bytes([len(label)]) + label for label in labels) + b"\0"


def _addresses(draw: Draw, owner: bytes) -> _Record:
    way = draw.randrange(3)
    if way == 0:
        data = draw.randbytes(4)
        return _Record(owner, _A, data, (_MAPPED + data,))
    if way == 1:
        data = draw.randbytes(16)
        return _Record(owner, _AAAA, data, (data,))
    four, six = draw.some(lambda: draw.randbytes(4), 3), draw.some(lambda: draw.randbytes(16), 2)
    hints = [(1, draw.blob(6)), (4, b"".join(four)), (6, b"".join(six)), (9, b"")]
    parameters = b"".join(struct.pack("!HH", key, len(value)) + value for key, value in hints)
    peers = (*(_MAPPED + each for each in four), *six)
    return _Record(owner, _HTTPS, b"\0\1\0" + parameters, peers)


def _is_sound(draw: Draw, message: bytes) -> None:
    reply = None
    for is_cut in (False, True):
        try:
            reply = parse_reply(message, is_cut=is_cut)
        except MessageError:
            continue
        assert len(reply.question.name) <= 255 * 4
        assert reply.question.name.isascii()
        assert reply.question.name.isprintable()
        assert all(len(peer) == 16 for peer in reply.addresses)
        joined = b"".join(peer.removeprefix(_MAPPED) for peer in reply.addresses)
        assert len(joined) <= len(message) - _HEADER.size, "an address from outside of the message"
        assert all(peer.removeprefix(_MAPPED) in message for peer in reply.addresses)
    if reply is not None and draw.chance(_SEEN_BY_DNSPYTHON):
        _agrees_with_dnspython(message, reply)
    try:
        assert is_host_name(parse_question(message).name) in {True, False}
    except MessageError:
        return


def _agrees_with_dnspython(message: bytes, reply: Reply) -> None:
    """Where its own, stricter reader of whole messages takes it."""
    try:
        whole = dns.message.from_wire(message)
    except (dns.exception.DNSException, ValueError):
        return
    (asked,) = whole.question
    assert asked.name.canonicalize().to_text(omit_final_dot=True) == reply.question.name
    assert asked.rdtype == reply.question.kind
    told = {
        _packed(rdata.address)
        for rrset in whole.answer
        if rrset.name == asked.name and rrset.rdclass == dns.rdataclass.IN
        for rdata in rrset
        if rrset.rdtype in (dns.rdatatype.A, dns.rdatatype.AAAA)
    }
    assert whole.rcode() or told <= set(reply.addresses)


def _packed(text: str) -> bytes:
    packed = ipaddress.ip_address(text).packed
    return packed if len(packed) == 16 else _MAPPED + packed


def _shown(wire: bytes) -> str:
    return dns.name.from_wire(wire, 0)[0].canonicalize().to_text(omit_final_dot=True)
