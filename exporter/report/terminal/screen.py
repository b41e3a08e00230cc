"""`watch --live`: show the jobs of a host on a screen, as top(1) shows its processes."""

from __future__ import annotations

import os
import signal
import time
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

from exporter.jobs.model import HOST, Job
from exporter.pipeline.attempt import Attempt

from .board import Board, BoardRow, Latest
from .new_destinations import KnownKinds
from .terminal import Terminal


@contextmanager
def around_stops(leave: Callable[[], object], enter: Callable[[], object]) -> Iterator[None]:
    """During the block, call `leave` before SIGTSTP stops this process, and `enter` when it goes on."""

    def stop(*_: object) -> None:
        leave()
        os.kill(os.getpid(), signal.SIGSTOP)  # this process is stopped before the call returns
        enter()

    before = signal.signal(signal.SIGTSTP, stop)
    try:
        yield
    finally:
        signal.signal(signal.SIGTSTP, before)


REFRESH_S = 0.25
STILL_S = 1.0
"""Seconds between two drawings while nothing happens: the screen shows how long ago acts were."""
OVER_S = 60.0
"""Seconds for which a job is still shown when it is over."""
LATEST_MAX = 100
SAID_MAX = 1000
"""The most lines of messages that are kept, to be written when the screen is gone."""

_OPEN = "\x1b[?1049h\x1b[?25l\x1b[?7l"
"""Switches to another screen, without a cursor, on which nothing wraps."""
_CLOSE = "\x18\x1b[0m\x1b[?7h\x1b[?25h\x1b[?1049l"
"""Switches back; the first character ends an escape sequence that was broken off."""


@dataclass
class _Shown:
    """A job on the screen; times in seconds of the clock."""

    job: Job
    last_s: float
    known: KnownKinds = field(default_factory=KnownKinds)
    destinations: set[int] = field(default_factory=set)
    attempts: int = 0
    novel: int = 0
    denied: int = 0
    would_be: int = 0
    over_s: float | None = None

    @property
    def title(self) -> str:
        """The name under which it is shown."""
        names = [self.job.pipeline, self.job.task]
        return "(no job)" if self.job.provider == HOST else "/".join(filter(None, names)) or "run"

    def row(self, now_s: float) -> BoardRow:
        """Make its row for the board."""
        known = f"{len(self.destinations):,}{'+' if self.known.is_full else ''}"
        counts = (known, self.novel, self.denied, self.would_be, self.attempts)
        return BoardRow(self.title, self.job.run_id, *counts, now_s - self.last_s, self.over_s is not None)


class Screen:
    """The state of all jobs, and the terminal that it is drawn on."""

    def __init__(self, terminal: Terminal, clock_s: Callable[[], float] = time.monotonic) -> None:
        """Show nothing yet; `clock_s` must be monotonic."""
        self._terminal = terminal
        self._clock_s = clock_s
        self._jobs: dict[int, _Shown] = {}
        self._latest: deque[Latest] = deque(maxlen=LATEST_MAX)
        self._said: deque[str] = deque(maxlen=SAID_MAX)
        self._unsaid = 0
        """The number of lines of messages that weren't kept."""
        self._drawn_s = clock_s() - STILL_S
        self._has_news = True
        self._size = (0, 0)

    def changed(self, job: Job, *, is_over: bool) -> None:
        """Note that a job began, or is over."""
        now_s = self._clock_s()
        self._forget(now_s)  # also while the terminal takes nothing, and so nothing is drawn
        self._of(job).over_s = now_s if is_over else None
        self._has_news = True

    def met(self, job: Job, attempt: Attempt) -> None:
        """Count an act of a job, or several that are alike."""
        shown, said, attempts = self._of(job), attempt.ruling, attempt.attempts
        shown.attempts += attempts
        shown.novel += attempts if said.is_novel else 0
        shown.denied += attempts if said.is_denied else 0
        shown.would_be += attempts if said.is_against and not said.is_denied else 0
        shown.last_s = self._clock_s()
        self._has_news = True
        first = shown.known.first(attempt)
        if first is not None:
            shown.destinations.add(hash(first.where[:3]))
            if first.is_shown:
                self._latest.append(Latest(first, shown.title))

    def say(self, text: str) -> None:
        """Show whole lines of a message for a while, and keep them for `take_said`."""
        for line in text.splitlines():
            self._unsaid += len(self._said) == SAID_MAX
            self._said.append(line)
        self._has_news = True

    @contextmanager
    def shown(self) -> Iterator[None]:
        """Occupy the terminal during the block; afterwards it is as it was, whatever happened."""
        with around_stops(self._leave, self._enter):
            self._enter()
            try:
                yield
            finally:
                self._leave()
                self._terminal.close()

    def take_said(self) -> str:
        """Return and forget the messages that aren't on the terminal any more, in whole lines."""
        more = [f"… {self._unsaid:,} lines before these weren't kept"] if self._unsaid else []
        lines = [*more, *self._said]
        self._said.clear()
        return "".join(f"{line}\n" for line in lines)

    def tick(self) -> None:
        """Draw the screen if it is time and the terminal took the last drawing. Cheap: call it in a loop."""
        if self._terminal.is_behind:
            self._terminal.flush()
            return
        now_s = self._clock_s()
        if now_s - self._drawn_s >= (REFRESH_S if self._has_news else STILL_S):
            self._draw(now_s)

    def _of(self, job: Job) -> _Shown:
        key = job.ids.derive_from or job.ids.job_span_id
        if job.provider == HOST:
            key = 0  # one row for all acts of no job, whichever trace they are in
        shown = self._jobs.get(key)
        if shown is None:
            now_s = self._clock_s()
            shown = self._jobs[key] = _Shown(job, now_s)
        return shown

    def _forget(self, now_s: float) -> None:
        """Forget the jobs that ended more than OVER_S ago."""
        for key, shown in list(self._jobs.items()):
            if shown.over_s is not None and now_s - shown.over_s > OVER_S:
                del self._jobs[key]

    def _draw(self, now_s: float) -> None:
        self._drawn_s, self._has_news = now_s, False
        self._forget(now_s)
        size = self._terminal.size
        clear = "\x1b[2J" if size != self._size else ""
        self._size = size
        in_order = sorted(self._jobs.values(), key=lambda shown: (shown.over_s is not None, -shown.last_s))
        running = sum(shown.over_s is None and shown.job.provider != HOST for shown in in_order)
        rows = [shown.row(now_s) for shown in in_order]
        board = Board(running, rows, [*self._latest][::-1], [*self._said])
        lines = "\x1b[K\r\n".join(board.lines(*size))
        self._terminal.write(f"{clear}\x1b[H{lines}\x1b[K\x1b[J")

    def _enter(self) -> None:
        self._size = (0, 0)
        self._has_news = True
        self._terminal.write(_OPEN)

    def _leave(self) -> None:
        self._terminal.forget()
        self._terminal.write(_CLOSE)
