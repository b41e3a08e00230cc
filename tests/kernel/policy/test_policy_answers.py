"""Of an answer, only addresses count whose owner is the question's name, or what its CNAMEs lead to."""

from __future__ import annotations

import random
import socket
import struct
from collections.abc import Callable
from contextlib import ExitStack
from typing import NamedTuple

import pytest

from exporter.common.net.dns_messages import parse_reply
from exporter.events import wire
from tests.kernel.arrivals import TCP, Endpoint, Packet
from tests.kernel.dns_exchange import NAME, Asking, policy
from tests.kernel.held_job import DENIED, SENT, HeldJob, connect
from tests.kernel.lab import NETWORKS, PORT, V4, Lab, Network
from tests.kernel.recorded_answers import RECORDED
from tests.kernel.servers import family_of

pytestmark = pytest.mark.kernel

A, CNAME, TXT, AAAA, DNAME = 1, 5, 16, 28, 39
IN, CHAOS = 1, 3
TXID = 7
QUESTION_AT = 12
ANSWER, NO_SUCH_NAME = 0x8180, 0x8183
WILD = f"*.{NAME}"


def name(*labels: bytes) -> bytes:
    """On the wire, written out."""
    return b"".join(bytes([len(label)]) + label for label in labels) + b"\0"


def to(at: int) -> bytes:
    """A pointer."""
    return struct.pack("!H", 0xC000 | at)


ASKED = name(b"registry", b"example")
EVIL, EDGE = name(b"evil", b"zone"), name(b"edge", b"cdn", b"example")
OWN = to(QUESTION_AT)
FIRST_AT = QUESTION_AT + len(ASKED) + 4
"""Where the first record stands, behind a question for NAME."""
DATA_AT = FIRST_AT + len(OWN) + 10
"""And its data, where its owner is OWN."""


def rr(owner: bytes, kind: int, data: bytes, *, of_class: int = IN, size: int | None = None) -> bytes:
    """A record, which may lie about its size."""
    return owner + struct.pack("!HHIH", kind, of_class, 60, len(data) if size is None else size) + data


def address(network: Network, owner: bytes = OWN, at: str = "", *, of_class: int = IN) -> bytes:
    """The record with the address that is to be opened, or another one."""
    packed = socket.inet_pton(family_of(network.peer), at or network.peer)
    return rr(owner, A if len(packed) == 4 else AAAA, packed, of_class=of_class)


def question(asked: bytes = ASKED, kind: int = A, of_class: int = IN) -> bytes:
    return struct.pack("!6H", TXID, 0x0100, 1, 0, 0, 0) + asked + struct.pack("!HH", kind, of_class)


class Case(NamedTuple):
    """A question and its answer."""

    name: str
    records: Callable[[Network], list[bytes]]
    asked: bytes = ASKED
    kind: int = A
    of_class: int = IN
    flags: int = ANSWER
    number: int | None = None
    """Of records that it claims to have; how many it has, unless said."""
    elsewhere: int = 0
    """How many of the records, the last ones, stand in another section."""
    rule: str = NAME

    def question(self) -> bytes:
        """As it leaves."""
        return question(self.asked, self.kind, self.of_class)

    def answer(self, network: Network) -> bytes:
        """As it comes."""
        records = self.records(network)
        number = len(records) - self.elsewhere if self.number is None else self.number
        counts = (1, number, 0, self.elsewhere)
        return struct.pack("!HH4H", TXID, self.flags, *counts) + self.question()[12:] + b"".join(records)


def behind(*targets: bytes) -> list[bytes]:
    """CNAMEs from NAME over each to the last, written out."""
    owners = [ASKED, *targets]
    return [rr(owner, CNAME, target) for owner, target in zip(owners, targets, strict=False)]


def number_of(number: int) -> list[bytes]:
    return [name(b"edge%d" % each, b"cdn", b"example") for each in range(number)]


def smuggled(network: Network) -> list[bytes]:
    """TXT records of an attacker's, which read as records with an address from some byte on."""
    hidden = b"\0" + address(network, b"")
    data = bytes(6) + hidden
    return [rr(OWN, TXT, bytes([len(data)]) + data[1:])] * 3


