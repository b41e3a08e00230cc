"""Output for people on stderr and stdout. If a stream fails, text is lost; the exit status doesn't change."""

from __future__ import annotations

import contextlib
import io
import os
import re
import select
import signal
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, TextIO

if TYPE_CHECKING:
    from rich.console import Console

_PATIENCE_S = 2.0
_LITTLE_PATIENCE_S = 0.01
"""Seconds to wait for a stream that was given up, until it accepts something again."""
_PAUSE_S = 0.01
"""Seconds between tries when a stream reports room, but too little for the text."""
_PLAIN_WIDTH = 2000
"""The columns where there is no terminal: more than any row has, so that none is folded."""

_TRAILING_SPACES = re.compile(r" +$", re.MULTILINE)


def write(stream: TextIO | None, text: str) -> None:
    """Write as much of `text` as `stream` takes, which may be closed (None), full, limited, or unread.

    A pipe or terminal that stays full is given up after 2 s, even in blocking mode, and the rest is lost.
    From then on a write waits 10 ms for it at most, until somebody reads again: tracing must not be held up.
    """
    if stream is None:
        return
    try:
        descriptor = stream.fileno()
    except io.UnsupportedOperation:  # it is in memory
        stream.write(text)
        return
    # Not by way of the stream: Python tries to write the rest of its buffer again when it ends, and changes
    # the exit status when that fails.
    with contextlib.suppress(OSError):
        _write_all(descriptor, text.encode(stream.encoding, errors="backslashreplace"))


def print_lines(*lines: str) -> None:
    """Write `lines` to stdout, as `write` does."""
    write(sys.stdout, "".join(f"{line}\n" for line in lines))


_given_up: set[int] = set()
"""Descriptors that stayed full for too long, and haven't taken anything since."""


def _write_all(descriptor: int, data: bytes) -> None:
    patience_s = _LITTLE_PATIENCE_S if descriptor in _given_up else _PATIENCE_S
    deadline_s = time.monotonic() + patience_s
    with _never_waiting(descriptor) as own:
        while data:
            size = _write_some(own, data, deadline_s)
            if not size:
                _given_up.add(descriptor)
                return
            data = data[size:]
            _given_up.discard(descriptor)
            deadline_s = time.monotonic() + _PATIENCE_S  # it doesn't stay full, somebody reads it


def _write_some(descriptor: int, data: bytes, deadline_s: float) -> int:
    """Write a piece of `data`; returns its size, 0 if the descriptor took nothing by `deadline_s`."""
    while _has_room(descriptor, deadline_s - time.monotonic()):
        with contextlib.suppress(BlockingIOError):
            # No more than surely fits into a pipe now: the mode is shared with COMMAND, so it stays as it is.
            return os.write(descriptor, data[: select.PIPE_BUF])
        if time.monotonic() >= deadline_s:
            break
        time.sleep(_PAUSE_S)
    return 0


@contextmanager
def _never_waiting(descriptor: int) -> Iterator[int]:
    """Yield a descriptor for the same file on which a write never waits: a terminal is opened anew.

    A terminal reports room when one byte fits, and a longer write would wait. SIGTTOU is blocked meanwhile:
    after `stty tostop` it would stop a process that writes in the background.
    """
    if not os.isatty(descriptor):
        yield descriptor
        return
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGTTOU})
    try:
        with _opened_anew(descriptor) as own:
            yield own
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


@contextmanager
def _opened_anew(descriptor: int) -> Iterator[int]:
    try:
        own = open_terminal(descriptor)
    except OSError:  # the terminal is another user's, or there is no /proc
        yield descriptor
        return
    try:
        yield own
    finally:
        os.close(own)


def open_terminal(descriptor: int) -> int:
    """Open the terminal behind `descriptor` anew; return a descriptor on which writes never wait.

    The mode of the other descriptors of the terminal doesn't matter. Raises OSError.
    """
    flags = os.O_WRONLY | os.O_NOCTTY | os.O_NONBLOCK | os.O_CLOEXEC
    return os.open(f"/proc/self/fd/{descriptor}", flags)


def _has_room(descriptor: int, timeout_s: float) -> bool:
    poll = select.poll()
    poll.register(descriptor, select.POLLOUT)
    return bool(poll.poll(max(timeout_s, 0) * 1000))


class _Forgiving(io.FileIO):
    def write(self, data: Any, /) -> int:
        with contextlib.suppress(OSError):
            return super().write(data) or len(data)
        return len(data)


def forgiving(stream: TextIO | None) -> TextIO | None:
    """Return a stream to `stream` that never raises, for click's help; text that doesn't fit is lost."""
    if stream is None:
        return None
    try:
        file = _Forgiving(stream.fileno(), "wb", closefd=False)
    except io.UnsupportedOperation:  # it is in memory
        return stream
    return io.TextIOWrapper(io.BufferedWriter(file), stream.encoding, "backslashreplace", line_buffering=True)


@contextmanager
def printing(stream: TextIO | None) -> Iterator[Console]:
    """Yield a console; `stream` gets its output at the end, plain and in whole lines if it is no terminal.

    FORCE_COLOR and the like don't make it a terminal: CI systems set them for programs that write to a log.
    """
    from rich.console import Console

    is_terminal = stream is not None and stream.isatty()
    shown = io.StringIO()
    yield Console(
        file=shown,
        force_terminal=is_terminal,
        width=None if is_terminal else _PLAIN_WIDTH,
        highlight=False,
        markup=False,
        emoji=False,
    )
    text = shown.getvalue()
    write(stream, text if is_terminal else _TRAILING_SPACES.sub("", text))
