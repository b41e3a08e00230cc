"""The acts of recorded runs, in parts that can be merged in any number and order with the same result."""

from __future__ import annotations

from array import array
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from datetime import date
from itertools import compress

from exporter.events.programs import Lineage

from .model import NamedDestination, Task
from .parse import ENTRIES_MAX

CHAINS_MAX = 64
"""The most chains to one destination that are told apart; beyond them, any chain is accepted."""
DESTINATIONS_MAX = 2000
"""The most destinations of one task."""
REPOSITORIES_MAX = 100
"""The most repositories of one pipeline; further ones are ignored."""
RUNS_MAX = 1_000_000
"""The most runs that are counted, of all pipelines together."""
NO_ROOM = f"beyond {DESTINATIONS_MAX:,} destinations of a task or {ENTRIES_MAX:,} of all, which no file holds"

_DAY_NS = 86_400 * 10**9
_EPOCH = date(1970, 1, 1).toordinal()

Run = bytes
"""A digest of a run's id and attempt: identifies the run within its pipeline."""
First = tuple[int, Run]
"""When something was first seen, in ns since 1970, and in which run."""


class NotLearntError(Exception):
    """Something that no baseline learns; `why` is the reason, None for loopback, which isn't reported."""

    def __init__(self, why: str | None) -> None:
        """`why` ends a line such as `not learnt: 3 attempts …`."""
        super().__init__(why)
        self.why = why


class Contact:
    """The ways in which a task reached one destination, or several that were merged into one."""

    __slots__ = ("chains", "days", "first", "is_crowded", "last_ns", "novel", "runs")

    def __init__(self) -> None:
        """Begin with a destination that was never reached."""
        self.chains: dict[Lineage, First] | None = {}
        """The chains that reached it, each with its first time; None for any chain."""
        self.is_crowded = False
        """Whether `chains` is None because there were too many of them."""
        self.first: First | None = None
        """When it was first reached; None where only days are known."""
        self.last_ns = 0
        self.runs = 0
        """A bitmap of the runs that reached it, by their places in `Runs`."""
        self.days: set[int] = set()
        """The days on which it was reached (ordinals of dates), where the history has days only."""
        self.novel: tuple[int, str] | None = None
        """The first day (an ordinal) on which it was novel when recorded, and the run's id or ""; or None."""

    def add(self, at: First, run: int, chain: Lineage) -> None:
        """Add one attempt by `chain`; `run` is the bit of its run, 0 for a run that isn't counted."""
        at_ns = at[0]
        self.runs |= run
        if self.first is None or at < self.first:
            self.first = at
        self.last_ns = max(self.last_ns, at_ns)
        if self.chains is not None:
            known = self.chains.get(chain)
            if known is None or at < known:
                self.chains[chain] = at
                self._limit()

    def add_day(self, day: int, chain: Lineage | None) -> None:
        """Add a day on which it was reached; `chain` is None where it isn't known."""
        self.days.add(day)
        if chain is None:
            self.chains = None
        elif self.chains is not None:
            self.chains.setdefault(chain, NEVER)
            self._limit()

    def was_novel(self, day: int, run_id: str = "") -> None:
        """Note that it was novel on `day`, by the baseline of that time."""
        self.novel = min(self.novel or (day, run_id), (day, run_id))

    def merge(self, other: Contact, places: Sequence[int] | None = None) -> None:
        """Add `other`; `places` maps the places of its runs to places here, None where they are the same."""
        self.is_crowded |= other.is_crowded
        self.runs |= other.runs if places is None else moved(other.runs, places)
        self.days |= other.days
        if other.novel is not None:
            self.was_novel(*other.novel)
        self.last_ns = max(self.last_ns, other.last_ns)
        if other.first is not None:
            self.first = other.first if self.first is None else min(self.first, other.first)
        if self.chains is None or other.chains is None:
            self.chains = None
            return
        for chain, first in other.chains.items():
            self.chains[chain] = min(first, self.chains.get(chain, first))
        self._limit()

    @property
    def firsts(self) -> Iterator[First]:
        """The times at which the destination or one of its chains was seen first."""
        if self.first is not None:
            yield self.first
        yield from () if self.chains is None else self.chains.values()

    def _limit(self) -> None:
        if self.chains is not None and len(self.chains) > CHAINS_MAX:
            self.chains = None
            self.is_crowded = True


NEVER: First = (1 << 63, b"")
"""The first time of a chain that only a history in days has: later than any time of a run."""


class Runs:
    """The runs of one pipeline, each with a place: the number of its bit in bitmaps."""

    def __init__(self) -> None:
        """Begin without runs."""
        self.places: dict[Run, int] = {}
        self.first_ns = array("q")
        self.last_ns = array("q")

    def place(self, run: Run, at_ns: int, *, has_room: bool) -> int | None:
        """Return the place of a run that was active at `at_ns`. None: it is new, and there is no room."""
        found = self.places.get(run)
        if found is None:
            if not has_room:
                return None
            found = self.places[run] = len(self.places)
            self.first_ns.append(at_ns)
            self.last_ns.append(at_ns)
        elif at_ns < self.first_ns[found]:
            self.first_ns[found] = at_ns
        elif at_ns > self.last_ns[found]:
            self.last_ns[found] = at_ns
        return found

    def in_order(self) -> list[Run]:
        """Return the runs by the time at which each was first seen."""
        return sorted(self.places, key=lambda run: (self.first_ns[self.places[run]], run))


