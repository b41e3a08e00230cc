"""The contents of a job's summary: the acts that were counted together, with names, mode and baseline."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from datetime import date
from functools import cached_property
from typing import TYPE_CHECKING

from exporter.jobs.model import Job
from exporter.pipeline.ruling import is_shared_with_another, shared_remarks
from exporter.pipeline.summary import FAILED, Summary, Tally
from exporter.pipeline.summary_table import Counted, Rows, SummaryKey, Traffic, ordered, shared_of

from .model import JobReport, ReportedAct, in_utc

if TYPE_CHECKING:
    from exporter.baseline.model import Baseline

_ROWS_MAX = 10_000


@dataclass(frozen=True)
class Sheet:
    """The contents of one job's summary. Every text in it may come from an attacker."""

    title: str
    """The job's name for people."""
    pipeline: str | None
    task: str | None
    trace_id: str
    """32 hexadecimal digits, unless a file has another text."""
    tally: Tally
    mode: str | None = None
    """`egress.mode`, audit or enforce; None without a policy."""
    baseline: Baseline | None = None
    """The baseline that the job was compared with, if at hand: additions extend its entries by chains."""
    day: date | None = None
    """The day on which the job ended, in UTC."""
    began_ns: int = field(default=0, compare=False)
    """The job's start, in nanoseconds since 1970 (UTC); 0 where it isn't needed."""

    @cached_property
    def has_baseline(self) -> bool:
        """Whether the job was compared with a baseline."""
        return self.baseline is not None or any(row.novel is not None for row, _ in self.tally.rows)

    @cached_property
    def outward(self) -> Sequence[Counted]:
        """The rows that aren't on loopback."""
        return [item for item in self.tally.rows if not item[0].is_loopback]

    @cached_property
    def loopback(self) -> Sequence[Counted]:
        """The rows on loopback."""
        return [item for item in self.tally.rows if item[0].is_loopback]

    @cached_property
    def novel(self) -> Sequence[Counted]:
        """The rows that the baseline doesn't have."""
        return [item for item in self.tally.rows if item[0].novel]

    def against(self, verdict: str) -> Sequence[Counted]:
        """Return the rows with `verdict`, which is DENIED or WOULD_DENY."""
        return [item for item in self.tally.rows if item[0].verdict == verdict]

    @cached_property
    def attempts(self) -> int:
        """The number of all attempts, including those that no row counts."""
        return attempts_of(self.tally.rows) + self.tally.uncounted


def sheet_of_run(  # noqa: PLR0913 - the facts about a run besides its spans
    title: str,
    job: Job,
    summary: Summary,
    *,
    mode: str | None = None,
    baseline: Baseline | None = None,
    day: date | None = None,
) -> Sheet:
    """Make the sheet of a job that is over, from the summary that was counted while it ran."""
    trace_id = f"{job.ids.trace_id:032x}"
    return Sheet(title, job.pipeline, job.task, trace_id, summary.tally(), mode, baseline, day)


def sheet_of_report(job: JobReport, *, baseline: Baseline | None = None) -> Sheet:
    """Make the sheet of a job that was read back from its spans."""
    tally, day = _tally(job.acts), _day(job.ended_ns)
    known = (job.title, job.pipeline, job.task, job.trace_id, tally, job.mode, baseline, day)
    return Sheet(*known, job.started_ns)


def attempts_of(rows: Iterable[Counted]) -> int:
    """Return the number of attempts in `rows`."""
    return sum(traffic.attempts for _, traffic in rows)


def destinations(rows: Iterable[Counted]) -> int:
    """Return the number of different destinations in `rows`."""
    return len({(row.host, row.port, row.transport) for row, _ in rows})


def _day(at_ns: int) -> date | None:
    """Return the day of a time, in UTC. None: no calendar has it."""
    at = in_utc(at_ns)
    return at.date() if at else None


def _tally(acts: Sequence[ReportedAct]) -> Tally:
    rows = Rows(_ROWS_MAX)
    verdicts = Counter[str]()
    uncounted = novel = 0
    for act in acts:
        verdicts[act.verdict] += act.attempts
        novel += act.attempts if act.novel else 0
        is_shared = is_shared_with_another(act.verdict, act.rule, act.host)
        traffic = rows.count(_row(act), act.attempts, act.rule, is_shared=is_shared)
        if traffic is None:
            uncounted += act.attempts
        else:
            _add(traffic, act)
    notes = tuple(shared_remarks(shared_of(rows.items())))
    return Tally(ordered(rows.items()), uncounted, verdicts, novel, notes=notes)


def _row(act: ReportedAct) -> SummaryKey:
    host = act.host if act.is_address else None
    return SummaryKey(
        host, act.port, act.transport, act.chain, act.is_loopback, act.verdict, act.novel, act.step
    )


def _add(traffic: Traffic, act: ReportedAct) -> None:
    traffic.failed += act.attempts if act.outcome in FAILED else 0
    traffic.bytes_sent += act.bytes_sent or 0
    traffic.bytes_received += act.bytes_received or 0
