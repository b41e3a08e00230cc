"""The summary for people: a table of a job's destinations, printed to stderr when the job ends.

Every text in it may come from an attacker.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, TextIO

from exporter.common.console import printing
from exporter.common.text import counted, printable
from exporter.events.facts import Outcome, Tampered
from exporter.events.programs import Program

from .attempt import Attempt
from .blind_spots import NOTHING_SEEN, BlindSpots
from .ruling import DENIED, VERDICT_WORDS, WOULD_DENY, is_shared_with_another, shared_remarks
from .spans import command_line
from .summary_table import ROWS_MAX, Counted, Rows, SummaryKey, ordered, print_rows, shared_of
from .tampering import sentence

if TYPE_CHECKING:
    from rich.console import Console

_COUNTED_MAX = 10_000

_AGAINST = (DENIED, WOULD_DENY)
FAILED = frozenset({Outcome.REFUSED, Outcome.TIMEOUT, Outcome.RESET, Outcome.UNREACHABLE, Outcome.ABORTED})


@dataclass(frozen=True, slots=True)
class Tally:
    """The counts of a summary, with its warnings and notes. Every text in it may come from an attacker."""

    rows: Sequence[Counted]
    """The rows: new ones first, then denied and would-be denied ones, then by attempts."""
    uncounted: int = 0
    """Attempts that are in no row."""
    verdicts: Mapping[str, int] = field(default_factory=dict)
    """Number of attempts by `egress.verdict`."""
    novel: int = 0
    """Number of attempts that the baseline doesn't have."""
    warnings: Sequence[str] = ()
    """Descriptions of tampering with the tracing, one line each."""
    notes: Sequence[str] = ()
    """Notes on activity that isn't seen and on processes left behind, one line each."""
    unseen: Sequence[str] = ()
    """Activity that isn't seen, in a few words each that no attacker chose: `what the Docker daemon did`."""