POINTING_FORWARD = DATA_AT + 2
"""Behind a first record whose data are a pointer."""

TWINS = b"a\x7f1-b", b"a_\x11-b", b"a_1\rb"
"""Of `a_1-b`, with a bit changed that tells large letters from small ones."""

GRANTED = [
    Case("owner-by-pointer", lambda n: [address(n)]),
    Case("owner-written-out", lambda n: [address(n, ASKED)]),
    Case("owner-in-capitals", lambda n: [address(n, ASKED.upper())]),
    Case("question-in-mixed-case", lambda n: [address(n, ASKED)], asked=name(b"rEgIsTrY", b"EXample")),
    Case("owner-half-a-pointer", lambda n: [address(n, b"\x08Registry" + to(QUESTION_AT + 9))]),
    Case("owner-by-two-pointers", lambda n: [rr(OWN, TXT, b"\1x"), address(n, to(FIRST_AT))]),
    Case("owner-by-a-pointer-into-text", lambda n: [rr(OWN, TXT, ASKED), address(n, to(DATA_AT))]),
    Case("text-before-the-address", lambda n: [rr(OWN, TXT, b"\1x"), rr(EVIL, TXT, b"\1x"), address(n)]),
    Case("cname", lambda n: [*behind(EDGE), address(n, EDGE)]),
    Case("cname-by-pointer", lambda n: [rr(OWN, CNAME, EDGE), address(n, to(DATA_AT))]),
    Case("cname-in-other-case", lambda n: [*behind(EDGE.title()), address(n, EDGE.upper())]),
    Case("cname-behind-its-address", lambda n: [address(n, EDGE), *behind(EDGE)]),
    Case("cname-to-what-stands-behind", lambda n: [rr(OWN, CNAME, to(POINTING_FORWARD)), address(n, EDGE)]),
    Case("cname-of-a-dname", lambda n: [rr(name(b"example"), DNAME, EDGE), *behind(EDGE), address(n, EDGE)]),
    Case("cname-with-odd-letters", lambda n: [*behind(name(b"a\0b.c")), address(n, name(b"A\0B.C"))]),
    Case("chain-of-sixteen", lambda n: [*behind(*number_of(16)), address(n, number_of(16)[-1])]),
    Case("chain-from-its-end", lambda n: [address(n, number_of(9)[-1]), *reversed(behind(*number_of(9)))]),
    Case("chain-among-others", lambda n: [rr(EVIL, CNAME, EDGE), *behind(EVIL, EDGE), address(n, EDGE)]),
    Case("seventy-addresses", lambda n: [*[address(n, OWN, n.evil)] * 69, address(n)]),
    Case("with-edns", lambda n: [address(n), rr(b"\0", 41, b"", of_class=1232)], elsewhere=1),
    Case("cut-behind-the-address", lambda n: [address(n), rr(OWN, TXT, b"x", size=9)], flags=0x8380),
    Case("underscore", lambda n: [address(n)], asked=name(b"_a-1", b"registry", b"example"), rule=WILD),
    Case("asked-for-text", lambda n: [address(n)], kind=TXT),
]
DENIED_CASES = [
    Case("zero-in-the-name", smuggled, asked=name(b"registry", b"example\0ab12", b"evil", b"zone"), kind=TXT),
    Case("zero-at-a-labels-end", lambda n: [address(n)], asked=name(b"registry", b"example\0")),
    Case("zero-before-a-type", lambda n: [address(n)], asked=name(b"registry", b"example\0\0\1\0\1")),
    Case(
        "zero-below-a-wildcard",
        lambda n: [address(n)],
        asked=name(b"a\0", *NAME.encode().split(b".")),
        rule=WILD,
    ),
    Case("owner-evil", lambda n: [address(n, EVIL)]),
    Case("owner-root", lambda n: [address(n, b"\0")]),
    Case("owner-below", lambda n: [address(n, b"\1a" + OWN)]),
    Case("owner-above", lambda n: [address(n, to(QUESTION_AT + 9))]),
    Case("owner-looks-alike", lambda n: [address(n, ASKED.replace(b"y", b"i"))]),
    Case(
        "owner-differs-as-letters-in-case-do",
        lambda n: [address(n, name(each, b"registry", b"example")) for each in TWINS],
        asked=name(b"a_1-b", b"registry", b"example"),
        rule=WILD,
    ),
    Case("owner-with-a-zero", lambda n: [address(n, name(b"registry", b"example\0"))]),
    Case("owner-points-at-itself", lambda n: [address(n, to(FIRST_AT))]),
    Case("owner-points-round", lambda n: [address(n, b"\1a" + to(FIRST_AT))]),
    Case("owner-points-beyond", lambda n: [address(n, to(0x3FFF))]),
    Case("owner-points-into-the-header", lambda n: [address(n, to(0))]),
    Case("owner-points-into-text", lambda n: [rr(OWN, TXT, EVIL), address(n, to(DATA_AT))]),
    Case("owner-of-a-label-of-no-kind", lambda n: [address(n, b"\x48registry\7example\0")]),
    Case("text-that-reads-as-a-record", lambda n: [rr(OWN, TXT, address(n))], number=2),
    Case("text-beyond-the-message", lambda n: [rr(OWN, TXT, address(n), size=999)], number=2),
    Case("records-in-another-section", lambda n: [address(n)], elsewhere=1),
    Case("cname-of-another-name", lambda n: [rr(EVIL, CNAME, EDGE), address(n, EDGE)]),
    Case("cname-to-another-name", lambda n: [*behind(EDGE), address(n, EVIL)]),
    Case("cname-of-another-class", lambda n: [rr(OWN, CNAME, EDGE, of_class=CHAOS), address(n, EDGE)]),
    Case("cname-back", lambda n: [*behind(EDGE, ASKED), address(n, EVIL)]),
    Case("chain-broken", lambda n: [*behind(*number_of(3))[::2], address(n, number_of(3)[-1])]),
    Case("chain-without-end", lambda n: [address(n, number_of(60)[-1]), *reversed(behind(*number_of(60)))]),
    Case("address-of-another-class", lambda n: [address(n, of_class=CHAOS)]),
    Case("address-too-long", lambda _: [rr(OWN, A, b"\0" * 5), rr(OWN, AAAA, b"\0" * 4)]),
    Case("address-cut", lambda n: [address(n)[:-1]]),
    Case("no-such-name", lambda n: [address(n)], flags=NO_SUCH_NAME),
    Case("question-of-another-class", lambda n: [address(n)], of_class=CHAOS),
]


