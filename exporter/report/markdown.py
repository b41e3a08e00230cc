"""Render jobs as Markdown, for a CI system's summary or a pull request: the most urgent comes first.

Every text that comes from a job stands in HTML blocks, as code, or in fences: see `inert`.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from functools import partial
from string import hexdigits

from exporter.common.text import counted, form_of
from exporter.pipeline.account import Account
from exporter.pipeline.ruling import DENIED, WOULD_DENY
from exporter.pipeline.summary_table import Counted

from .additions import additions
from .blocks import Section, fitted, folded, listed, pasted
from .inert import code, escaped, size
from .model import shown_time
from .sheet import Sheet, destinations
from .tables import ALL_MARKS, NEW, table
from .verdict import Headline, counts, verdict

_KINDS_MAX = 20
_PENDING = {
    "ring": "not read from the kernel's ring",
    "queue": "not sent yet",
    "spool": "on disk until the collector takes them",
}


def completeness(account: Account | None) -> str:
    """Return a paragraph of HTML that says whether an account is complete; `account` may be missing."""
    if account is None:
        return "<p>⚠️ Whether these are all attempts isn't known: there is no account of them.</p>\n"
    told = account.exported + account.aggregated
    line = f"{account.attempts:,} {form_of(account.attempts, 'attempt')}, "
    line += f"{told:,} accounted for"
    missing = list(_missing(account))
    return f"<p>⚠️ {line}: {'; '.join(missing)}.</p>\n" if missing else f"<p>{line}.</p>\n"


def _missing(account: Account) -> Iterator[str]:
    for stage, attempts in account.pending.items():
        if attempts:
            yield f"{attempts:,} {_PENDING.get(stage) or code(stage)}"
    dropped = sorted(account.dropped.items(), key=lambda item: -item[1])
    for (stage, error), attempts in dropped[:_KINDS_MAX]:
        if attempts:
            yield f"{attempts:,} lost ({code(f'{stage}: {error}')})"
    if rest := sum(attempts for _, attempts in dropped[_KINDS_MAX:]):
        yield f"{rest:,} lost for other reasons"


LIMIT_BYTES = 1 << 20
"""The most bytes that GitHub accepts as the summary of a step."""

_URGENT_ROWS_MAX = 100
_ROWS_MAX = 500
_OPEN_ROWS_MAX = 10
_OPEN_JOBS_MAX = 3
_JOB_MIN_BYTES = 4096
"""The bytes that a job needs at least: with less room, it is only counted."""
_FOLD_BYTES = 100
_MARKS = {"Denied": {NEW}, "New destinations": {WOULD_DENY}}
"""The marks that a table's rows get besides the one in its title, by that title."""
_TITLE_MAX = 120
_TRACE_ID_CHARACTERS = 32


