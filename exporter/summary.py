"""What a job talked to, for a person: a table on stderr when it ends. Every text in it is the attacker's."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import NamedTuple, TextIO

from rich.console import Console
from rich.filesize import decimal
from rich.table import Table
from rich.text import Text

from exporter.console import printing
from exporter.destinations import Destination
from exporter.events import Outcome, Tampered
from exporter.programs import Program
from exporter.spans import command_line
from exporter.tampering import sentence
from exporter.terms import ALLOWED, DENIED, WOULD_DENY, Ruling
from exporter.text import counted, printable
from exporter.unseen import Unseen

ROWS_MAX = 50
_COUNTED_MAX = 10_000

_VERDICTS = {ALLOWED: "allowed", DENIED: "denied", WOULD_DENY: "would deny"}
_AGAINST = {DENIED: "denied", WOULD_DENY: "would be denied"}
_FAILED = frozenset({Outcome.REFUSED, Outcome.TIMEOUT, Outcome.RESET, Outcome.UNREACHABLE, Outcome.ABORTED})

_NOTHING_SAID = Ruling()

_CHAIN_HEAD, _CHAIN_TAIL = 2, 5
"""Programs shown of a long chain: the first, and the last, of which one did it."""


class Row(NamedTuple):
    """What is counted together."""

    destination: str
    transport: str
    chain: tuple[str, ...]
    is_loopback: bool
    verdict: str = ALLOWED
    """`egress.verdict`."""
    novel: bool | None = None
    """`egress.novel`; None without a baseline."""


@dataclass(slots=True)
class Traffic:
    """What was counted."""

    attempts: int = 0
    failed: int = 0
    """Of those, the ones that were refused, timed out, were reset or aborted, or found no way."""
    bytes_sent: int = 0
    bytes_received: int = 0


class Summary:
    """Counts destinations × process chains of one job."""

    def __init__(
        self,
        environment: Mapping[str, str],
        *,
        sees_daemons: bool = False,
        rows_max: int = _COUNTED_MAX,
    ) -> None:
        """`environment` is COMMAND's: it tells whether there is a proxy.

        `sees_daemons`: what other processes of the host do on the job's behalf is traced, too.
        `rows_max` destinations and process chains are told apart, further attempts only counted.
        """
        self._rows_max = rows_max
        self._rows: dict[Row, Traffic] = {}
        self._uncounted = 0
        self._verdicts = Counter[str]()
        self._novel = 0
        self._unseen = Unseen(environment, sees_daemons=sees_daemons)
        self._left_behind: list[Program] = []
        self._is_left_traced = False
        self._tampering: dict[str, None] = {}

    def ran(self, program: Program) -> None:
        """A program was executed."""
        self._unseen.ran(program)

    def connected(
        self,
        destination: Destination,
        program: Program | None,
        attempts: int = 1,
        *,
        said: Ruling = _NOTHING_SAID,
    ) -> None:
        """A program connected or sent, or tried to; None: which one it was isn't known.

        `said` is what was ruled on it.
        """
        row = _row(destination, program, said)
        self._verdicts[said.verdict] += attempts
        if said.is_novel:
            self._novel += attempts
        traffic = self._rows.get(row)
        if traffic is not None or len(self._rows) < self._rows_max:
            traffic = self._rows.setdefault(row, traffic or Traffic())
            traffic.attempts += attempts
        else:
            self._uncounted += attempts
        self._unseen.connected(destination)

    def ended(
        self,
        destination: Destination,
        program: Program | None,
        outcome: Outcome | None,
        attempts: int = 1,
        *,
        said: Ruling = _NOTHING_SAID,
    ) -> None:
        """It is known what became of attempts; None: it isn't."""
        traffic = self._rows.get(_row(destination, program, said)) if outcome in _FAILED else None
        if traffic is not None:
            traffic.failed += attempts

    def transferred(
        self,
        destination: Destination,
        program: Program | None,
        bytes_sent: int,
        bytes_received: int,
        *,
        said: Ruling = _NOTHING_SAID,
    ) -> None:
        """Bytes went to and from where a program had connected to."""
        traffic = self._rows.get(_row(destination, program, said))
        if traffic is not None:
            traffic.bytes_sent += bytes_sent
            traffic.bytes_received += bytes_received

    def tampered(self, event: Tampered, program: Program) -> None:
        """A program tried to get around the tracing, or at it."""
        told = f"{' > '.join(program.lineage)} ({program.process.pid}) {sentence(event)}"
        if len(self._tampering) < self._rows_max:
            self._tampering[told] = None

    def left_behind(self, programs: list[Program], *, still_traced: bool = False) -> None:
        """What still ran when the job ended."""
        self._left_behind = programs
        self._is_left_traced = still_traced

    def print(self, stream: TextIO | None, *, account: str, title: str, notes: Iterable[str] = ()) -> None:
        """Write it all: destinations, loopback apart, what isn't seen, `notes`, the account as last line."""
        with printing(stream) as console:
            console.print()
            self._print_table(console, title, is_loopback=False)
            self._print_table(console, "on loopback", is_loopback=True)
            for line in (*self._remarks(), *notes):
                console.print(Text(printable(line, limit=500)), soft_wrap=True)
            console.print(Text(account), soft_wrap=True)

    def fields(self) -> dict[str, object]:
        """For JSON."""
        return {
            "destinations": [
                {
                    **_told(row),
                    "count": traffic.attempts,
                    "failed": traffic.failed,
                    "bytes_sent": traffic.bytes_sent,
                    "bytes_received": traffic.bytes_received,
                }
                for row, traffic in sorted(self._rows.items(), key=_new_and_most_first)
            ],
            "uncounted": self._uncounted,
            "notes": list(self._remarks()),
        }

    def totals(self) -> tuple[int, int]:
        """How many destinations there were, and how many attempts."""
        attempts = sum(traffic.attempts for traffic in self._rows.values()) + self._uncounted
        return len({row.destination for row in self._rows}), attempts

    def told(self) -> str:
        """Both in words, how many attempts the policy is against, and how many the baseline doesn't have.

        Of destinations there may be more than are told apart.
        """
        number, attempts = self.totals()
        destinations = f"{'at least ' if self._uncounted else ''}{counted(number, 'destination')}"
        counts = {words: self._verdicts[verdict] for verdict, words in _AGAINST.items()}
        against = "".join(f", {n} {words}" for words, n in {**counts, "novel": self._novel}.items() if n)
        return f"{counted(attempts, 'attempt')}, {destinations}{against}"

    def _print_table(self, console: Console, title: str, *, is_loopback: bool) -> None:
        rows = sorted(
            (item for item in self._rows.items() if item[0].is_loopback == is_loopback),
            key=_new_and_most_first,
        )
        if not rows:
            if not is_loopback:
                console.print(Text(f"{printable(title)}: no connection left this machine"), soft_wrap=True)
            return
        console.print(Text(printable(title), style="italic"), soft_wrap=True)
        is_fancy = console.is_terminal
        table = Table(box=None, pad_edge=False)
        has_news = any(row.novel for row, _ in rows)
        if has_news:
            table.add_column("", no_wrap=True)
        table.add_column("destination", overflow="fold", no_wrap=not is_fancy)
        table.add_column("transport", no_wrap=True)
        has_verdicts = any(row.verdict != ALLOWED for row, _ in rows)
        if has_verdicts:
            table.add_column("verdict", no_wrap=True)
        for name in ("count", "failed", "sent", "received"):
            table.add_column(name, justify="right", no_wrap=True)
        table.add_column("process chain", overflow="fold", no_wrap=not is_fancy)
        for row, traffic in rows[:ROWS_MAX]:
            sizes = (_size(traffic.bytes_sent), _size(traffic.bytes_received))
            verdict = (_VERDICTS[row.verdict],) if has_verdicts else ()
            numbers = (str(traffic.attempts), str(traffic.failed or ""))
            news = ("new" if row.novel else "",) if has_news else ()
            cells = (
                *news,
                row.destination,
                row.transport,
                *verdict,
                *numbers,
                *sizes,
                shown_chain(row.chain),
            )
            table.add_row(*map(Text, cells))
        console.print(table)
        if len(rows) > ROWS_MAX:
            hidden = sum(traffic.attempts for _, traffic in rows[ROWS_MAX:])
            more = f"… and {len(rows) - ROWS_MAX} more rows with {counted(hidden, 'attempt')}: see the spans"
            console.print(Text(more))
        console.print()

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
        if self._left_behind:
            number = len(self._left_behind)
            were = "process was" if number == 1 else "processes were"
            traced = "still" if self._is_left_traced else "no longer"
            yield f"{number} {were} left behind, {traced} traced:"
            for program in self._left_behind[:10]:
                yield f"  {program.process.pid} {printable(command_line(program))}"

    def _baseline_remarks(self) -> Iterable[str]:
        if self._novel:
            told_apart = counted(len({row.destination for row in self._rows if row.novel}), "destination")
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


def _row(destination: Destination, program: Program | None, said: Ruling) -> Row:
    chain = program.lineage if program else ()
    where = (destination.shown, destination.transport or "?")
    return Row(*where, chain, destination.is_loopback, said.verdict, said.is_novel)


def _told(row: Row) -> dict[str, object]:
    """For JSON: what isn't known is left out."""
    return {name: value for name, value in row._asdict().items() if value is not None}


def _new_and_most_first(item: tuple[Row, Traffic]) -> tuple[bool, int, Row]:
    row, traffic = item
    return not row.novel, -traffic.attempts, row


def _size(number: int) -> str:
    """For a table: nothing where nothing is known to have been transferred."""
    return decimal(number) if number else ""


def shown_chain(chain: tuple[str, ...], arrow: str = " > ") -> str:
    """For a person: bounded, and harmless for a terminal."""
    names = [printable(name, limit=40) for name in chain]
    if len(names) > _CHAIN_HEAD + _CHAIN_TAIL:
        names[_CHAIN_HEAD:-_CHAIN_TAIL] = ["…"]
    return arrow.join(names)