@dataclass
class TaskSeen:
    """The acts of one task of a pipeline."""

    destinations: dict[NamedDestination, Contact] = field(default_factory=dict)
    runs: int = 0
    """A bitmap of the runs in which it did anything at all."""
    days: set[int] = field(default_factory=set)
    """The days on which it did anything (ordinals of dates), where the history has days only."""


class Seen:
    """All acts of recorded runs, within limits; those left out are counted."""

    def __init__(self) -> None:
        """Begin with nothing seen."""
        self.tasks: dict[Task, TaskSeen] = {}
        self.runs: dict[str | None, Runs] = {}
        self.repositories: dict[str | None, set[str]] = {}
        """The repositories of each pipeline, as far as they are known."""
        self.left_out: Counter[str] = Counter()
        """Attempts that aren't learnt, by reason."""
        self.unkept = 0
        """Destinations of merged parts for which there was no room."""
        self.notes: list[str] = []
        self.spans = 0
        self.counted_runs = 0
        self.uncounted = 0
        """Spans of runs beyond RUNS_MAX: they are learnt, but their runs aren't counted."""
        self._entries = 0

    def task(self, name: Task) -> TaskSeen:
        """Find or add a task. Raises NotLearntError where there is no room for another."""
        found = self.tasks.get(name)
        if found is None:
            if len(self.tasks) >= ENTRIES_MAX:
                raise NotLearntError(NO_ROOM)
            found = self.tasks[name] = TaskSeen()
        return found

    def run(self, pipeline: str | None, run: Run, at_ns: int) -> int | None:
        """Return the place of a run that was active at `at_ns`. None: there is no room for another."""
        runs = self.runs.get(pipeline)
        if runs is None:
            runs = self.runs[pipeline] = Runs()
        before = len(runs.places)
        place = runs.place(run, at_ns, has_room=self.counted_runs < RUNS_MAX)
        self.counted_runs += len(runs.places) - before
        return place

    def belongs(self, pipeline: str | None, repository: str | None) -> None:
        """Note that `pipeline` is of `repository`; None where that isn't known."""
        if repository is not None:
            known = self.repositories.setdefault(pipeline, set())
            if len(known) < REPOSITORIES_MAX:
                known.add(repository)

    def met(self, task: TaskSeen, where: NamedDestination) -> Contact:
        """Find or add the acts of `task` at `where`. Raises NotLearntError where there is no room."""
        found = task.destinations.get(where)
        if found is None:
            if len(task.destinations) >= DESTINATIONS_MAX or self._entries >= ENTRIES_MAX:
                raise NotLearntError(NO_ROOM)
            found = task.destinations[where] = Contact()
            self._entries += 1
        return found

    def merge(self, other: Seen) -> None:
        """Add all acts in `other`."""
        self.spans += other.spans
        self.uncounted += other.uncounted
        self.left_out += other.left_out
        self.unkept += other.unkept
        self.notes += other.notes
        for pipeline, repositories in other.repositories.items():
            for repository in sorted(repositories):
                self.belongs(pipeline, repository)
        places = {pipeline: self._merge_runs(pipeline, runs) for pipeline, runs in other.runs.items()}
        for name, theirs in other.tasks.items():
            try:
                self._merge_task(name, theirs, places.get(name.pipeline, ()))
            except NotLearntError:
                self.unkept += len(theirs.destinations)

    def _merge_task(self, name: Task, theirs: TaskSeen, places: Sequence[int]) -> None:
        ours = self.task(name)
        ours.runs |= moved(theirs.runs, places)
        ours.days |= theirs.days
        for where, met in theirs.destinations.items():
            try:
                self.met(ours, where).merge(met, places)
            except NotLearntError:
                self.unkept += 1

    def _merge_runs(self, pipeline: str | None, runs: Runs) -> Sequence[int]:
        """Add `runs`. Returns their places here: a range if they are in a row; -1 where there is no room."""
        places = []
        for run, place in runs.places.items():
            here = self.run(pipeline, run, runs.first_ns[place])
            self.run(pipeline, run, runs.last_ns[place])
            places.append(-1 if here is None else here)
        first = places[0] if places and places[0] >= 0 else 0
        in_a_row = range(first, first + len(places))
        return in_a_row if places == [*in_a_row] else places


def day_of(at_ns: int) -> int:
    """Return the ordinal of the date, in UTC, of a time in nanoseconds since 1970."""
    return _EPOCH + at_ns // _DAY_NS


def moved(bits: int, places: Sequence[int]) -> int:
    """Move each run of a bitmap to its place in `places`, or drop it at -1. A range is much faster."""
    if not bits:
        return 0
    if isinstance(places, range):
        return bits << places.start
    found = bytearray(max(places) // 8 + 1)
    for place in compress(places, map(int, f"{bits:b}"[::-1])):
        if place >= 0:
            found[place // 8] |= 1 << place % 8
    return int.from_bytes(found, "little")
