"""`run --live`: show COMMAND's destinations, a line each, between its own lines on its terminal."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable

from rich.text import Text

from exporter.jobs.model import Job
from exporter.pipeline.attempt import Attempt

from .new_destinations import First, KnownKinds, drawn
from .terminal import Terminal

BURST = 40
"""The most lines at once."""
A_SECOND = 5
"""The most lines a second in the long run."""
MORE_S = 1.0
"""The fewest seconds between two lines that say how many more there were."""
_SURROUNDING = 12
"""The fewest columns that lines are made for."""


class _Lane:
    """A queue for lines of one importance: BURST at once, and A_SECOND in the long run."""

    def __init__(self, now_s: float) -> None:
        """Start with room for a whole burst."""
        self._waiting: deque[First] = deque()
        self._room: float = BURST
        self._since_s = now_s

    def offer(self, first: First) -> bool:
        """Queue `first` if there is room, and return whether there was."""
        if len(self._waiting) >= BURST:
            return False
        self._waiting.append(first)
        return True

    def take(self, now_s: float) -> list[First]:
        """Remove and return the lines whose turn it is."""
        self._room = min(BURST, self._room + (now_s - self._since_s) * A_SECOND)
        self._since_s = now_s
        number = min(len(self._waiting), int(self._room))
        self._room -= number
        return [self._waiting.popleft() for _ in range(number)]

    def __len__(self) -> int:
        return len(self._waiting)


class Lines:
    """The lines about one job on a terminal."""

    def __init__(self, terminal: Terminal, clock_s: Callable[[], float] = time.monotonic) -> None:
        """`clock_s` must be monotonic."""
        self._terminal = terminal
        self._clock_s = clock_s
        self._known = KnownKinds()
        now_s = clock_s()
        self._of_note, self._others = _Lane(now_s), _Lane(now_s)
        self._more = 0
        """The number of lines that found no room and haven't been mentioned yet."""
        self._more_said_s = now_s - MORE_S
        self._has_said_full = False

    def met(self, _job: Job, attempt: Attempt) -> None:
        """Queue the line of an act, if the act is the first of its kind."""
        first = self._known.first(attempt)
        if first is not None and first.is_shown:
            lane = self._of_note if first.is_of_note else self._others
            self._more += not lane.offer(first)

    def tick(self) -> None:
        """Show waiting lines, as far as the terminal takes them. Cheap: call it every few milliseconds."""
        if self._terminal.is_behind:
            self._terminal.flush()
        elif (self._of_note or self._others or self._more) and not self._terminal.is_taken:
            now_s = self._clock_s()
            self._show([*self._of_note.take(now_s), *self._others.take(now_s)], now_s)

    def close(self) -> None:
        """At COMMAND's end, show the lines that there is room for, and say how many aren't shown."""
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
    """Return a text that moves to the beginning of a line: this one if it is empty, else the next.

    The cursor's position can't be asked without reading what the user types. As many blanks as there are
    columns end at the column where they began. They end on this line if they began at its first column (a
    terminal wraps only when the next character comes), else on the next. A carriage return does the rest.
    """
    return f"{' ' * columns}\r"
