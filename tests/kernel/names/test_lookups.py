"""The questions of a job's processes and the answers to them are read, and no other message is."""

from __future__ import annotations

import random
import socket
import struct
from collections.abc import Iterator
from typing import NamedTuple

import pytest

from demo.namespaces import Namespace
from exporter.events.facts import HOST, Answered, Asked
from tests.kernel.lab import V4, V6, Lab, Network
from tests.kernel.lookups import SCOPE, WAIT_S, Lookups, cookie_of, packed
from tests.unit.dns_samples import answer, query

pytestmark = pytest.mark.kernel

QUESTION = query("registry.example")
REPLY = answer(QUESTION, "registry.example A 192.0.2.7")


def family(address: str) -> socket.AddressFamily:
    return socket.AF_INET6 if ":" in address else socket.AF_INET


class Pair(NamedTuple):
    """A socket that asks, on the build side, and its resolver's, at the peer."""

    client: socket.socket
    server: socket.socket

    def ask(self, message: bytes, *, connected: bool = False) -> tuple[bytes, tuple[str, int]]:
        """Send; what the resolver got, and from whom."""
        if connected:
            self.client.send(message)
        else:
            self.client.sendto(message, self.server.getsockname())
        message, peer = self.server.recvfrom(65535)
        return message, peer


def udp(side: Namespace, address: str, port: int) -> socket.socket:
    made = side.call(socket.socket, family(address), socket.SOCK_DGRAM).result()
    made.settimeout(WAIT_S)
    made.bind((address, port))
    return made


@pytest.fixture
def pair(lab: Lab, network: Network) -> Iterator[Pair]:
    with udp(lab.build, network.build, 0) as client, udp(lab.peer, network.peer, 53) as server:
        yield Pair(client, server)


def expected(lookups: Lookups, pair: Pair, network: Network, message: bytes, *, protocol: int = 17) -> Asked:
    """The question's record, but for its time."""
    return Asked(
        at_ns=0,
        process=lookups.process,
        exec_id=0,
        scope=SCOPE,
        cookie=cookie_of(pair.client),
        protocol=protocol,
        resolver=packed(network.peer),
        resolver_port=53,
        message=message,
        is_cut=False,
    )


def timeless(events: list[Asked | Answered]) -> list[Asked | Answered]:
    times = [event.at_ns for event in events]
    assert times == sorted(times)
    return [event._replace(at_ns=0) for event in events]


@pytest.mark.parametrize("connected", [False, True], ids=["sendto", "connected"])
def test_a_question_and_its_answer_are_told(
    lookups: Lookups, pair: Pair, network: Network, connected: bool
) -> None:
    if connected:
        pair.client.connect(pair.server.getsockname())
    with lookups.counting(seen=2):
        _, peer = pair.ask(QUESTION, connected=connected)
        pair.server.sendto(REPLY, peer)
        assert pair.client.recv(4096) == REPLY
    asked = expected(lookups, pair, network, QUESTION)
    assert timeless(lookups.drain()) == [asked, Answered(*asked._replace(message=REPLY))]


def test_a_mapped_address_is_told_as_ipv4(lookups: Lookups, lab: Lab) -> None:
    with udp(lab.build, "::", 0) as client, udp(lab.peer, V4.peer, 53) as server:
        for connected in (False, True):
            if connected:
                client.connect((f"::ffff:{V4.peer}", 53))
                client.send(QUESTION)
            else:
                client.sendto(QUESTION, (f"::ffff:{V4.peer}", 53))
            _, peer = server.recvfrom(4096)
            server.sendto(REPLY, peer)
            assert client.recv(4096) == REPLY
            told = lookups.drain()
            assert [(type(event), event.resolver) for event in told] == [
                (Asked, packed(V4.peer)),
                (Answered, packed(V4.peer)),
            ]


def test_what_a_process_outside_the_job_asks_is_its_own_affair(lookups: Lookups, pair: Pair) -> None:
    with lookups.counting(), lookups.away():
        _, peer = pair.ask(QUESTION)
        pair.server.sendto(REPLY, peer)
        assert pair.client.recv(4096) == REPLY
    assert lookups.drain() == []


def test_other_ports_are_not_looked_at(lookups: Lookups, lab: Lab, network: Network) -> None:
    with (
        udp(lab.build, network.build, 0) as client,
        udp(lab.peer, network.peer, 5353) as server,
        lookups.counting(),
    ):
        client.sendto(QUESTION, server.getsockname())
        _, peer = server.recvfrom(4096)
        server.sendto(REPLY, peer)
        assert client.recv(4096) == REPLY
    assert lookups.drain() == []


