"""The summary's table of destinations and process chains. Every text in it may come from an attacker."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal, NamedTuple

from rich.filesize import decimal

from exporter.common.text import counted, printable
from exporter.events.destinations import shown_destination

from .ruling import ALLOWED, VERDICT_WORDS

if TYPE_CHECKING:
    from rich.console import Console

ROWS_MAX = 50

_CHAIN_HEAD, _CHAIN_TAIL = 2, 5
"""Numbers of programs shown at the beginning and at the end of a long chain; the last program acted."""
NAME_MAX = 40
"""The most characters shown of a program or a step."""


class SummaryKey(NamedTuple):
    """The facts that attempts in one row have in common."""

    host: str | None
    """`server.address`; None for a socket that was denied before it had a peer."""
    port: int | None
    transport: str | None
    chain: tuple[str, ...]
    is_loopback: bool
    verdict: str = ALLOWED
    """`egress.verdict`."""
    novel: bool | None = None
    """`egress.novel`; None without a baseline."""
    step: str | None = None
    """`egress.job.step`; None where the CI system doesn't name it."""

    @property
    def destination(self) -> str:
        """`host:port`, an IPv6 address in brackets; the host alone where there is no port."""
        return shown_destination(self.host, self.port, self.transport)

    @property
    def kind(self) -> tuple[bool, bool]:
        """Whether somebody should look at the row, and, only if not, whether it is about the loopback."""
        is_of_note = self.verdict != ALLOWED or bool(self.novel)
        return is_of_note, self.is_loopback and not is_of_note

    @property
    def order(self) -> tuple[object, ...]:
        """The sort key of rows with equal counts: unknown values come first."""
        port = -1 if self.port is None else self.port
        where = (self.host or "", port, self.transport or "")
        return (*where, self.chain, self.step or "", self.is_loopback, self.verdict, bool(self.novel))


@dataclass(slots=True)
class Traffic:
    """The counts of one row."""

    attempts: int = 0
    failed: int = 0
    """Number of attempts that were refused, timed out, were reset or aborted, or found no route."""
    bytes_sent: int = 0
    bytes_received: int = 0
    rule: str | None = None
    """`egress.rule` of the first attempt; None without a policy."""
    shared: int = 0
    """Number of attempts that were allowed by a rule for another name of their address."""
    shared_rule: str | None = None
    """`egress.rule` of the first attempt that `shared` counts."""

    def attempted(self, attempts: int, rule: str | None, *, is_shared: bool) -> None:
        """Count `attempts` more attempts, which `rule` decided; `is_shared` is as for `Rows.count`."""
        self.attempts += attempts
        if is_shared:
            self.shared += attempts
            self.shared_rule = self.shared_rule or rule


Counted = tuple[SummaryKey, Traffic]


class Rows:
    """A bounded store of rows, with room for each kind of row, however many there are of another.

    The kinds are attempts that somebody should look at (new, denied, would be denied), attempts on this
    machine, and the rest: a build that scans its own ports hides nothing behind them.
    """

    def __init__(self, rows_max: int) -> None:
        """`rows_max` is the most rows of each kind."""
        self._max = rows_max
        self._rows: dict[SummaryKey, Traffic] = {}
        self._known = Counter[tuple[bool, bool]]()

    def get(self, row: SummaryKey) -> Traffic | None:
        """Return the counts of `row` so far; None when it has no place in the store."""
        return self._rows.get(row)

    def count(
        self, row: SummaryKey, attempts: int, rule: str | None, *, is_shared: bool = False
    ) -> Traffic | None:
        """Count `attempts`, the first of which `rule` decided; return None when there is no room for `row`.

        With `is_shared`, the rule is for another name of the attempts' address.
        """
        traffic = self._rows.get(row)
        if traffic is None:
            if self._known[row.kind] >= self._max:
                return None
            self._known[row.kind] += 1
            traffic = self._rows[row] = Traffic(rule=rule)
        traffic.attempted(attempts, rule, is_shared=is_shared)
        return traffic

    def items(self) -> Iterable[Counted]:
        """Return all rows with their counts."""
        return self._rows.items()


