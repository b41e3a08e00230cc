"""DNS over TCP: messages stand anywhere in a connection's segments, and what is no message is never one."""

from __future__ import annotations

import fcntl
import socket
import struct
import termios
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import pytest

from exporter.events.facts import Answered, Asked
from tests.kernel.lab import V4, V6, Lab, Network
from tests.kernel.lookups import SCOPE, WAIT_S, Lookups, cookie_of, packed
from tests.kernel.running_exporter import wait_for
from tests.unit.dns_samples import answer, query

pytestmark = [
    pytest.mark.kernel,
    pytest.mark.parametrize("network", [V4, V6], ids=["v4", "v6"]),
]

SEGMENT = 1400
"""Bytes that surely fit into one."""
FAR = 1 << 29
SYN, PSH, ACK = 0x02, 0x08, 0x10
TCP_REPAIR, TCP_REPAIR_QUEUE, TCP_QUEUE_SEQ = 19, 20, 21
TCP_SEND_QUEUE, TCP_REPAIR_OFF_NO_PROBE = 2, -1


class Stream(NamedTuple):
    """A connection to the resolver, from both ends."""

    client: socket.socket
    server: socket.socket

    def ask(self, *pieces: bytes) -> None:
        """Send each piece in a segment of its own."""
        send(self.client, self.server, *pieces)

    def reply(self, *pieces: bytes) -> None:
        """The resolver does."""
        send(self.server, self.client, *pieces)


def send(sender: socket.socket, receiver: socket.socket, *pieces: bytes) -> None:
    for piece in pieces:
        sender.sendall(piece)
        taken = b""
        while len(taken) < len(piece):  # so that the next one is no part of the same segment
            taken += receiver.recv(65536)
        assert taken == piece


@pytest.fixture
def stream(lab: Lab, network: Network) -> Iterator[Stream]:
    family = socket.AF_INET6 if ":" in network.peer else socket.AF_INET
    with (
        lab.peer.call(socket.socket, family, socket.SOCK_STREAM).result() as listener,
        lab.build.call(socket.socket, family, socket.SOCK_STREAM).result() as client,
    ):
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind((network.peer, 53))
        listener.listen()
        client.settimeout(WAIT_S)
        client.connect((network.peer, 53))
        server, _ = listener.accept()
        with server:
            server.settimeout(WAIT_S)
            for end in (client, server):
                end.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            yield Stream(client, server)


def framed(*messages: bytes) -> bytes:
    return b"".join(struct.pack("!H", len(message)) + message for message in messages)


def lookup(number: int, *, padding: int = 0) -> tuple[bytes, bytes]:
    """A question, and its answer with a TXT record of that many more bytes."""
    question = query(f"n{number}.example", txid=number)
    texts = ['n.example TXT "' + "t" * min(padding - at, 200) + '"' for at in range(0, padding, 200)]
    return question, answer(question, f"n{number}.example A 192.0.2.{number}", *texts)


def told(lookups: Lookups) -> list[bytes]:
    return [event.message for event in lookups.drain()]


def test_a_question_and_its_answer_are_told(lookups: Lookups, stream: Stream, network: Network) -> None:
    question, reply = lookup(1)
    with lookups.counting(seen=2):
        stream.ask(framed(question))
        stream.reply(framed(reply))
    asked = Asked(
        at_ns=0,
        process=lookups.process,
        exec_id=0,
        scope=SCOPE,
        cookie=cookie_of(stream.client),
        protocol=6,
        resolver=packed(network.peer),
        resolver_port=53,
        message=question,
        is_cut=False,
    )
    events = [event._replace(at_ns=0) for event in lookups.drain()]
    assert events == [asked, Answered(*asked._replace(message=reply))]


def test_two_messages_in_a_segment_are_both_told(lookups: Lookups, stream: Stream) -> None:
    questions, replies = zip(*map(lookup, (1, 2)), strict=True)
    with lookups.counting(seen=4):
        stream.ask(framed(*questions))
        stream.reply(framed(*replies))
    assert told(lookups) == [*questions, *replies]


def test_of_more_messages_in_a_segment_than_are_read_the_rest_is_counted(
    lookups: Lookups, stream: Stream
) -> None:
    questions, replies = zip(*map(lookup, range(1, 7)), strict=True)
    with lookups.counting(seen=10, unread=1):
        for question in questions:
            stream.ask(framed(question))
        stream.reply(framed(*replies))
        stream.reply(framed(replies[4]))  # where the next one begins isn't known any more
    assert told(lookups) == [*questions, *replies[:4]]


def test_a_connection_is_followed_over_many_messages(lookups: Lookups, stream: Stream) -> None:
    for number in range(1, 41):
        question, reply = lookup(number)
        stream.ask(framed(question))
        stream.reply(framed(reply))
        assert told(lookups) == [question, reply]


def test_a_length_in_a_segment_of_its_own_belongs_to_the_next_one(lookups: Lookups, stream: Stream) -> None:
    (question, reply), (second, other) = lookup(1), lookup(2)
    with lookups.counting(seen=4):
        stream.ask(framed(question)[:2], question + framed(second)[:2], second)
        stream.reply(framed(reply)[:2], reply + framed(other)[:2], other)
    assert told(lookups) == [question, second, reply, other]


def test_a_length_that_is_cut_in_two_ends_the_reading(lookups: Lookups, stream: Stream) -> None:
    question, reply = lookup(1)
    with lookups.counting(seen=1, unread=1):
        stream.ask(framed(question))
        stream.reply(framed(reply)[:1], framed(reply)[1:], framed(reply))
    assert told(lookups) == [question]


