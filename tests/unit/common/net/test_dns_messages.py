"""A message says what it asks and what it answers, or it is refused."""

from __future__ import annotations

import os
import struct
import subprocess
import sys
from contextlib import suppress

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from exporter.common.net.dns_messages import (
    MessageError,
    Question,
    is_host_name,
    parse_question,
    parse_reply,
)
from exporter.pipeline.names import Names
from tests.fuzz.dns_messages import POINTERS, agrees_with_dnspython
from tests.fuzz.draw import Draw
from tests.fuzz.strategies import draws
from tests.unit.dns_samples import answer, answered, asked, mapped, query

QUESTION = query("registry.example")
REPLY = answer(
    QUESTION,
    "registry.example CNAME a.example.",
    "a.example A 192.0.2.7;192.0.2.8",
    "a.example TXT hello",
)
HEADER = struct.Struct("!HHHHHH")
POINTER = b"\xc0\x0c"


def message(body: bytes, *, answers: int = 0, questions: int = 1, flags: int = 0x8180) -> bytes:
    return HEADER.pack(7, flags, questions, answers, 0, 0) + body


def a_record(owner: bytes, *, size: int = 4, data: bytes = bytes([192, 0, 2, 66])) -> bytes:
    return owner + struct.pack("!HHIH", 1, 1, 60, size) + data


@pytest.mark.parametrize(
    ("wire", "question"),
    [
        (query("registry.example"), Question(7, 1, "registry.example")),
        (query("ReGiStRy.ExAmPlE", "AAAA", txid=65535), Question(65535, 28, "registry.example")),
        (query("registry.example", "HTTPS", edns=False), Question(7, 65, "registry.example")),
        (query(".", "NS"), Question(7, 2, ".")),
        (query("xn--caf-dma.example"), Question(7, 1, "xn--caf-dma.example")),
        (query(r"a\.b.example"), Question(7, 1, r"a\.b.example")),
        (query(r"a\000\010\027[31m.example"), Question(7, 1, r"a\000\010\027[31m.example")),
        (query(r"\255\254.tunnel.example"), Question(7, 1, r"\255\254.tunnel.example")),
    ],
)
def test_a_question_is_read(wire: bytes, question: Question) -> None:
    assert parse_question(wire) == question


NO_QUESTIONS = {
    "empty": b"",
    "half a header": QUESTION[:11],
    "half a name": QUESTION[:25],
    "half a type": QUESTION[:31],
    "an answer": REPLY,
    "no question": message(QUESTION[12:], questions=0, flags=0x100),
    "two questions": message(QUESTION[12:], questions=2, flags=0x100),
    "65535 questions": message(QUESTION[12:], questions=0xFFFF, flags=0x100),
    "an update": message(QUESTION[12:], flags=0x2900),
    "class CHAOS": message(b"\x01a\x00\x00\x01\x00\x03", flags=0x100),
    "a pointer to itself": message(POINTER + b"\0\1\0\1", flags=0x100),
    "a circle of pointers": message(b"\xc0\x0e\xc0\x0c\0\1\0\1", flags=0x100),
    "label type 01": message(b"\x40aa\0\0\1\0\1", flags=0x100),
    "label type 10": message(b"\x80aa\0\0\1\0\1", flags=0x100),
    "256 bytes of name": message(b"\x01a" * 128 + b"\0\0\1\0\1", flags=0x100),
    "a label beyond the end": message(b"\x3f" + b"a" * 62, flags=0x100),
}


@pytest.mark.parametrize("wire", NO_QUESTIONS.values(), ids=NO_QUESTIONS.keys())
def test_what_is_no_question_is_refused(wire: bytes) -> None:
    with pytest.raises(MessageError):
        parse_question(wire)


def test_an_answer_is_read() -> None:
    reply = parse_reply(REPLY, is_cut=False)
    assert reply.question == Question(7, 1, "registry.example")
    assert set(reply.addresses) == {mapped("192.0.2.7"), mapped("192.0.2.8")}


BROKEN_RECORDS = {
    "pointer beyond the end": a_record(b"\xc0\xff"),
    "owner is a pointer to itself": a_record(b"\xc0\x32"),
    "3 bytes": a_record(POINTER, size=3, data=bytes(3)),
    "5 bytes": a_record(POINTER, size=5, data=bytes(5)),
    "no bytes": a_record(POINTER, size=0, data=b""),
    "65535 bytes": a_record(POINTER, size=0xFFFF),
    "truncated": a_record(POINTER)[:-1],
    "target is a pointer to itself": POINTER + struct.pack("!HHIH", 5, 1, 60, 2) + b"\xc0\x3e",
    "4 bytes of IPv6": POINTER + struct.pack("!HHIH", 28, 1, 60, 4) + bytes(4),
    "3 bytes of a hint": POINTER
    + struct.pack("!HHIH", 65, 1, 60, 10)
    + b"\0\1\0"
    + struct.pack("!HH", 4, 3)
    + bytes(3),
}