def by_name(cases: list[Case]) -> pytest.MarkDecorator:
    return pytest.mark.parametrize("case", cases, ids=lambda case: case.name)


def opened(job: HeldJob, lab: Lab, network: Network, case: Case) -> tuple[str, int]:
    """What comes of a connect to the peer, before which that was answered, and how many packets get there."""
    job.hold_to_text(policy(network, f"{case.rule}:{PORT}"))
    with ExitStack() as stack, lab.watch() as watch:
        Asking.at(stack, lab, network).get(case.question(), case.answer(network))
        result = connect(lab.build, network.peer, PORT)
    return result, watch.arrivals.packets[Packet(TCP, Endpoint(network.peer, PORT))]


@NETWORKS
@by_name(GRANTED)
def test_an_address_of_the_name_that_was_asked_for_is_granted(
    job: HeldJob, lab: Lab, network: Network, case: Case
) -> None:
    result, packets = opened(job, lab, network, case)
    assert (result, packets > 0) == (SENT, True)


@NETWORKS
@by_name(DENIED_CASES)
def test_an_address_of_any_other_name_is_not(job: HeldJob, lab: Lab, network: Network, case: Case) -> None:
    assert opened(job, lab, network, case) == (DENIED, 0)


@NETWORKS
@pytest.mark.parametrize("by", RECORDED)
def test_what_real_resolvers_answer_is_granted(job: HeldJob, lab: Lab, network: Network, by: str) -> None:
    job.hold_to_text(policy(network, f"www.{NAME}:{PORT}", f"direct.{NAME}:{PORT}"))
    answer = bytes.fromhex(RECORDED[by][network])
    end = answer.index(b"\0", QUESTION_AT) + 5
    asked = answer[:2] + struct.pack("!5H", 0x0100, 1, 0, 0, 0) + answer[QUESTION_AT:end]
    assert connect(lab.build, network.peer, PORT) == DENIED
    with ExitStack() as stack:
        Asking.at(stack, lab, network).get(asked, answer)
    assert connect(lab.build, network.peer, PORT) == SENT
    assert granted(job) == set(parse_reply(answer, is_cut=False).addresses)


