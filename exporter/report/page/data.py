"""The plain data from which the browser makes the page: each text once, and columns of numbers.

The browser shows texts as they are in the data. So characters that hide or reorder others (controls,
bidirectional marks) are escaped here. `notes` name what found no room; the counts are complete all the same.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Any

from exporter.common.text import clean, printable
from exporter.pipeline.ruling import ALLOWED, shared_remarks
from exporter.pipeline.summary import FAILED
from exporter.report.model import shown_time
from exporter.report.preview import previewed_job
from exporter.report.what_if import WhatIf

from .drafts import added, drafted
from .rows import RowCounts, RowKey, Table, table_of
from .tree import Tree, tree_of

if TYPE_CHECKING:
    from exporter.baseline.model import Baseline
    from exporter.policy import model
    from exporter.report.model import JobReport, Report, ReportedAct

ACTS_MAX = PROGRAMS_MAX = 100_000
"""The most acts, and the most programs, of all jobs together, that are listed one by one."""
ENDPOINTS_MAX = 200
"""The most words of `--allowed-endpoints`: a longer list belongs in a file."""
TEXT_MAX = 4000
"""The most characters of a text."""
TEXTS_MAX = 32_000_000
"""When all texts have this many bytes, each further one is cut to `_SHORT_MAX` characters."""
_SHORT_MAX = 80
_WORD_MAX, _STEP_MAX = 20, 120
"""The most characters of a text that is one of few words, and of a step's name."""
_NONE = -1
_US = 1000
"""Nanoseconds in a microsecond."""


def shown(text: str, limit: int = TEXT_MAX) -> str:
    """Return `text` on one line, with escapes for characters that a browser would obey or hide."""
    if len(text) <= limit and text.isprintable():
        return text
    return printable(text, limit=limit)


class TextPool:
    """Texts, each kept once, and referred to by its place (index)."""

    def __init__(self) -> None:
        """Start without texts."""
        self.all: list[str] = []
        self.are_cut = False
        self._places: dict[tuple[str, int], int] = {}
        self._size = 0

    def place(self, text: str | None, limit: int = TEXT_MAX) -> int:
        """Return the place of `text`, which is added if it is new; -1 for no text."""
        if not text:
            return _NONE
        found = self._places.get((text, limit))
        if found is None:
            is_full = self._size >= TEXTS_MAX
            kept = shown(text, min(limit, _SHORT_MAX) if is_full else limit)
            self.are_cut |= is_full or len(text) > limit
            self._size += len(kept.encode())
            found = self._places[text, limit] = len(self.all)
            self.all.append(kept)
        return found

    def places(self, texts: Iterable[str | None]) -> list[int]:
        """Return the places of several texts."""
        return [self.place(text) for text in texts]


