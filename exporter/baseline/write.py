"""Write a baseline as a file: sorted, an entry per destination, so that a reviewer sees what changed."""

from __future__ import annotations

from collections.abc import Iterator
from textwrap import wrap

from exporter.common.documents.scalars import listed, scalar
from exporter.common.errors import UsageError
from exporter.common.text import printable
from exporter.events.programs import Lineage

from .entries import ANY
from .model import Baseline, Entry, History
from .parse import KIND, BaselineError, parse_baseline

NAMES_SHOWN = 50
"""The most names that the comment above a wildcard lists."""
_WIDTH = 100
_NAME_MAX = 253
_HEAD = """\
# What pipelines are known to connect to: one destination of one task an entry, with the chains of processes
# that reached it, from the job's root on. What isn't here is novel. Read each line of a change:
# Connections added here will no longer be reported.
version: 1
"""


def baseline_lines(baseline: Baseline) -> Iterator[str]:
    """Yield the lines of the file, without line ends. Reading them gives an equal baseline."""
    yield from _HEAD.splitlines()
    yield "entries:" if baseline.entries else "entries: []"
    for entry in sorted(baseline.entries, key=lambda entry: entry.subject.order):
        yield from entry_lines(entry)
    if baseline.histories:
        yield "pipelines:"
    for pipeline in sorted(baseline.histories, key=lambda name: name or ""):
        yield from _history(pipeline, baseline.histories[pipeline])


def readable_lines(baseline: Baseline) -> list[str]:
    """Return the file's lines. Raises UsageError if they are more than `parse_baseline` accepts."""
    lines = [*baseline_lines(baseline)]
    data = "".join(f"{line}\n" for line in lines).encode()
    if len(data) < KIND.nodes_max:  # no value takes less than a byte
        return lines
    try:
        parse_baseline(data, "baseline")
    except BaselineError as error:
        what = f"the baseline of this can't be held: {error.problems[0].what}"
        raise UsageError(what, hint="learn from the runs of fewer pipelines") from None
    return lines


def entry_lines(entry: Entry) -> Iterator[str]:
    """Yield the lines of one entry as they stand below `entries:`."""
    if entry.folded:
        yield from (f"  # {line}" for line in wrap(_folded(entry.folded), _WIDTH, break_on_hyphens=False))
    yield from _item(
        {
            "pipeline": _text(entry.task.pipeline),
            "task": _text(entry.task.task),
            "destination": scalar(str(entry.host)),
            "port": entry.port,
            "transport": scalar(entry.transport),
        }
    )
    yield from _lineages(entry.lineages)
    rest = {"first_seen": entry.first_seen, "last_seen": entry.last_seen, "runs": entry.runs}
    yield from (f"    {key}: {value}" for key, value in rest.items() if value is not None)


def _folded(names: tuple[str, ...]) -> str:
    shown = [printable(name, limit=_NAME_MAX) for name in names[:NAMES_SHOWN]]
    more = f", and {len(names) - NAMES_SHOWN:,} more" if len(names) > NAMES_SHOWN else ""
    return f"stands for {', '.join(shown)}{more}"


def _lineages(lineages: frozenset[Lineage] | None) -> Iterator[str]:
    """Write a chain per line, even a single one, so that a second one doesn't change the first one's line."""
    if lineages is None:
        yield f"    lineage: {ANY}"
    else:
        yield "    lineage:"
        yield from (f"      - {listed(chain)}" for chain in sorted(lineages))


def _history(pipeline: str | None, history: History) -> Iterator[str]:
    return _item(
        {
            "pipeline": _text(pipeline),
            "runs": history.runs,
            "quiet_runs": history.quiet_runs,
            "last_run": history.last_run,
        }
    )


def _item(fields: dict[str, object]) -> Iterator[str]:
    """Write an item of a list; keys whose value is None are left out."""
    lead = "  - "
    for key, value in fields.items():
        if value is not None:
            yield f"{lead}{key}: {value}"
            lead = "    "


def _text(name: str | None) -> str | None:
    return None if name is None else scalar(name)
