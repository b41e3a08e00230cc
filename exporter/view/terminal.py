"""A terminal that is written to without ever waiting for it, beside others who write to it."""

from __future__ import annotations

import os
import select
import signal
import termios
import time
from typing import TextIO

from exporter.console import open_terminal

_SIZE = (80, 24)
"""Where it doesn't say which it has."""
_CHUNK = 4096
_LAST_WORDS_S = 0.5
_LOCAL_FLAGS = 3
"""Their place in what tcgetattr gives."""


class Terminal:
    """One that was opened anew: so that its mode, which processes share, needn't change for them."""

    def __init__(self, descriptor: int, encoding: str) -> None:
        """`descriptor` doesn't block, and is this one's to close."""
        self._descriptor = descriptor
        self._encoding = encoding
        self._pending = bytearray()
        # Whoever isn't in the foreground, as beside an interactive shell, would be stopped (`stty tostop`).
        self._was_blocked = signal.SIGTTOU in signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGTTOU})

    @classmethod
    def of(cls, stream: TextIO | None) -> Terminal | None:
        """The one behind `stream`; None where there is none, or it can't be opened."""
        if stream is None or not stream.isatty():
            return None
        try:
            descriptor = open_terminal(stream.fileno())
        except OSError:
            return None
        return cls(descriptor, stream.encoding)

    @property
    def size(self) -> tuple[int, int]:
        """Columns and lines, as of now."""
        try:
            columns, lines = os.get_terminal_size(self._descriptor)
        except OSError:
            return _SIZE
        return (columns or _SIZE[0], lines or _SIZE[1])

    @property
    def is_taken(self) -> bool:
        """Whether a program has it to itself: an editor, a pager, or a shell that waits for a command."""
        try:
            return not termios.tcgetattr(self._descriptor)[_LOCAL_FLAGS] & termios.ICANON
        except termios.error:
            return False

    @property
    def is_behind(self) -> bool:
        """Whether it hasn't taken all that was written."""
        return bool(self._pending)

    def write(self, text: str) -> None:
        """Write `text` behind what it hasn't taken yet, as far as it takes it now."""
        self._pending += text.encode(self._encoding, errors="replace")
        self.flush()

    def flush(self) -> None:
        """Write more of what it hasn't taken; what a terminal that is gone would have had is forgotten."""
        try:
            while self._pending:
                del self._pending[: os.write(self._descriptor, self._pending[:_CHUNK])]
        except BlockingIOError:
            return
        except OSError:
            self._pending.clear()

    def forget(self) -> None:
        """Let what it hasn't taken be: something in the midst of it may have been."""
        self._pending.clear()

    def close(self) -> None:
        """Give it half a second for what it hasn't taken, and let go of it."""
        deadline_s = time.monotonic() + _LAST_WORDS_S
        poll = select.poll()
        poll.register(self._descriptor, select.POLLOUT)
        self.flush()
        while self._pending and (left_s := deadline_s - time.monotonic()) > 0:
            poll.poll(left_s * 1000)
            self.flush()
        os.close(self._descriptor)
        if not self._was_blocked:
            signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGTTOU})
