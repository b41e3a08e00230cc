"""Read files of spans into a report: for `ci-egress report PATH…`, and `--report` at the end of a run."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import replace
from pathlib import Path

from exporter.common.text import counted
from exporter.otlp.reading.files import span_files, whole_spans_in
from exporter.pipeline.account import Account

from .accounts import accounts_beside
from .gathering import ATTRIBUTES, Gathering, Limits
from .model import Report


def read(
    paths: Iterable[Path],
    *,
    say: Callable[[str], object],
    on_read: Callable[[int], object] = lambda _: None,
    limits: Limits = Limits(),  # noqa: B008 - immutable
) -> Report:
    """Read a report from the spans in `paths` (files, folders), and the account from the metrics beside them.

    Incomplete files are reported to `say`, and in the report's notes, too. `on_read` is called now and then
    with the number of bytes read since its last call. Raises UsageError where a path can't be read or holds
    something other than spans.
    """
    notes: dict[str, None] = {}

    def note(what: str) -> None:
        notes[what] = None
        say(what)

    files, gathering = span_files(paths), Gathering(limits)
    for path in files:
        for span in whole_spans_in(path, ATTRIBUTES, say=note, on_read=on_read):
            gathering.add(span)
    account = accounts_beside(files, note).account(gathering.instances)
    return gathering.report(account, tuple(notes))


def read_transcript(path: Path, account: Account, lost: Mapping[tuple[str, str], int]) -> Report:
    """Read a report from the spans that this process wrote to `path`; `lost` attempts found no room there.

    Raises UsageError where the file can't be read.
    """
    notes: list[str] = []
    gathering = Gathering()
    for span in whole_spans_in(path, ATTRIBUTES, say=notes.append):
        gathering.add(span)
    left_out = sum(lost.values())
    if left_out:
        reasons = ", ".join(sorted({error for _, error in lost}))
        notes.append(f"{counted(left_out, 'attempt')} found no room in what this is made from ({reasons})")
    report = gathering.report(account, tuple(notes))
    return replace(report, left_out=report.left_out + left_out)
