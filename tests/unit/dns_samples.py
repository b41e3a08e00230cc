"""DNS messages for tests, made by dnspython from text."""

from __future__ import annotations

import dns.flags
import dns.message
import dns.name
import dns.rrset

from exporter.events.facts import Answered, Asked
from tests.unit.records import ASK

ASKED = ASK
RESOLVER = ASKED.resolver


def mapped(address: str) -> bytes:
    return bytes(10) + b"\xff\xff" + bytes(map(int, address.split(".")))


def query(name: str, kind: str = "A", *, txid: int = 7, edns: bool = True) -> bytes:
    return dns.message.make_query(name, kind, id=txid, use_edns=edns).to_wire()


def answer(question: bytes, *records: str, code: str = "NOERROR", truncated: bool = False) -> bytes:
    """`records` as `owner type data[,data…]`."""
    reply = dns.message.make_response(dns.message.from_wire(question), recursion_available=True)
    reply.set_rcode(dns.rcode.from_text(code))
    reply.flags |= dns.flags.TC if truncated else 0
    for record in records:
        owner, kind, data = record.split(" ", 2)
        name = dns.name.from_text(owner)
        reply.answer.append(dns.rrset.from_text(name, 300, "IN", kind, *data.split(";")))
    return reply.to_wire(max_size=65535)


def asked(message: bytes, **changes: object) -> Asked:
    return ASKED._replace(message=message, **changes)  # type: ignore[arg-type]


def answered(message: bytes, **changes: object) -> Answered:
    """At the next moment."""
    event = Answered(*ASKED._replace(message=message, at_ns=ASKED.at_ns + 1000))
    return event._replace(**changes)  # type: ignore[arg-type]


def lookup(name: str, *records: str, kind: str = "A", txid: int = 7) -> tuple[bytes, bytes]:
    question = query(name, kind, txid=txid)
    return question, answer(question, *records)
