"""Real pseudo-terminals, and what somebody in front of one sees."""

from __future__ import annotations

import fcntl
import os
import re
import select
import struct
import termios
from collections.abc import Iterator
from contextlib import contextmanager, suppress

from rich.cells import cell_len

from exporter.report.terminal.terminal import Terminal

_MARK = b"\0"
_LIMIT_S = 60.0
_READERS_ROOM = 4095
"""Bytes: N_TTY_BUF_SIZE of drivers/tty/n_tty.c, without one."""
_SEQUENCE = re.compile(r"\x1b\[(\??)([0-9;]*)([A-Za-z])")


class Picture:
    """What is on a terminal: it obeys what ci-egress may send, and refuses everything else."""

    def __init__(self, columns: int, lines: int = 1000) -> None:
        self.columns, self.lines = columns, lines
        self.cells = [[" "] * columns for _ in range(lines)]
        self.modes: dict[str, bool] = {}
        self.left = self.top = 0
        self._must_wrap = False

    def show(self, text: str) -> None:
        at = 0
        while at < len(text):
            found = _SEQUENCE.match(text, at)
            if found:
                self._obey(*found.groups())
                at = found.end()
            else:
                self._put(text[at])
                at += 1

    @property
    def rows(self) -> list[str]:
        """Without blanks at their ends, up to the last one on which something stands."""
        rows = ["".join(row).rstrip() for row in self.cells]
        while rows and not rows[-1]:
            rows.pop()
        return rows

    def _put(self, character: str) -> None:
        if character == "\r":
            self.left, self._must_wrap = 0, False
        elif character == "\n":
            self.top, self._must_wrap = self.top + 1, False
            assert self.top < self.lines, "it scrolls"
        elif character != "\x18":  # nothing was broken off
            assert character.isprintable(), repr(character)
            self._print(character)

    def _print(self, character: str) -> None:
        width = cell_len(character)
        if self._must_wrap:
            assert self.modes.get("7", True), "it is wider than the terminal"
            self.left, self._must_wrap = 0, False
            self._put("\n")
        self.cells[self.top][self.left] = character
        self.left += width
        if self.left >= self.columns:
            self.left, self._must_wrap = self.columns - 1, True

    def _obey(self, private: str, numbers: str, letter: str) -> None:
        match (private, letter, numbers):
            case ("", "m", _):
                return
            case ("", "H", ""):
                self.left = self.top = 0
                self._must_wrap = False
            case ("", "K", ""):
                self.cells[self.top][self.left + self._must_wrap :] = [" "] * (
                    self.columns - self.left - self._must_wrap
                )
            case ("", "J", "" | "2"):
                first = 0 if numbers else self.top + 1
                self.cells[first:] = [[" "] * self.columns for _ in self.cells[first:]]
            case ("?", "h" | "l", _):
                self.modes[numbers] = letter == "h"
            case _:
                raise AssertionError((private, numbers, letter))


class Pty:
    """One, whose reader reads when the test says so."""

    def __init__(self, ours: int, theirs: int) -> None:
        self.ours, self.theirs = ours, theirs
        self._read = b""
        """What came behind the last mark."""

    def read(self) -> str:
        """All that was written so far: what comes before a mark that is written now."""
        mark = os.open(f"/proc/self/fd/{self.theirs}", os.O_WRONLY | os.O_NOCTTY | os.O_NONBLOCK)
        is_marked = False
        while _MARK not in self._read:
            if not is_marked:
                with suppress(BlockingIOError):
                    is_marked = bool(os.write(mark, _MARK))
            assert select.select([self.ours], [], [], _LIMIT_S)[0], "nothing comes"
            self._read += os.read(self.ours, 65536)
        os.close(mark)
        found, _, self._read = self._read.partition(_MARK)
        return found.decode()

    def resize(self, columns: int, lines: int) -> None:
        fcntl.ioctl(self.ours, termios.TIOCSWINSZ, struct.pack("HHHH", lines, columns, 0, 0))

    def terminal(self) -> Terminal:
        with os.fdopen(os.dup(self.theirs), "w", encoding="utf-8") as stream:
            made = Terminal.of(stream)
        assert made is not None
        return made

    def fill(self) -> int:
        """As somebody who writes until nothing fits any more; how much that was."""
        descriptor = os.open(f"/proc/self/fd/{self.theirs}", os.O_WRONLY | os.O_NOCTTY | os.O_NONBLOCK)
        written = 0
        is_full = False
        while not is_full:
            has_room = self._unread() < _READERS_ROOM  # what is on its way there makes room for more
            try:
                written += os.write(descriptor, b"." * 1024)
            except BlockingIOError:
                is_full = not has_room
        os.close(descriptor)
        return written

    def _unread(self) -> int:
        waiting = fcntl.ioctl(self.ours, termios.FIONREAD, struct.pack("i", 0))
        return int(struct.unpack("i", waiting)[0])

    def set_canonical(self, *, is_on: bool) -> None:
        """Off as by an editor or a pager."""
        settings = termios.tcgetattr(self.theirs)
        settings[3] = settings[3] | termios.ICANON if is_on else settings[3] & ~termios.ICANON
        termios.tcsetattr(self.theirs, termios.TCSANOW, settings)


@contextmanager
def pseudo_terminal(columns: int = 80, lines: int = 24) -> Iterator[Pty]:
    """One of that size; it isn't the test's own."""
    ours, theirs = os.openpty()
    os.set_blocking(ours, False)
    made = Pty(ours, theirs)
    made.resize(columns, lines)
    try:
        yield made
    finally:
        os.close(ours)
        os.close(theirs)


class Clock:
    """Stands still until the test moves it."""

    def __init__(self) -> None:
        self.now_s = 1000.0

    def __call__(self) -> float:
        return self.now_s