def test_the_case_may_change_on_the_way(lookups: Lookups, pair: Pair) -> None:
    asked, replied = query("ReGiStRy.ExAmPlE[@`{"), answer(query("rEGISTRY.example[@`{"))
    with lookups.counting(seen=2):
        _, peer = pair.ask(asked)
        pair.server.sendto(replied, peer)
        pair.client.recv(4096)
    assert [event.message for event in lookups.drain()] == [asked, replied]


@pytest.mark.parametrize(
    "name",
    [
        ".",
        "a.",
        *("x" * length + ".example." for length in range(1, 9)),
        ".".join(["y" * 63] * 3 + ["z" * 61]) + ".",
    ],
    ids=len,
)
def test_a_name_of_any_length_is_read(lookups: Lookups, pair: Pair, name: str) -> None:
    asked = query(name, edns=False)  # nothing stands behind the question
    with lookups.counting(seen=2):
        _, peer = pair.ask(asked)
        pair.server.sendto(answer(asked), peer)
        pair.client.recv(4096)
    assert [event.message for event in lookups.drain()] == [asked, answer(asked)]


@pytest.mark.parametrize(
    "reply",
    [
        answer(query("registry.example", txid=8), "registry.example A 192.0.2.66"),
        answer(query("registry.example", "AAAA"), "registry.example AAAA 2001:db8::66"),
        answer(query("evil.example"), "evil.example A 192.0.2.66"),
        answer(query("registry.example.evil"), "registry.example.evil A 192.0.2.66"),
        answer(query("registry.exampl"), "registry.exampl A 192.0.2.66"),
    ],
    ids=["id", "type", "name", "longer", "shorter"],
)
def test_an_answer_to_another_question_does_not_count(lookups: Lookups, pair: Pair, reply: bytes) -> None:
    with lookups.counting(seen=2, unasked=1):
        _, peer = pair.ask(QUESTION)
        pair.server.sendto(reply, peer)
        assert pair.client.recv(4096) == reply
        pair.server.sendto(REPLY, peer)
        assert pair.client.recv(4096) == REPLY
    assert [event.message for event in lookups.drain()] == [QUESTION, REPLY]


def test_an_answer_from_somebody_else_does_not_count(
    lookups: Lookups, lab: Lab, pair: Pair, network: Network
) -> None:
    with udp(lab.peer, network.evil, 53) as stranger, lookups.counting(seen=2, unasked=1):
        _, peer = pair.ask(QUESTION)
        stranger.sendto(REPLY, peer)
        assert pair.client.recvfrom(4096)[1][0] == network.evil
        pair.server.sendto(REPLY, peer)
        assert pair.client.recvfrom(4096)[1][0] == network.peer
    assert [event.message for event in lookups.drain()] == [QUESTION, REPLY]


def test_an_answer_from_another_port_does_not_count(
    lookups: Lookups, lab: Lab, pair: Pair, network: Network
) -> None:
    with udp(lab.peer, network.peer, 5353) as stranger, lookups.counting(seen=1):
        _, peer = pair.ask(QUESTION)
        stranger.sendto(REPLY, peer)
        assert pair.client.recv(4096) == REPLY
    assert [event.message for event in lookups.drain()] == [QUESTION]


def test_an_answer_counts_once_and_one_without_a_question_never(lookups: Lookups, pair: Pair) -> None:
    with lookups.counting(seen=2, unasked=2):
        _, peer = pair.ask(QUESTION)
        for _ in range(3):
            pair.server.sendto(REPLY, peer)
            assert pair.client.recv(4096) == REPLY
    assert [event.message for event in lookups.drain()] == [QUESTION, REPLY]


def test_another_sockets_question_is_not_answered_here(
    lookups: Lookups, lab: Lab, pair: Pair, network: Network
) -> None:
    with udp(lab.build, network.build, 0) as other, lookups.counting(seen=2, unasked=1):
        pair.ask(QUESTION)
        other.sendto(query("other.example", txid=9), pair.server.getsockname())
        _, others = pair.server.recvfrom(4096)
        pair.server.sendto(REPLY, others)
        assert other.recv(4096) == REPLY
    assert len(lookups.drain()) == 2


