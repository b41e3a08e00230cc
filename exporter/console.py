"""What is said to people on stderr and stdout: a stream in trouble costs the words, never the exit status."""

from __future__ import annotations

import contextlib
import io
import os
import re
import select
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, TextIO

if TYPE_CHECKING:
    from rich.console import Console

_PATIENCE_S = 2.0
_LITTLE_PATIENCE_S = 0.01
"""With a stream that was given up, until it takes something again."""
_PLAIN_WIDTH = 2000
"""Columns; more than any row has, so that none is folded."""

_TRAILING_SPACES = re.compile(r" +$", re.MULTILINE)


def write(stream: TextIO | None, text: str) -> None:
    """Write `text`, or what of it the stream takes: it may be closed (None), full, limited, or unread.

    A pipe that stays full is given up after 2 s, whatever its mode, and what didn't fit is lost. From then on
    it gets 10 ms, until somebody reads it: nobody who traces may wait for that.
    """
    if stream is None:
        return
    try:
        descriptor = stream.fileno()
    except io.UnsupportedOperation:  # it is in memory
        stream.write(text)
        return
    # Not by way of the stream: what its buffer can't get rid of, Python tries to write again when it ends,
    # and changes the exit status when that fails.
    with contextlib.suppress(OSError):
        _write_all(descriptor, text.encode(stream.encoding, errors="backslashreplace"))


_given_up: set[int] = set()
"""Descriptors that were full for too long."""


def _write_all(descriptor: int, data: bytes) -> None:
    patience_s = _LITTLE_PATIENCE_S if descriptor in _given_up else _PATIENCE_S
    deadline_s = time.monotonic() + patience_s
    while data:
        if not _has_room(descriptor, deadline_s - time.monotonic()):
            _given_up.add(descriptor)
            return
        # No more than surely fits now: the mode is shared with COMMAND, so it stays as it is.
        with contextlib.suppress(BlockingIOError):
            data = data[os.write(descriptor, data[: select.PIPE_BUF]) :]
            _given_up.discard(descriptor)
            deadline_s = time.monotonic() + _PATIENCE_S  # it doesn't stay full, somebody reads it


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
    """`stream` for others to write to (click's help): what it doesn't take is lost, and nothing is raised."""
    if stream is None:
        return None
    try:
        file = _Forgiving(stream.fileno(), "wb", closefd=False)
    except io.UnsupportedOperation:  # it is in memory
        return stream
    return io.TextIOWrapper(io.BufferedWriter(file), stream.encoding, "backslashreplace", line_buffering=True)


@contextmanager
def printing(stream: TextIO | None) -> Iterator[Console]:
    """A console whose output `stream` gets at the end; where that is no terminal, plain and in whole lines.

    What a terminal is doesn't depend on FORCE_COLOR and its like, which CI systems set for programs in a log.
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