class _Column(NamedTuple):
    name: str
    cell: Callable[[SummaryKey, Traffic], str]
    justify: Literal["left", "right"] = "left"
    is_long: bool = False


def ordered(rows: Iterable[Counted]) -> list[Counted]:
    """Sort rows: new ones first, then denied and would-be denied ones, then by attempts, descending."""
    return sorted(
        rows,
        key=lambda item: (not item[0].novel, item[0].verdict == ALLOWED, -item[1].attempts, item[0].order),
    )


def shared_of(rows: Iterable[Counted]) -> Iterator[tuple[str, str, int]]:
    """Yield destination, rule and number of the attempts that a rule for another name allowed, by row."""
    for row, traffic in rows:
        if traffic.shared_rule is not None:
            yield row.destination, traffic.shared_rule, traffic.shared


def print_rows(console: Console, rows: Sequence[Counted]) -> None:
    """Print the first ROWS_MAX rows, and how many more there are."""
    from rich.table import Table  # late: nobody waits for it at the start of a job
    from rich.text import Text

    table = Table(box=None, pad_edge=False)
    columns = list(_columns(rows))
    for name, _, justify, is_long in columns:
        may_wrap = is_long and console.is_terminal
        table.add_column(
            name, justify=justify, overflow="fold" if is_long else "ellipsis", no_wrap=not may_wrap
        )
    for row, traffic in rows[:ROWS_MAX]:
        table.add_row(*(Text(column.cell(row, traffic)) for column in columns))
    console.print(table)
    if len(rows) > ROWS_MAX:
        hidden = sum(traffic.attempts for _, traffic in rows[ROWS_MAX:])
        more = f"{counted(len(rows) - ROWS_MAX, 'more row', 'more rows')} with {counted(hidden, 'attempt')}"
        console.print(Text(f"… and {more}: see the spans"))


def shown_chain(chain: tuple[str, ...], arrow: str = " > ") -> str:
    """Return a process chain as text for people: of bounded length, and harmless on a terminal."""
    return arrow.join(printable(name, limit=NAME_MAX) for name in shortened(chain))


def shortened(chain: tuple[str, ...]) -> tuple[str, ...]:
    """Return `chain`; of a long one, the first and the last programs with … between them."""
    if len(chain) <= _CHAIN_HEAD + _CHAIN_TAIL:
        return chain
    return (*chain[:_CHAIN_HEAD], "…", *chain[-_CHAIN_TAIL:])


def _columns(rows: Sequence[Counted]) -> Iterator[_Column]:
    if any(row.novel for row, _ in rows):
        yield _Column("", lambda row, _: "new" if row.novel else "")
    yield _Column("destination", lambda row, _: printable(row.destination), is_long=True)
    yield _Column("transport", lambda row, _: row.transport or "?")
    if any(row.verdict != ALLOWED for row, _ in rows):
        yield _Column("verdict", lambda row, _: VERDICT_WORDS[row.verdict])
    yield _Column("attempts", lambda _, traffic: str(traffic.attempts), "right")
    yield _Column("failed", lambda _, traffic: str(traffic.failed or ""), "right")
    yield _Column("sent", lambda _, traffic: _size(traffic.bytes_sent), "right")
    yield _Column("received", lambda _, traffic: _size(traffic.bytes_received), "right")
    if len({row.step for row, _ in rows}) > 1:
        yield _Column("step", lambda row, _: printable(row.step or "", limit=NAME_MAX), is_long=True)
    yield _Column("process chain", lambda row, _: shown_chain(row.chain), is_long=True)


def _size(number: int) -> str:
    """Return a number of bytes as text with a unit; empty for 0, where no transfer is known."""
    return decimal(number) if number else ""