class PageData:
    """The data of the page, with all jobs of a report."""

    def __init__(
        self,
        report: Report,
        *,
        baseline: Baseline | None = None,
        policy: model.Policy | None = None,
        resolvers: Iterable[model.Address] = (),
        trace_url: str | None = None,
    ) -> None:
        """`resolvers` are the system's; `trace_url` holds `{trace_id}`."""
        self.tables: list[tuple[JobReport, Table]] = []
        self._texts = TextPool()
        self._trace_url = trace_url
        self._acts_left, self._programs_left = ACTS_MAX, PROGRAMS_MAX
        self._unlisted = 0
        resolvers = tuple(resolvers)
        jobs = []
        for job in report.jobs:
            held = WhatIf(job, baseline, policy, resolvers)
            table = table_of(job.acts, held)
            self.tables.append((job, table))
            jobs.append({**self._job(job, table), **_taken_along(previewed_job(job, held), baseline)})
        self.fields: dict[str, Any] = {
            "jobs": jobs,
            "texts": self._texts.all,
            "has_policy": policy is not None,
            "has_baseline": baseline is not None,
            "failures": sorted(FAILED),
            "account": account_fields(report),
            "notes": [shown(note, 500) for note in self._notes(report)],
        }

    def _job(self, job: JobReport, table: Table) -> dict[str, Any]:
        listed = job.acts[: self._acts_left]
        tree = tree_of(job, self._programs_left)
        self._acts_left -= len(listed)
        self._programs_left -= min(len(job.programs), self._programs_left)
        self._unlisted += len(job.acts) - len(listed)
        acts = self._acts(job, listed, table, tree)  # which may add programs to the tree
        return {
            **head(job, self._trace_url),
            "rows": [self._row(job, row, counts) for row, counts in table.items()],
            "acts": acts,
            "programs": self._programs(job, tree),
            "command": self._texts.place(tree.command_line),
            "notes": [shown(note, 500) for note in remarks(table)],
        }

    def _row(self, job: JobReport, row: RowKey, counts: RowCounts) -> dict[str, Any]:
        place, seen = self._texts.place, row.seen
        return {
            "destination": place(row.destination),
            "transport": place(row.transport, _WORD_MAX),
            "chain": self._texts.places(row.chain),
            "step": place(row.step, _STEP_MAX),
            "verdict": place(row.verdict, _WORD_MAX),
            "rule": place(row.rule),
            "shared": row.is_shared,
            "loopback": row.is_loopback,
            "novel": seen.novel,
            "known": seen.is_known,
            "effect": seen.effect,
            "would_rule": place(seen.rule),
            "would_line": seen.line,
            "would_share": seen.is_shared,
            "attempts": counts.attempts,
            "failed": counts.failed,
            "sent": counts.bytes_sent,
            "received": counts.bytes_received,
            "first": _since(job, counts.first_ns),
            "addresses": self._texts.places(counts.addresses),
            "asked": self._texts.places(counts.questions),
        }

    def _acts(
        self, job: JobReport, acts: Sequence[ReportedAct], table: Table, tree: Tree
    ) -> dict[str, list[Any]]:
        rows = {place: number for number, counts in enumerate(table.values()) for place in counts.acts}
        texts = self._texts
        return {
            "row": [rows[place] for place in range(len(acts))],
            "program": [tree.program_of(act) for act in acts],
            "start": [_since(job, act.started_ns) for act in acts],
            "end": [_since(job, act.ended_ns) for act in acts],
            "attempts": [act.attempts for act in acts],
            "sent": [act.bytes_sent for act in acts],
            "received": [act.bytes_received for act in acts],
            "address": texts.places(act.address for act in acts),
            "outcome": texts.places(act.outcome for act in acts),
            "error": texts.places(act.error for act in acts),
            "question": texts.places(act.question for act in acts),
            "line": texts.places(act.command_line for act in acts),
        }

    def _programs(self, job: JobReport, tree: Tree) -> dict[str, list[Any]]:
        return {
            "parent": tree.parents,
            "name": self._texts.places(tree.names),
            "line": self._texts.places(tree.command_lines),
            "pid": tree.pids,
            "start": [_NONE if times is None else _since(job, times[0]) for times in tree.times_ns],
            "end": [_NONE if times is None else _since(job, times[1]) for times in tree.times_ns],
        }

    def _notes(self, report: Report) -> Iterable[str]:
        yield from report.notes
        if report.left_out:
            what = f"{report.left_out:,} attempts went to further destinations, which aren't told apart"
            yield f"{what}: they are counted as a whole, and aren't in these tables."
        if self._unlisted:
            yield f"{self._unlisted:,} acts are counted in the tables, and not listed one by one."
        if self._texts.are_cut:
            yield "Long command lines are cut."


def remarks(table: Table) -> Iterable[str]:
    """Yield notes on a job for a reader, a sentence each."""
    return shared_remarks(
        (row.destination, row.rule, counts.attempts)
        for row, counts in table.items()
        if row.rule and row.is_shared
    )


def head(job: JobReport, trace_url: str | None = None) -> dict[str, Any]:
    """Return a job's names and times."""
    return {
        "title": shown(job.title or "run", 200),
        "pipeline": _named(job.pipeline),
        "task": _named(job.task),
        "run": _named(job.run_id),
        "repository": _named(job.repository),
        "mode": _named(job.mode),
        "trace": _named(job.trace_id),
        "trace_url": linked(trace_url, job.trace_id),
        "started": shown_time(job.started_ns) or None,
        "duration": _since(job, job.ended_ns),
        "is_open": not job.span_id,
        "is_judged": is_judged(job),
    }


def is_judged(job: JobReport) -> bool:
    """Whether a policy judged the job's acts; else `allow` only means that nothing was in the way."""
    return job.mode is not None or any(act.verdict != ALLOWED for act in job.acts)


def _taken_along(job: JobReport, baseline: Baseline | None) -> dict[str, Any]:
    """Return texts for a reader to copy, from a job judged by the reader's baseline and policy."""
    draft = drafted(job)
    return {
        "draft": [clean(line) for line in draft.lines] or None,
        "endpoints": [clean(rule) for rule in draft.endpoints[:ENDPOINTS_MAX]],
        "additions": list(added(job, baseline)),
    }


def linked(trace_url: str | None, trace_id: str) -> str | None:
    """Return the URL at which the trace is shown. None: it isn't known, or is no web address."""
    if trace_url is None or not trace_url.startswith(("https://", "http://")):
        return None
    return trace_url.replace("{trace_id}", trace_id) if trace_id.isalnum() else None


def account_fields(report: Report) -> dict[str, int] | None:
    """Return the sums of the report's account. None: it has none."""
    account = report.account
    if account is None:
        return None
    dropped, pending = sum(account.dropped.values()), sum(account.pending.values())
    return {
        "attempts": account.attempts,
        "exported": account.exported,
        "aggregated": account.aggregated,
        "dropped": dropped,
        "pending": pending,
    }


def _named(text: str | None) -> str | None:
    return shown(text, 300) if text else None


def _since(job: JobReport, at_ns: int) -> int:
    """Return microseconds since the job began; 0 for a time before that, which files may hold."""
    return max(0, at_ns - job.started_ns) // _US