@pytest.mark.parametrize("network", [V4], ids=["v4"])
def test_an_answer_forged_over_lo_does_not_count(
    lookups: Lookups, lab: Lab, pair: Pair, network: Network
) -> None:
    """Any root process of the job can send under the resolver's address; over lo, nobody is in between."""
    lab.build.configure({"net/ipv4/conf/all/rp_filter": 0, "net/ipv4/conf/lo/rp_filter": 0})
    lab.build.configure({"net/ipv4/conf/all/accept_local": 1, "net/ipv4/conf/lo/accept_local": 1})
    raw = lab.build.call(socket.socket, socket.AF_INET, socket.SOCK_RAW, socket.IPPROTO_RAW).result()
    with raw, lookups.counting(seen=2, unasked=1):
        _, peer = pair.ask(QUESTION)
        raw.sendto(forged(network.peer, peer, REPLY), (network.build, 0))
        assert pair.client.recvfrom(4096) == (REPLY, (network.peer, 53))
        pair.server.sendto(REPLY, peer)
        assert pair.client.recvfrom(4096) == (REPLY, (network.peer, 53))
    told = lookups.drain()
    assert [event.message for event in told] == [QUESTION, REPLY]


def forged(source: str, to: tuple[str, int], message: bytes) -> bytes:
    """A whole IPv4 packet with a datagram from port 53; without a checksum, which UDP allows."""
    datagram = struct.pack("!HHHH", 53, to[1], 8 + len(message), 0) + message
    addresses = socket.inet_aton(source) + socket.inet_aton(to[0])
    return struct.pack("!BBHHHBBH", 0x45, 0, 20 + len(datagram), 1, 0, 64, 17, 0) + addresses + datagram


def exchanged(lookups: Lookups) -> list[tuple[bytes, bytes]]:
    """Messages, each with the resolver that it went to or came from."""
    return [(event.message, event.resolver) for event in lookups.drain()]


@pytest.mark.parametrize("resolver", ["127.0.0.53", "::1", V4.build, V6.build])
def test_a_resolver_on_the_same_host_counts(lookups: Lookups, lab: Lab, resolver: str) -> None:
    with udp(lab.build, resolver, 53) as server, lookups.counting(seen=2):
        client = lab.build.call(socket.socket, family(resolver), socket.SOCK_DGRAM).result()
        with client:
            client.settimeout(WAIT_S)
            client.sendto(QUESTION, server.getsockname())
            _, peer = server.recvfrom(4096)
            server.sendto(REPLY, peer)
            assert client.recv(4096) == REPLY
    assert exchanged(lookups) == [(QUESTION, packed(resolver)), (REPLY, packed(resolver))]


@pytest.mark.parametrize("how", ["sendto", "connected", "tcp"])
@pytest.mark.parametrize(("asked", "resolver"), [("0.0.0.0", "127.0.0.1"), ("::", "::1")])  # noqa: S104 - asked
def test_a_resolver_that_is_only_asked_as_this_machine_counts(
    lookups: Lookups, lab: Lab, asked: str, resolver: str, how: str
) -> None:
    """The kernel makes another address of it."""
    kind = socket.SOCK_STREAM if how == "tcp" else socket.SOCK_DGRAM
    made = [lab.build.call(socket.socket, family(resolver), kind).result() for _ in range(2)]
    with made[0] as server, made[1] as client, lookups.counting(seen=2):
        for each in made:
            each.settimeout(WAIT_S)
        server.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        server.bind((resolver, 53))
        if how == "tcp":
            server.listen()
            client.connect((asked, 53))
            with server.accept()[0] as accepted:
                client.sendall(struct.pack("!H", len(QUESTION)) + QUESTION)
                accepted.recv(4096)
                accepted.sendall(struct.pack("!H", len(REPLY)) + REPLY)
                assert client.recv(4096)[2:] == REPLY
        else:
            if how == "connected":
                client.connect((asked, 53))
                client.send(QUESTION)
            else:
                client.sendto(QUESTION, (asked, 53))
            _, peer = server.recvfrom(4096)
            server.sendto(REPLY, peer)
            assert client.recv(4096) == REPLY
    assert exchanged(lookups) == [(QUESTION, packed(resolver)), (REPLY, packed(resolver))]