def test_a_name_with_a_zero_grants_nothing_over_tcp_either(job: HeldJob, lab: Lab) -> None:
    """In one segment with an honest answer, which does."""
    hostile, honest = DENIED_CASES[0], GRANTED[0]._replace(asked=name(b"direct", b"registry", b"example"))
    job.hold_to_text(policy(V4, f"{NAME}:{PORT}", f"direct.{NAME}:{PORT}"))
    others = V4._replace(peer=V4.blackhole)
    with (
        lab.peer.call(socket.create_server, (V4.evil, 53)).result() as listener,
        lab.build.call(socket.create_connection, (V4.evil, 53)).result() as client,
    ):
        server, _ = listener.accept()
        with server:
            asked = [framed(case.question()) for case in (hostile, honest)]
            client.sendall(b"".join(asked))
            assert len(server.recv(4096)) == len(b"".join(asked))
            server.sendall(framed(hostile.answer(V4)) + framed(honest.answer(others)))
            client.recv(4096)
    assert connect(lab.build, V4.peer, PORT) == DENIED
    assert connect(lab.build, V4.blackhole, PORT) != DENIED


def framed(message: bytes) -> bytes:
    return struct.pack("!H", len(message)) + message


def granted(job: HeldJob) -> set[bytes]:
    """All addresses that were, to this process's job."""
    keys = (wire.GrantedKey.unpack(key) for key in job.kernel.tracer.maps["granted"])
    return {key.address for key in keys if key.scope == job.scope}


def test_what_is_granted_is_what_the_telemetry_says_of_the_same_answer(job: HeldJob, lab: Lab) -> None:
    """In any order, with names that are each other's ends; of one in which a byte was changed, no more."""
    draw = random.Random(14)  # noqa: S311 - the same ones every time
    with ExitStack() as stack:
        asking = Asking.at(stack, lab, V4)
        for _ in range(200):
            answer = Case("drawn", lambda _: drawn_records(draw)).answer(V4)
            assert granted_by(job, asking, answer) == set(parse_reply(answer, is_cut=False).addresses)
            changed = bytearray(answer)
            changed[draw.randrange(FIRST_AT, len(answer))] = draw.choice((0, 1, 0x0C, 0x40, 0xC0))
            told = parse_reply(bytes(changed), is_cut=True).addresses
            assert granted_by(job, asking, bytes(changed)) <= set(told), changed.hex()


def granted_by(job: HeldJob, asking: Asking, answer: bytes) -> set[bytes]:
    job.hold_to_text(policy(V4, f"{NAME}:{PORT}"))
    asking.get(question(), answer)
    return granted(job)


def drawn_records(draw: random.Random) -> list[bytes]:
    names = [
        ASKED,
        EDGE,
        EVIL,
        name(b"a", b"registry", b"example"),
        name(b"cdn", b"example"),
        name(b"example"),
    ]
    chain = [ASKED, *draw.sample(names[1:], draw.randrange(4))]
    owners = [each for each in names if each not in chain[:-1]]  # what has a CNAME has nothing else
    records = behind(*chain[1:])
    records += [rr(draw.choice(owners), A, draw.randbytes(4)) for _ in range(draw.randrange(6))]
    records += [rr(draw.choice(names), TXT, draw.randbytes(draw.randrange(1, 30)))]
    draw.shuffle(records)
    return records
