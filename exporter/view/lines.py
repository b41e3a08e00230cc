"""`run --live`: what COMMAND connects to, a line each, between its own lines on its own terminal."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable

from rich.text import Text

from exporter.destinations import Destination
from exporter.jobs.model import Job
from exporter.programs import Program
from exporter.terms import Ruling
from exporter.view.firsts import First, Known, drawn
from exporter.view.terminal import Terminal

BURST = 40
"""Lines at once."""
A_SECOND = 5
"""Lines a second, on and on."""
MORE_S = 1.0
"""Between two lines that say how many more there were."""
_SURROUNDING = 12
"""Columns that a line needs at least."""


class _Lane:
    """Lines of one importance, so many at once and so many a second."""

    def __init__(self, now_s: float) -> None:
        """With room for all that may come at once."""
        self._waiting: deque[First] = deque()
        self._room: float = BURST
        self._since_s = now_s

    def offer(self, first: First) -> bool:
        """Take it, if there is room."""
        if len(self._waiting) >= BURST:
            return False
        self._waiting.append(first)
        return True

    def take(self, now_s: float) -> list[First]:
        """Those whose turn it is."""
        self._room = min(BURST, self._room + (now_s - self._since_s) * A_SECOND)
        self._since_s = now_s
        number = min(len(self._waiting), int(self._room))
        self._room -= number
        return [self._waiting.popleft() for _ in range(number)]

    def __len__(self) -> int:
        return len(self._waiting)


class Lines:
    """Those of one job."""

    def __init__(self, terminal: Terminal, clock_s: Callable[[], float] = time.monotonic) -> None:
        """`clock_s` is one that only goes on."""
        self._terminal = terminal
        self._clock_s = clock_s
        self._known = Known()
        now_s = clock_s()
        self._of_note, self._others = _Lane(now_s), _Lane(now_s)
        self._more = 0
        """Those that found no room, since that was said."""
        self._more_said_s = now_s - MORE_S
        self._has_said_full = False

    def met(
        self, _job: Job, where: Destination, program: Program | None, said: Ruling, _attempts: int
    ) -> None:
        """Take in an act."""
        first = self._known.first(where, program, said)
        if first is not None and first.is_shown:
            lane = self._of_note if first.is_of_note else self._others
            self._more += not lane.offer(first)

    def tick(self) -> None:
        """Show what there is, as far as the terminal takes it. Cheap; call it every some milliseconds."""
        if self._terminal.is_behind:
            self._terminal.flush()
        elif (self._of_note or self._others or self._more) and not self._terminal.is_taken:
            now_s = self._clock_s()
            self._show([*self._of_note.take(now_s), *self._others.take(now_s)], now_s)

    def close(self) -> None:
        """COMMAND is over: show what is left of what there is room for, and say how much isn't shown."""
        now_s = self._clock_s()
        firsts = [*self._of_note.take(now_s), *self._others.take(now_s)]
        self._more += len(self._of_note) + len(self._others)
        self._more_said_s = now_s - MORE_S
        self._show(firsts, now_s)
        self._terminal.close()

    def _show(self, firsts: list[First], now_s: float) -> None:
        lines = [_own(first.line()) for first in firsts]
        if self._more and now_s - self._more_said_s >= MORE_S:
            lines.append(_own(Text(f"… and {self._more:,} more, which the spans have", style="dim")))
            self._more, self._more_said_s = 0, now_s
        if self._known.is_full and not self._has_said_full:
            self._has_said_full = True
            lines.append(_own(Text("… further ones aren't shown: the spans have them", style="dim")))
        if lines:
            columns = max(self._terminal.size[0], _SURROUNDING)
            shown = "".join(f"{drawn(line, columns - 1)}\r\n" for line in lines)
            self._terminal.write(_to_the_beginning(columns) + shown)


def _own(line: Text) -> Text:
    return Text.assemble(("ci-egress: ", "dim"), line)


def _to_the_beginning(columns: int) -> str:
    """Moves to the beginning of a line: of this one where nothing stands on it, else of the next.

    Where the cursor is can't be asked without reading what is typed. As many blanks as there are columns end
    at the same column, on this line if they began at its first one (a terminal wraps when the next character
    comes), else on the next: from there a carriage return does the rest.
    """
    return f"{' ' * columns}\r"
