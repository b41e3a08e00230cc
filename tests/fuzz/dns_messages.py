"""DNS messages: sane answers are read as they were written, anything else is refused or what it says."""

from __future__ import annotations

import ipaddress

import dns.exception
import dns.message
import dns.rdataclass
import dns.rdatatype

from exporter.common.net.dns_messages import (
    MessageError,
    Question,
    Reply,
    is_host_name,
    parse_question,
    parse_reply,
)
from tests.fuzz.draw import Draw
from tests.fuzz.drawn_messages import (
    AAAA,
    CNAME,
    HEADER,
    HTTPS,
    MAPPED,
    TXT,
    A,
    Record,
    addresses,
    drawn_message,
    drawn_name,
    shown,
    written,
)

POINTERS = (b"\xc0\x0c", b"\xc0\0", b"\xc0\xff", b"\xff\xff", b"\x80", b"\x40", b"\0", b"\x3f", b"\0\1\0\1")
_SEEN_BY_DNSPYTHON = 0.1
"""Its reader of whole messages takes ten times as long as all the rest."""


def check(draw: Draw) -> None:
    """A third are sane, the others sane ones that were changed, and what never was one."""
    way = draw.randrange(3)
    if way == 0:
        _a_sane_answer_is_read(draw)
    elif way == 1:
        _is_sound(draw, draw.mutated(drawn_message(draw), POINTERS))
    else:
        body = b"".join(draw.choice((*POINTERS, b"\3abc", draw.blob(20))) for _ in range(draw.length(30)))
        _is_sound(draw, HEADER.pack(*(draw.choice((0, 1, 0x8180, 200)) for _ in range(6))) + body)


def _a_sane_answer_is_read(draw: Draw) -> None:
    name = drawn_name(draw)
    chain, records = [name], []
    for _ in range(draw.length(4)):
        target = drawn_name(draw)
        if target.lower() not in [known.lower() for known in chain]:
            records.append(Record(chain[-1], CNAME, target))
            chain.append(target)
    peers: list[bytes] = []
    for _ in range(draw.length(8)):
        record = addresses(draw, draw.choice(chain))
        records.append(record)
        peers += record.peers
    for _ in range(draw.length(3)):  # of another name, or of a kind that is no address
        stranger = addresses(draw, b"\x08stranger\7invalid\0")
        records.insert(0, draw.choice((stranger, Record(name, TXT, draw.blob(20)))))
    kind, identifier = draw.choice((A, AAAA, HTTPS)), draw.getrandbits(16)
    wire = written(draw, identifier, kind, name, records)
    asked = Question(identifier, kind, shown(name))
    assert parse_reply(wire, is_cut=False) == Reply(asked, tuple(peers))
    asks = bytearray(wire)
    asks[2] &= 0x7F
    assert parse_question(bytes(asks)) == asked
    _a_cut_answer_gives_some_of_it(draw, wire, asked, peers)


def _a_cut_answer_gives_some_of_it(draw: Draw, message: bytes, asked: Question, peers: list[bytes]) -> None:
    try:
        reply = parse_reply(message[: draw.randrange(len(message) + 1)], is_cut=True)
    except MessageError:
        return
    assert reply.question == asked
    assert list(reply.addresses) == peers[: len(reply.addresses)]


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
        joined = b"".join(peer.removeprefix(MAPPED) for peer in reply.addresses)
        assert len(joined) <= len(message) - HEADER.size, "an address from outside of the message"
        assert all(peer.removeprefix(MAPPED) in message for peer in reply.addresses)
    if reply is not None and draw.chance(_SEEN_BY_DNSPYTHON):
        agrees_with_dnspython(message, reply)
    try:
        assert is_host_name(parse_question(message).name) in {True, False}
    except MessageError:
        return


def agrees_with_dnspython(message: bytes, reply: Reply) -> None:
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
    return packed if len(packed) == 16 else MAPPED + packed
