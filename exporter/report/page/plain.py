"""The contents of the page without JavaScript: for each job, a table of the rows to look at first."""

from __future__ import annotations

from typing import Any

from exporter.pipeline.ruling import VERDICT_WORDS
from exporter.report.model import JobReport

from .data import PageData, head, is_judged, remarks, shown
from .rows import RowCounts, RowKey, Table

ROWS_MAX = 200
"""The most rows of all jobs together: a browser reads them before it runs the script, so they delay it."""
_TEXT_MAX = 300
_ASKED_MAX = 5


def plain_jobs(data: PageData) -> list[dict[str, Any]]:
    """Return each job with its rows as texts, for the template."""
    left = ROWS_MAX
    jobs = []
    for job, table in data.tables:
        jobs.append(_job(job, table, left))
        left = max(0, left - len(table))
    return jobs


def _job(job: JobReport, table: Table, rows_max: int) -> dict[str, Any]:
    items = list(table.items())
    return {
        **head(job),
        "rows": [_cells(row, counts, judged=is_judged(job)) for row, counts in items[:rows_max]],
        "more": len(items) - len(items[:rows_max]),
        "notes": [shown(note, 500) for note in remarks(table)],
        "attempts": sum(counts.attempts for counts in table.values()),
        "destinations": len({row.destination for row in table if not row.is_loopback}),
    }


def _cells(row: RowKey, counts: RowCounts, *, judged: bool) -> dict[str, Any]:
    return {
        "destination": shown(row.destination, _TEXT_MAX),
        "is_loopback": row.is_loopback,
        "is_new": row.seen.novel is True,
        "transport": row.transport or "unknown",
        "asked": [shown(name, _TEXT_MAX) for name in list(counts.questions)[:_ASKED_MAX]],
        "verdict": VERDICT_WORDS.get(row.verdict, shown(row.verdict, 40)) if judged else "not judged",
        "look": row.verdict if judged and row.verdict in VERDICT_WORDS else "",
        "attempts": counts.attempts,
        "failed": counts.failed,
        "chain": " › ".join(shown(name, 80) for name in row.chain) or "unknown",
        "step": shown(row.step or "", 80),
    }
