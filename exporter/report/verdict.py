"""Sum up a job in a sentence and a line of counts."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import NamedTuple

from rich.filesize import decimal

from exporter.common.text import counted, form_of
from exporter.pipeline.blind_spots import NOTHING_SEEN
from exporter.pipeline.ruling import DENIED, VERDICT_WORDS, WOULD_DENY
from exporter.pipeline.summary_table import Counted

from .sheet import Sheet, attempts_of, destinations


class Headline(NamedTuple):
    """The summary of one job in a sentence."""

    rank: int
    """The urgency, higher for more urgent; 0 where nobody has to do anything."""
    sign: str
    sentence: str


def verdict(sheet: Sheet) -> Headline:
    """Return all findings about a job in one sentence, the most urgent first."""
    found = list(_findings(sheet))
    if not found:
        sign = "✅" if sheet.has_baseline or sheet.mode is not None else "ℹ️"
        unseen = f"; not seen: {', '.join(sheet.tally.unseen)}" if sheet.tally.unseen else ""
        return Headline(0, sign, f"{_nothing_found(sheet)}{unseen}")
    rank = max(rank for rank, _ in found)
    return Headline(rank, "⛔" if rank > 1 else "⚠️", ", ".join(sentence for _, sentence in found))


def counts(sheet: Sheet) -> Iterator[str]:
    """Yield the job's counts, each as HTML."""
    out, inside = sheet.outward, attempts_of(sheet.loopback)
    attempts = number(sheet.attempts - inside, "attempt")
    yield f"{attempts} to {_least(sheet)}{number(destinations(out), 'destination')}"
    if sheet.tally.novel:
        yield f"<b>{sheet.tally.novel:,}</b> new"
    for effect in (DENIED, WOULD_DENY):
        if against := sheet.tally.verdicts.get(effect):
            yield f"<b>{against:,}</b> {VERDICT_WORDS[effect]}"
    if failed := sum(traffic.failed for _, traffic in out):
        yield f"{failed:,} failed"
    yield from _sizes(out)
    if inside:
        yield f"{inside:,} on this machine"
    if sheet.mode is not None:
        yield "policy enforced" if sheet.mode == "enforce" else "policy in audit"


def number(count: int, what: str) -> str:
    """Format a count as HTML: `<b>1,204</b> attempts`."""
    return f"<b>{count:,}</b> {form_of(count, what)}"


def _findings(sheet: Sheet) -> Iterator[tuple[int, str]]:
    if denied := sheet.against(DENIED):
        yield 3, f"{_destinations(sheet, denied)} {_one(denied, 'was', 'were')} denied"
    if sheet.tally.warnings:
        yield 2, "there was tampering"
    if would := sheet.against(WOULD_DENY):
        yield 1, f"{_destinations(sheet, would)} would be denied"
    if shared := [item for item in sheet.outward if item[1].shared]:
        allowed = f"{_one(shared, 'is', 'are')} allowed by another name's rule only"
        yield 1, f"{_destinations(sheet, shared)} {allowed}"
    if sheet.novel:
        yield 1, f"{_destinations(sheet, sheet.novel)} {_one(sheet.novel, 'is', 'are')} new"


def _one(rows: Sequence[Counted], singular: str, plural: str) -> str:
    return form_of(destinations(rows), singular, plural)


def _destinations(sheet: Sheet, rows: Sequence[Counted]) -> str:
    return f"{_least(sheet)}{counted(destinations(rows), 'destination')}"


def _least(sheet: Sheet) -> str:
    return "at least " if sheet.tally.uncounted else ""


def _nothing_found(sheet: Sheet) -> str:
    if not sheet.outward and not sheet.tally.uncounted:
        return NOTHING_SEEN
    held = ["known"] if sheet.has_baseline else []
    held += ["allowed"] if sheet.mode is not None else []
    told = _destinations(sheet, sheet.outward)
    if not held:
        return told
    return f"{told}, {_one(sheet.outward, 'which is', 'all')} {' and '.join(held)}"


def _sizes(rows: Sequence[Counted]) -> Iterator[str]:
    for told, size in (
        ("sent", sum(traffic.bytes_sent for _, traffic in rows)),
        ("received", sum(traffic.bytes_received for _, traffic in rows)),
    ):
        if size:
            yield f"{decimal(size)} {told}"