def test_an_answer_that_spans_segments_is_told_up_to_the_first_ones_end(
    lookups: Lookups, stream: Stream
) -> None:
    (question, reply), (second, other) = lookup(1, padding=900), lookup(2)
    with lookups.counting(seen=4):
        stream.ask(framed(question, second))
        stream.reply(framed(reply)[:300], framed(reply)[300:700], framed(reply)[700:] + framed(other))
    lasting = [(event.message, event.is_cut) for event in lookups.drain()]
    assert lasting == [(question, False), (second, False), (reply[:298], True), (other, False)]


def test_what_looks_like_a_message_inside_another_one_is_none(lookups: Lookups, stream: Stream) -> None:
    """Whoever fills a TXT record chooses what a segment begins with."""
    (question, reply), (second, _) = lookup(1, padding=600), lookup(2)
    evil = framed(answer(second, "n2.example A 192.0.2.66"))
    carrying = reply[:400] + evil + reply[400 + len(evil) :]
    with lookups.counting(seen=3):
        stream.ask(framed(question, second))
        stream.reply(framed(carrying)[:402], framed(carrying)[402:])
    assert told(lookups) == [question, second, carrying[:400]]


def test_an_answer_to_nothing_does_not_count(lookups: Lookups, stream: Stream) -> None:
    question, reply = lookup(1)
    _, unasked = lookup(2)
    with lookups.counting(seen=2, unasked=1):
        stream.ask(framed(question))
        stream.reply(framed(unasked, reply))
    assert told(lookups) == [question, reply]


def test_large_segments_are_read_as_they_come(lookups: Lookups, stream: Stream) -> None:
    question, reply = lookup(1, padding=40_000)
    with lookups.counting(seen=2):
        stream.ask(framed(question))
        stream.reply(framed(reply))
    asked, answered = lookups.drain()
    assert asked.message == question
    assert answered.is_cut
    assert answered.message == reply[: len(answered.message)]
    assert len(answered.message) >= SEGMENT - 2


def test_a_segment_that_waits_for_an_ack_still_has_its_process(lookups: Lookups, stream: Stream) -> None:
    """With Nagle's algorithm, the second question leaves in softirq, whoever runs there."""
    stream.client.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 0)
    questions = [lookup(number)[0] for number in range(1, 4)]
    for question in questions:
        stream.client.sendall(framed(question))
    wait_for(lambda: waiting(stream.server) == len(framed(*questions)))
    assert stream.server.recv(4096) == framed(*questions)
    events = lookups.drain()
    assert [event.message for event in events] == questions
    assert {event.process for event in events} == {lookups.process}


def waiting(receiver: socket.socket) -> int:
    """How many bytes are there to be read; to ask doesn't acknowledge any."""
    number: int = struct.unpack("=i", fcntl.ioctl(receiver, termios.FIONREAD, bytes(4)))[0]
    return number


@pytest.mark.parametrize("ahead", [False, True], ids=["behind", "ahead"])
def test_a_segment_that_tcp_refuses_names_nothing(
    lookups: Lookups, lab: Lab, stream: Stream, network: Network, ahead: bool
) -> None:
    """Whoever sees one packet of a connection can send under its addresses, even a SYN with data."""
    question, reply = lookup(1)
    evil = framed(answer(question, "n1.example A 192.0.2.66"))
    version = socket.AF_INET6 if network is V6 else socket.AF_INET
    raw = lab.peer.call(socket.socket, version, socket.SOCK_RAW, socket.IPPROTO_TCP).result()
    with raw, lookups.counting(seen=2, **({"unread": 3} if ahead else {})):
        raw.bind((network.peer, 0))
        stream.ask(framed(question))
        sequence = (next_sequence(stream.server) + (FAR if ahead else -FAR)) % (1 << 32)
        before = packets_in(lab)
        for flags in (SYN, SYN | ACK, PSH | ACK):
            forged = segment(network, stream.client.getsockname()[1], sequence, flags, evil)
            raw.sendto(forged, (network.build, 0))
        wait_for(lambda: packets_in(lab) >= before + 3)
        stream.reply(framed(reply))
    assert told(lookups) == [question, reply]


def next_sequence(sender: socket.socket) -> int:
    """Of the next byte that it sends."""
    sender.setsockopt(socket.IPPROTO_TCP, TCP_REPAIR, 1)
    sender.setsockopt(socket.IPPROTO_TCP, TCP_REPAIR_QUEUE, TCP_SEND_QUEUE)
    number = sender.getsockopt(socket.IPPROTO_TCP, TCP_QUEUE_SEQ)
    sender.setsockopt(socket.IPPROTO_TCP, TCP_REPAIR, TCP_REPAIR_OFF_NO_PROBE)
    sender.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)  # which that took away
    return number % (1 << 32)


def segment(network: Network, port: int, sequence: int, flags: int, data: bytes) -> bytes:
    """From the resolver; with a checksum, which is looked at first."""
    header = struct.pack("!HHIIBBHHH", 53, port, sequence, 1, 0x50, flags, 0xFFFF, 0, 0)
    version = socket.AF_INET6 if network is V6 else socket.AF_INET
    addresses = b"".join(socket.inet_pton(version, one) for one in (network.peer, network.build))
    whole = addresses + struct.pack("!II", len(header + data), socket.IPPROTO_TCP) + header + data
    total = sum(struct.unpack(f"!{len(whole) // 2 + len(whole) % 2}H", whole + bytes(len(whole) % 2)))
    while total >> 16:
        total = (total & 0xFFFF) + (total >> 16)
    return header[:16] + struct.pack("!HH", total ^ 0xFFFF, 0) + data


def packets_in(lab: Lab) -> int:
    """How many segments the build side got."""
    lines = lab.build.call(Path("/proc/thread-self/net/snmp").read_text).result().splitlines()
    names, values = (line.split() for line in lines if line.startswith("Tcp:"))
    return int(values[names.index("InSegs")])
