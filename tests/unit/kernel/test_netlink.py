from __future__ import annotations

import errno
import socket
import struct
from collections.abc import Iterator

import pytest

from exporter.kernel.netlink import DUMP, answers, attribute, attributes

ERROR, DONE, ANSWER = 2, 3, 16


def message(kind: int, payload: bytes) -> bytes:
    padding = bytes(-len(payload) % 4)
    return struct.pack("=IHHII", 16 + len(payload), kind, 0, 0, 0) + payload + padding


def code(number: int) -> bytes:
    return struct.pack("=i", -number)


@pytest.fixture(name="pair")
def _pair() -> Iterator[tuple[socket.socket, socket.socket]]:
    ours, kernel = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    with ours, kernel:
        yield ours, kernel


def test_all_answers_come_until_the_kernel_is_done(pair: tuple[socket.socket, socket.socket]) -> None:
    ours, kernel = pair
    kernel.send(message(ANSWER, b"one") + message(ANSWER, b"two2"))
    kernel.send(message(ANSWER, b"three") + message(DONE, code(0)))
    assert list(answers(ours, 18, DUMP, b"body")) == [b"one", b"two2", b"three"]
    assert kernel.recv(100) == struct.pack("=IHHII", 20, 18, DUMP | 1, 0, 0) + b"body"


@pytest.mark.parametrize("kind", [ERROR, DONE])
def test_an_error_is_raised_behind_what_was_told(
    pair: tuple[socket.socket, socket.socket], kind: int
) -> None:
    ours, kernel = pair
    kernel.send(message(ANSWER, b"told") + message(kind, code(errno.EMSGSIZE)))
    told = answers(ours, 18, DUMP, b"")
    assert next(told) == b"told"
    with pytest.raises(OSError, match="too long") as raised:
        next(told)
    assert raised.value.errno == errno.EMSGSIZE


def test_some_may_be_lacking_but_a_refused_request_is_raised(
    pair: tuple[socket.socket, socket.socket],
) -> None:
    ours, kernel = pair
    kernel.send(message(ANSWER, b"told") + message(DONE, code(errno.EMSGSIZE)))
    assert list(answers(ours, 18, DUMP, b"", may_lack_some=True)) == [b"told"]
    kernel.send(message(ERROR, code(errno.ENODEV)))
    with pytest.raises(OSError, match="No such device"):
        list(answers(ours, 18, DUMP, b"", may_lack_some=True))


def test_attributes_are_read_as_they_were_written() -> None:
    inner = attribute(1, b"x") + attribute(2, b"12345678")
    assert len(attribute(1, b"x")) == 8
    assert attributes(attribute(7, inner) + attribute(1 << 15 | 3, b"")) == {7: inner, 3: b""}
    assert attributes(inner) == {1: b"x", 2: b"12345678"}


@pytest.mark.parametrize("length", [0, 3])
def test_nothing_is_read_behind_an_attribute_of_an_impossible_length(length: int) -> None:
    assert attributes(attribute(1, b"a") + struct.pack("=HH", length, 2) + attribute(3, b"b")) == {1: b"a"}