def render(
    sheets: Sequence[Sheet],
    *,
    account: Account | None,
    trace_url: str | None,
    notes: Sequence[str] = (),
    limit_bytes: int = LIMIT_BYTES,
) -> str:
    """Render all jobs, the most urgent first; then whether the account is complete, and `notes`, a line each.

    `account` is None where it isn't known. `trace_url` holds `{trace_id}`. Whole rows and entries that don't
    fit into `limit_bytes` are left out, and the text says so; it is empty if no job fits.
    """
    complete = f"{completeness(account)}\n"
    room = limit_bytes - size(complete)
    judged = sorted(((verdict(sheet), sheet) for sheet in sheets), key=lambda item: -item[0].rank)
    remarks = listed(notes, room // 8)
    jobs = _jobs(judged, trace_url, room - size(remarks))
    return f"{jobs}{complete}{remarks}" if jobs else ""


def _jobs(judged: Sequence[tuple[Headline, Sheet]], trace_url: str | None, limit_bytes: int) -> str:
    shown = judged[: max(1, limit_bytes // _JOB_MIN_BYTES)]
    more = _more_jobs([sheet for _, sheet in judged[len(shown) :]])
    are_folded = len(judged) > _OPEN_JOBS_MAX
    titles = Counter(sheet.title for _, sheet in judged)
    jobs = [
        partial(
            _job,
            each,
            trace_url,
            began=_began(each[1]) if titles[each[1].title] > 1 else "",
            is_folded=are_folded and each[0].rank == 0,
        )
        for each in shown
    ]
    text = fitted(jobs, limit_bytes - size(more))
    return f"{text}{more}" if text else ""


def _began(sheet: Sheet) -> str:
    """Return a job's start, which tells jobs of the same title apart."""
    began = shown_time(sheet.began_ns)
    return f" {began}" if began else ""


def _more_jobs(sheets: Sequence[Sheet]) -> str:
    if not sheets:
        return ""
    attempts = sum(sheet.attempts for sheet in sheets)
    told = f"{counted(len(sheets), 'more job')} with {counted(attempts, 'attempt')}"
    return f"<p>… and {told}: see their traces.</p>\n\n"


def _job(
    judged: tuple[Headline, Sheet], trace_url: str | None, limit_bytes: int, *, began: str, is_folded: bool
) -> str:
    (_, sign, sentence), sheet = judged
    title = f"{sign} {code(sheet.title, limit=_TITLE_MAX)}{began}: {sentence}"
    head = f"<p>{' · '.join(counts(sheet))}</p>\n\n"
    trace = f"<p>{_trace(sheet, trace_url)}</p>\n\n"
    room = limit_bytes - size(title) - size(head) - size(trace) - _FOLD_BYTES
    if room < 0:
        return ""
    warnings = listed([f"tampering: {told}" for told in sheet.tally.warnings], room // 4)
    body = f"{head}{fitted(list(_sections(sheet)), room - size(warnings))}{trace}{warnings}"
    return folded(title, body) if is_folded else f"<h3>{title}</h3>\n\n{body}"


def _trace(sheet: Sheet, trace_url: str | None) -> str:
    shown = code(sheet.trace_id)
    is_id = len(sheet.trace_id) == _TRACE_ID_CHARACTERS and set(sheet.trace_id) <= set(hexdigits)
    if trace_url is None or not is_id:
        return f"Trace {shown}"
    return f'<a href="{escaped(trace_url.replace("{trace_id}", sheet.trace_id))}">Open the trace</a> {shown}'


def _sections(sheet: Sheet) -> Iterator[Section]:
    urgent = _urgent(sheet)
    yield from (partial(_shown, title, rows) for title, rows in urgent)
    outward = sheet.outward
    if sum(len(rows) for _, rows in urgent) < len(outward):
        title = f"All destinations: {destinations(outward):,}"
        yield partial(_all, title, outward, is_open=not urgent and len(outward) <= _OPEN_ROWS_MAX)
    if sheet.loopback:
        title = f"On this machine: {counted(destinations(sheet.loopback), 'destination')}"
        yield partial(_all, title, sheet.loopback)
    if sheet.tally.uncounted:
        more = f"<p>… and {sheet.tally.uncounted:,} more attempts to further destinations: see the trace.</p>"
        yield lambda _: f"{more}\n\n"
    yield from (partial(pasted, made) for made in additions(sheet))
    if sheet.tally.notes:
        yield partial(listed, sheet.tally.notes)


def _urgent(sheet: Sheet) -> list[tuple[str, Sequence[Counted]]]:
    """Return urgent rows by title: all that were denied; others that are new; others that would be denied."""
    urgent = [
        ("Denied", sheet.against(DENIED)),
        ("New destinations", [item for item in sheet.novel if item[0].verdict != DENIED]),
        ("Would be denied", [item for item in sheet.against(WOULD_DENY) if not item[0].novel]),
    ]
    return [(title, rows) for title, rows in urgent if rows]


def _shown(title: str, rows: Sequence[Counted], limit_bytes: int) -> str:
    head = f"<h4>{title}</h4>\n\n"
    marks = _MARKS.get(title, ())
    shown = table(rows, limit_bytes - size(head) - 1, rows_max=_URGENT_ROWS_MAX, marks=marks)
    return f"{head}{shown}\n" if shown else ""


def _all(title: str, rows: Sequence[Counted], limit_bytes: int, *, is_open: bool = False) -> str:
    shown = table(rows, limit_bytes - size(title) - _FOLD_BYTES, rows_max=_ROWS_MAX, marks=ALL_MARKS)
    return folded(title, shown, is_open=is_open)