class Summary:
    """A counter of one job's attempts, by destination and process chain."""

    def __init__(
        self,
        environment: Mapping[str, str],
        *,
        sees_daemons: bool = False,
        rows_max: int = _COUNTED_MAX,
    ) -> None:
        """`environment` is COMMAND's environment, whose variables may name a proxy.

        With `sees_daemons`, acts of other processes of the host on the job's behalf are traced, too. At most
        `rows_max` pairs of destination and process chain get a row, for each kind of rows (`Rows`). Attempts
        of further pairs are only counted.
        """
        self._rows_max = rows_max
        self._rows = Rows(rows_max)
        self._uncounted = 0
        self._verdicts = Counter[str]()
        self._novel = 0
        self._unseen = BlindSpots(environment, sees_daemons=sees_daemons)
        self._left_behind: list[Program] = []
        self._is_left_traced = False
        self._tampering: dict[str, None] = {}

    def ran(self, program: Program) -> None:
        """Note that a program was executed."""
        self._unseen.ran(program)

    def connected(self, attempt: Attempt) -> None:
        """Count an attempt to connect or send, or several that are alike."""
        destination, ruling, attempts = attempt.destination, attempt.ruling, attempt.attempts
        self._verdicts[ruling.verdict] += attempts
        if ruling.is_novel:
            self._novel += attempts
        is_shared = is_shared_with_another(ruling.verdict, ruling.rule, destination.host)
        if self._rows.count(_row(attempt), attempts, ruling.rule, is_shared=is_shared) is None:
            self._uncounted += attempts
        self._unseen.connected(destination)

    def ended(self, attempt: Attempt, outcome: Outcome | None) -> None:
        """Count an attempt as failed if `outcome` is a failure; it is None when it isn't known."""
        traffic = self._rows.get(_row(attempt)) if outcome in FAILED else None
        if traffic is not None:
            traffic.failed += attempt.attempts

    def transferred(self, attempt: Attempt, bytes_sent: int, bytes_received: int) -> None:
        """Count bytes sent to a destination and received from it."""
        traffic = self._rows.get(_row(attempt))
        if traffic is not None:
            traffic.bytes_sent += bytes_sent
            traffic.bytes_received += bytes_received

    def tampered(self, event: Tampered, program: Program) -> None:
        """Add a warning that a program tried to get around the tracing, or to attack it."""
        self.warned(f"{' > '.join(program.lineage)} ({program.process.pid}) {sentence(event)}")

    def warned(self, told: str) -> None:
        """Add the warning `told`, a line for people."""
        if len(self._tampering) < self._rows_max:
            self._tampering[told] = None

    def left_behind(self, programs: list[Program], *, still_traced: bool = False) -> None:
        """Set the programs that still ran when the job ended."""
        self._left_behind = programs
        self._is_left_traced = still_traced

    def print(self, stream: TextIO | None, *, account: str, title: str, notes: Iterable[str] = ()) -> None:
        """Print the tables (acts on this machine apart), remarks, and `notes`; `account` is the last line."""
        with printing(stream) as console:
            console.print()
            self._print_table(console, title, is_loopback=False)
            self._print_table(console, "on this machine", is_loopback=True)
            for line in (*self._remarks(), *notes):
                console.print(printable(line, limit=500), soft_wrap=True)
            console.print(account, soft_wrap=True)

    def fields(self) -> dict[str, object]:
        """Return the summary as a value for JSON."""
        return {
            "destinations": [
                {
                    **_told(row),
                    "count": traffic.attempts,
                    "failed": traffic.failed,
                    "bytes_sent": traffic.bytes_sent,
                    "bytes_received": traffic.bytes_received,
                    **({"shared": traffic.shared} if traffic.shared else {}),
                }
                for row, traffic in ordered(self._rows.items())
            ],
            "uncounted": self._uncounted,
            "notes": list(self._remarks()),
        }

    def tally(self) -> Tally:
        """Return the counts and remarks, for output in another form."""
        return Tally(
            ordered(self._rows.items()),
            self._uncounted,
            dict(self._verdicts),
            self._novel,
            tuple(self._tampering),
            (*self._shared_remarks(), *self._unseen.notes(), *self._left_remarks()),
            tuple(self._unseen.parties()),
        )

    def totals(self) -> tuple[int, int]:
        """Return the number of destinations that have rows, and of all attempts."""
        attempts = sum(traffic.attempts for _, traffic in self._rows.items()) + self._uncounted
        return len({row.destination for row, _ in self._rows.items()}), attempts

    @property
    def against(self) -> dict[str, int]:
        """Number of denied and would-be denied attempts by `egress.verdict`, and of `novel` ones."""
        return {**{verdict: self._verdicts[verdict] for verdict in _AGAINST}, "novel": self._novel}

    def told(self) -> str:
        """Return the totals in words, with the attempts against the policy and those that the baseline lacks.

        Only destinations that have rows are counted; the text says if there may be more.
        """
        number, attempts = self.totals()
        destinations = f"{'at least ' if self._uncounted else ''}{counted(number, 'destination')}"
        counts = {VERDICT_WORDS[verdict]: self._verdicts[verdict] for verdict in _AGAINST}
        against = "".join(f", {n} {words}" for words, n in {**counts, "novel": self._novel}.items() if n)
        return f"{counted(attempts, 'attempt')}, {destinations}{against}"

    def _print_table(self, console: Console, title: str, *, is_loopback: bool) -> None:
        rows = ordered(item for item in self._rows.items() if item[0].is_loopback == is_loopback)
        if rows:
            console.print(printable(title), style="italic", soft_wrap=True)
            print_rows(console, rows)
            console.print()
        elif not is_loopback:
            console.print(f"{printable(title)}: {NOTHING_SEEN}", soft_wrap=True)

    def _remarks(self) -> Iterable[str]:
        if self._uncounted:
            yield f"{self._uncounted} more attempts to further destinations: see the spans"
        yield from self._baseline_remarks()
        yield from self._policy_remarks()
        yield from self._unseen.notes()
        for told in list(self._tampering)[:ROWS_MAX]:
            yield f"warning: tampering: {told}"
        if len(self._tampering) > ROWS_MAX:
            yield f"warning: … and {len(self._tampering) - ROWS_MAX} more ways of tampering"
        yield from self._left_remarks()

    def _left_remarks(self) -> Iterable[str]:
        if self._left_behind:
            number = len(self._left_behind)
            traced = "still" if self._is_left_traced else "no longer"
            yield f"{counted(number, 'process was', 'processes were')} left behind, {traced} traced:"
            for program in self._left_behind[:10]:
                yield f"  {program.process.pid} {printable(command_line(program))}"

    def _baseline_remarks(self) -> Iterable[str]:
        if self._novel:
            told_apart = counted(
                len({row.destination for row, _ in self._rows.items() if row.novel}), "destination"
            )
            destinations = f"{'at least ' if self._uncounted else ''}{told_apart}"
            lacking = "that the baseline doesn't have, or not from these chains"
            yield f"{counted(self._novel, 'attempt')} to {destinations} {lacking}"

    def _policy_remarks(self) -> Iterable[str]:
        for verdict, what in ((DENIED, "denied by the policy"), (WOULD_DENY, "that the policy would deny")):
            against = [(row, traffic) for row, traffic in self._rows.items() if row.verdict == verdict]
            if against:
                attempts = counted(sum(traffic.attempts for _, traffic in against), "attempt")
                destinations = counted(len({row.destination for row, _ in against}), "destination")
                yield f"{attempts} to {destinations} {what}"
        yield from self._shared_remarks()

    def _shared_remarks(self) -> Iterable[str]:
        return shared_remarks(shared_of(self._rows.items()))


def _row(attempt: Attempt) -> SummaryKey:
    destination, program, ruling = attempt.destination, attempt.program, attempt.ruling
    chain, step = (program.lineage, program.step) if program else ((), None)
    host, port, transport, _ = destination
    known = host if destination.is_address else None
    return SummaryKey(
        known, port, transport, chain, destination.is_loopback, ruling.verdict, ruling.is_novel, step
    )


def _told(row: SummaryKey) -> dict[str, object]:
    """Return a row as a value for JSON; unknown fields are left out."""
    told = {
        "destination": row.destination,
        "transport": row.transport or "?",
        "chain": row.chain,
        "step": row.step,
        "is_loopback": row.is_loopback,
        "verdict": row.verdict,
        "novel": row.novel,
    }
    return {name: value for name, value in told.items() if value is not None}