@pytest.mark.parametrize("body", BROKEN_RECORDS.values(), ids=BROKEN_RECORDS.keys())
def test_an_answer_with_a_broken_record_is_refused_whole(body: bytes) -> None:
    good = a_record(POINTER)
    with pytest.raises(MessageError):
        parse_reply(message(QUESTION[12:34] + good + body, answers=2), is_cut=False)
    assert parse_reply(message(QUESTION[12:34] + good, answers=1), is_cut=False).addresses


def test_counts_that_lie_are_refused_or_do_nothing() -> None:
    good = a_record(POINTER)
    with pytest.raises(MessageError):
        parse_reply(message(QUESTION[12:34] + good, answers=0xFFFF), is_cut=False)
    assert parse_reply(message(QUESTION[12:34] + good, answers=0), is_cut=False).addresses == ()


def test_a_truncated_answer_has_what_stands_in_front_of_the_cut() -> None:
    two = QUESTION[12:34] + a_record(POINTER) + a_record(POINTER)
    for wire, is_cut in (
        (message(two[:-1], answers=2, flags=0x8380), False),
        (message(two[:-1], answers=2), True),
    ):
        assert parse_reply(wire, is_cut=is_cut).addresses == (mapped("192.0.2.66"),)


def test_other_classes_and_types_name_nothing() -> None:
    chaos = POINTER + struct.pack("!HHIH", 1, 3, 60, 4) + bytes([192, 0, 2, 66])
    mail = POINTER + struct.pack("!HHIH", 15, 1, 60, 4) + b"\0\1" + POINTER
    assert parse_reply(message(QUESTION[12:34] + chaos + mail, answers=2), is_cut=False).addresses == ()


@pytest.mark.parametrize(
    ("name", "is_one"),
    [
        ("registry.example", True),
        ("_acme-challenge.registry.example", True),
        ("a", True),
        ("a" * 63 + ".example", True),
        ("a" * 64 + ".example", False),
        (".".join(["a" * 49] * 5) + ".abc", True),
        (".".join(["a" * 49] * 5) + ".abcd", False),
        ("Registry.example", False),
        ("registry.example.", False),
        ("a..b", False),
        ("", False),
        (".", False),
        ("a b", False),
        ("a\n", False),
        ("<b>", False),
        ("é.example", False),
        ("\u0661.example", False),
    ],
)
def test_what_a_host_may_be_called(name: str, is_one: bool) -> None:
    assert is_host_name(name) is is_one


def test_dnspython_is_imported_with_the_first_message() -> None:
    program = (
        "import sys, exporter.pipeline.names; assert 'dns' not in sys.modules;"
        "exporter.pipeline.names.parse_question(bytes.fromhex(sys.argv[1]));"
        "assert 'dns.name' in sys.modules;"
        "assert 'dns.message' not in sys.modules"
    )
    subprocess.run([sys.executable, "-c", program, QUESTION.hex()], check=True)


FUZZED = settings(max_examples=int(os.environ.get("FUZZ_EXAMPLES", "500")), deadline=None)
MESSAGES = [
    QUESTION,
    REPLY,
    answer(query("web.example", "HTTPS"), "web.example HTTPS 1 . ipv4hint=192.0.2.7"),
]


@pytest.mark.timeout(600)  # a minute on a busy machine
@FUZZED
@given(draws(), st.sampled_from(MESSAGES), st.booleans())
def test_no_mutation_of_a_message_gets_past_or_names_another(draw: Draw, wire: bytes, is_cut: bool) -> None:
    check(draw.mutated(wire, POINTERS), is_cut=is_cut)


@FUZZED
@given(st.binary(max_size=600), st.booleans())
@example(b"", False)
def test_no_bytes_get_past(wire: bytes, is_cut: bool) -> None:
    check(wire, is_cut=is_cut)


def check(wire: bytes, *, is_cut: bool) -> None:
    """Nothing but a refusal is raised, a name is one line of ASCII, an unasked answer names nothing."""
    with suppress(MessageError):
        name = parse_question(wire).name
        assert name.isascii()
        assert name.isprintable()
    try:
        reply = parse_reply(wire, is_cut=is_cut)
    except MessageError:
        reply = None
    names = Names()
    names.asked(asked(query("asked.example")))
    names.answered(answered(wire, is_cut=is_cut))
    if reply is None:
        return
    assert all(len(peer) == 16 for peer in reply.addresses)
    if reply.question != Question(7, 1, "asked.example"):
        assert [names.name_of(peer, 1 << 60) for peer in reply.addresses] == [None] * len(reply.addresses)
    agrees_with_dnspython(wire, reply)
