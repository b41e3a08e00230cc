"""A terminal that is written to without ever waiting for it, while other programs write to it, too."""

from __future__ import annotations

import os
import select
import signal
import termios
import time
from typing import TextIO

from exporter.common.console import open_terminal

_SIZE = (80, 24)
"""The columns and lines of a terminal that doesn't report its size."""
_CHUNK = 4096
_LAST_WORDS_S = 0.5
_LOCAL_FLAGS = 3
"""The index of the local flags in tcgetattr's result."""


class Terminal:
    """A terminal, opened anew so that it doesn't block here, without a change for others who have it open."""

    def __init__(self, descriptor: int, encoding: str) -> None:
        """`descriptor` must not block; `close` closes it."""
        self._descriptor = descriptor
        self._encoding = encoding
        self._pending = bytearray()
        # A process in the background, as beside an interactive shell, would be stopped (`stty tostop`).
        self._was_blocked = signal.SIGTTOU in signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGTTOU})

    @classmethod
    def of(cls, stream: TextIO | None) -> Terminal | None:
        """Open the terminal behind `stream`. None: there is none, or it can't be opened."""
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
        """Whether a program occupies the terminal: an editor, a pager, a shell that waits for a command."""
        try:
            return not termios.tcgetattr(self._descriptor)[_LOCAL_FLAGS] & termios.ICANON
        except termios.error:
            return False

    @property
    def is_behind(self) -> bool:
        """Whether the terminal hasn't taken yet all that was written."""
        return bool(self._pending)

    def write(self, text: str) -> None:
        """Append `text` to the pending output, and write as much as the terminal takes now."""
        self._pending += text.encode(self._encoding, errors="replace")
        self.flush()

    def flush(self) -> None:
        """Write more of the pending output; if the terminal is gone, forget the rest."""
        try:
            while self._pending:
                del self._pending[: os.write(self._descriptor, self._pending[:_CHUNK])]
        except BlockingIOError:
            return
        except OSError:
            self._pending.clear()

    def forget(self) -> None:
        """Forget the pending output; the terminal may have taken half an escape sequence before."""
        self._pending.clear()

    def close(self) -> None:
        """Give the terminal half a second to take the pending output, and close it."""
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
