"""From files of spans to a report: `ci-egress report PATH…`, and `--report` at the end of a run."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from pathlib import Path

from exporter.report.accounts import accounts_beside
from exporter.report.gathering import ATTRIBUTES, Gathering, Limits
from exporter.report.model import Report
from exporter.span_files import read_whole_spans, span_files


def read(
    paths: Iterable[Path],
    *,
    say: Callable[[str], object],
    on_read: Callable[[int], object] = lambda _: None,
    limits: Limits = Limits(),  # noqa: B008 - immutable
) -> Report:
    """What the spans in `paths`, files or folders, tell, with the account from the metrics beside them.

    `say` hears of what isn't complete, which the report's notes have, too; `on_read` is told now and then how
    many bytes were read since. Raises UsageError where a path can't be read or holds something else.
    """
    notes: dict[str, None] = {}

    def note(what: str) -> None:
        notes[what] = None
        say(what)

    files, gathering = span_files(paths), Gathering(limits)
    for path in files:
        for span in read_whole_spans(path, ATTRIBUTES, say=note, on_read=on_read):
            gathering.add(span)
    account = accounts_beside(files, note).account(gathering.instances)
    return gathering.report(account, tuple(notes))
