"""Says in words whether a summary holds all attempts, and which it lacks."""

from __future__ import annotations

from collections.abc import Iterator

from exporter.account import Account
from exporter.report.inert import code
from exporter.text import counted

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
    line = f"{account.attempts:,} {counted(account.attempts, 'attempt').partition(' ')[2]}, "
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