def test_one_question_to_several_resolvers_has_an_answer_from_each(
    lookups: Lookups, lab: Lab, pair: Pair, network: Network
) -> None:
    with udp(lab.peer, network.evil, 53) as second, lookups.counting(seen=4):
        for server in (pair.server, second):
            pair.client.sendto(QUESTION, server.getsockname())
        for server in (pair.server, second):
            _, peer = server.recvfrom(4096)
            server.sendto(REPLY, peer)
            assert pair.client.recv(4096) == REPLY
    told = [(type(event), event.resolver) for event in lookups.drain()]
    resolvers = [packed(network.peer), packed(network.evil)]
    assert told == [(Asked, one) for one in resolvers] + [(Answered, one) for one in resolvers]


@pytest.mark.parametrize(
    "size", [127, 128, 129, 511, 512, 513, 1500, 2047, 2048, 2049, 9000, 60000], ids=lambda size: f"{size}"
)
def test_an_answer_of_any_size_is_told_up_to_its_cut(lookups: Lookups, pair: Pair, size: int) -> None:
    reply = REPLY + bytes(size - len(REPLY))
    with lookups.counting(seen=2):
        _, peer = pair.ask(QUESTION)
        pair.server.sendto(reply, peer)
        assert pair.client.recv(65535) == reply
    _, told = lookups.drain()
    assert isinstance(told, Answered)
    assert (told.message, told.is_cut) == (reply[:2048], size > 2048)


@pytest.mark.parametrize(
    "message",
    [
        b"",
        QUESTION[:11],
        QUESTION[:20],
        QUESTION[:32],
        QUESTION[:4] + b"\0\2" + QUESTION[6:],
        QUESTION[:2] + b"\x29\0" + QUESTION[4:],
        QUESTION[:12] + b"\1x" * 200,
    ],
    ids=["empty", "header", "name", "type", "two questions", "update", "endless name"],
)
def test_what_is_no_question_is_counted(lookups: Lookups, pair: Pair, message: bytes) -> None:
    with lookups.counting(unread=1):
        pair.ask(message)
    assert lookups.drain() == []


def test_whatever_comes_from_a_resolver_only_the_answer_counts(lookups: Lookups, pair: Pair) -> None:
    """Each truncation, and answers with bytes changed, taken away or put in."""
    chance = random.Random(53)  # noqa: S311 - the same ones each time
    question = bytearray(QUESTION)
    answers = 0
    before = lookups.counts()
    tries = [REPLY[:size] for size in range(len(REPLY))] + [mutated(REPLY, chance) for _ in range(1500)]
    for txid, message in enumerate(tries, start=1000):
        question[:2] = txid.to_bytes(2, "big")
        reply = question[:2] + message[2:] if chance.random() < 0.9 else message
        _, peer = pair.ask(bytes(question))
        pair.server.sendto(reply, peer)
        pair.client.recv(65535)
        answers += is_answer_to(bytes(question), bytes(reply))
        if not txid % 100:  # the slower this goes, the more of it the ring gets
            lookups.drain()
    after = lookups.counts()
    assert after.seen - before.seen == len(tries) + answers
    assert 300 < answers < len(tries) - 300  # so both happen
    assert after.lost == before.lost


def mutated(message: bytes, chance: random.Random) -> bytes:
    changed = bytearray(message)
    for _ in range(chance.randrange(3)):
        at = chance.randrange(min(len(changed), 60))
        changed[at : at + chance.randrange(3)] = chance.randbytes(chance.randrange(3))
    return bytes(changed)


def is_answer_to(question: bytes, reply: bytes) -> bool:
    """Whether it has the same id, one question, and that is the same, but for upper and lower case."""
    end = question.index(b"\0", 12) + 1
    return (
        len(reply) >= end + 4
        and reply[:2] == question[:2]
        and reply[2] & 0xF8 == 0x80
        and reply[4:6] == b"\0\1"
        and reply[12:end].lower() == question[12:end].lower()
        and reply[end : end + 2] == question[end : end + 2]
    )


def test_of_a_host_that_is_followed_the_lookups_of_no_job_are_told(lookups: Lookups, pair: Pair) -> None:
    """The last one of all: what strangers asked meanwhile may be answered later, and would be counted."""
    with lookups.away(), lookups.following_the_host():
        _, peer = pair.ask(QUESTION)
        pair.server.sendto(REPLY, peer)
        assert pair.client.recv(4096) == REPLY
    told = [event for event in lookups.drain() if event.cookie == cookie_of(pair.client)]
    assert [(event.message, event.scope, event.process.pid) for event in told] == [
        (QUESTION, HOST, lookups.process.pid),
        (REPLY, HOST, lookups.process.pid),
    ]
