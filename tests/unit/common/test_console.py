"""Words on a stream in trouble: as many as it takes, and no error."""

from __future__ import annotations

import fcntl
import io
import os
import pty
import signal
import subprocess
import sys
import threading
import time
from contextlib import suppress
from itertools import count
from pathlib import Path
from types import SimpleNamespace
from typing import TextIO

import pytest

from exporter.common import console
from exporter.common.console import printing, write


@pytest.fixture
def patient(monkeypatch: pytest.MonkeyPatch) -> None:
    """However long a busy machine keeps the reader away."""
    monkeypatch.setattr(console, "_PATIENCE_S", 60.0)


def pipe(*, blocking: bool) -> tuple[int, TextIO]:
    reader, writer = os.pipe()
    os.set_blocking(writer, blocking)
    return reader, os.fdopen(writer, "w", encoding="ascii")


def write_all(stream: TextIO, texts: list[str]) -> None:
    for text in texts:
        write(stream, text)


def test_what_a_stream_cannot_encode_is_escaped() -> None:
    reader, stream = pipe(blocking=True)
    write(stream, "a → b\n")
    assert os.read(reader, 100) == b"a \\u2192 b\n"
    os.close(reader)
    stream.close()


@pytest.mark.usefixtures("patient")
def test_a_slow_reader_of_a_pipe_that_does_not_block_gets_everything() -> None:
    reader, stream = pipe(blocking=False)
    writing = threading.Thread(target=write, args=(stream, "x" * 200_000))
    writing.start()
    time.sleep(0.1)
    got = 0
    while got < 200_000:
        got += len(os.read(reader, 4096))
    writing.join()
    os.close(reader)
    stream.close()
    assert got == 200_000


def test_who_reads_a_part_in_time_gets_all_the_time_again_for_the_next(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    reader, stream = pipe(blocking=False)
    os.set_blocking(reader, False)
    now_s = count(step=1.5)
    monkeypatch.setattr(console, "time", SimpleNamespace(monotonic=lambda: next(now_s)))
    left_s = []

    def has_room(_descriptor: int, timeout_s: float) -> bool:
        with suppress(BlockingIOError):
            os.read(reader, 1 << 20)
        left_s.append(timeout_s)
        return True

    monkeypatch.setattr(console, "_has_room", has_room)
    write(stream, "x" * 40_000)
    os.close(reader)
    stream.close()
    assert set(left_s) == {0.5}


@pytest.mark.parametrize("blocking", [True, False])
def test_a_pipe_that_nobody_reads_takes_what_fits_and_holds_nobody_up(*, blocking: bool) -> None:
    reader, stream = pipe(blocking=blocking)
    room = fcntl.fcntl(stream, fcntl.F_SETPIPE_SZ, 4096)
    write(stream, "x" * (room + 1))
    writing = threading.Thread(target=write_all, args=(stream, ["lost"] * 20))
    writing.start()
    writing.join(20)  # with all of the patience each time it takes 40 s
    assert not writing.is_alive()
    assert os.read(reader, 2 * room) == b"x" * room
    write(stream, "words")
    assert os.read(reader, 2 * room) == b"words"
    assert os.get_blocking(stream.fileno()) is blocking
    os.close(reader)
    stream.close()


def test_a_pipe_that_is_read_again_gets_everything_again(request: pytest.FixtureRequest) -> None:
    reader, stream = pipe(blocking=True)
    room = fcntl.fcntl(stream, fcntl.F_SETPIPE_SZ, 4096)
    write(stream, "x" * (room + 1))
    os.read(reader, room)
    write(stream, "words")
    os.read(reader, room)
    request.getfixturevalue("patient")
    writing = threading.Thread(target=write, args=(stream, "x" * 3 * room))
    writing.start()
    got = 0
    while got < 3 * room:
        got += len(os.read(reader, 2 * room))
        time.sleep(0.05)  # longer than the little patience
    writing.join()
    os.close(reader)
    stream.close()
    assert got == 3 * room


def test_a_terminal_that_nobody_reads_holds_nobody_up_and_is_written_to_again_once_it_is_read() -> None:
    """It says that it has room while a byte fits, of a chunk as of many."""
    reader, terminal = pty.openpty()
    stream = os.fdopen(terminal, "w", encoding="ascii")
    writing = threading.Thread(target=write_all, args=(stream, ["x" * 100, "x" * 1_000_000, *["lost"] * 20]))
    writing.start()
    writing.join(20)
    is_held_up = writing.is_alive()
    os.set_blocking(reader, False)
    with suppress(BlockingIOError):
        while os.read(reader, 1 << 16):
            time.sleep(0.01)  # the kernel hands it on behind one's back
    writing.join()
    got = b""
    while not got.endswith(b"words\r\n"):  # on a busy machine the kernel may not have made room yet
        write(stream, "words\n")
        with suppress(BlockingIOError):
            got += os.read(reader, 1 << 16)
    assert os.get_blocking(stream.fileno())
    os.close(reader)
    stream.close()
    assert not is_held_up


IN_THE_BACKGROUND = """
import os, pty, signal, sys, termios
from exporter.common.console import write

leader, terminal = pty.fork()
if leader:
    os.waitpid(leader, 0)
    print(os.read(terminal, 1000).decode(), end="")
    sys.exit()
modes = termios.tcgetattr(2)
modes[3] |= termios.TOSTOP
termios.tcsetattr(2, termios.TCSANOW, modes)
child = os.fork()
if not child:
    os.setpgid(0, 0)
    write(sys.stderr, "words")
    os._exit(0)
_, status = os.waitpid(child, os.WUNTRACED)
if os.WIFSTOPPED(status):
    os.kill(child, signal.SIGKILL)
    os.write(2, b"stopped")
os._exit(0)
"""


def test_a_terminal_stops_nobody_who_writes_in_the_background() -> None:
    command = [sys.executable, "-c", IN_THE_BACKGROUND]
    done = subprocess.run(command, capture_output=True, text=True, timeout=30, check=True)
    assert done.stdout == "words"


def test_whoever_writes_to_a_terminal_blocks_no_signal_afterwards() -> None:
    reader, terminal = pty.openpty()
    with os.fdopen(terminal, "w", encoding="ascii") as stream:
        write(stream, "words")
    os.close(reader)
    assert signal.SIGTTOU not in signal.pthread_sigmask(signal.SIG_BLOCK, ())


@pytest.mark.parametrize("text", ["", "words\n"])
def test_a_closed_stream_takes_nothing(text: str) -> None:
    write(None, text)
    with printing(None) as shown:
        shown.print(text)


def test_nothing_is_left_for_python_to_write_when_it_ends() -> None:
    with Path("/dev/full").open("w", encoding="utf-8") as stream:
        write(stream, "words\n")
        stream.flush()


def test_a_stream_in_memory_is_written_as_any() -> None:
    stream = io.StringIO()
    with printing(stream) as shown:
        shown.print("words   ")
    assert stream.getvalue() == "words\n"
