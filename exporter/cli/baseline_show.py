"""`ci-egress baseline show`: what a baseline knows, and whether enforcing it would have broken a run."""

from __future__ import annotations

import sys
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import click

from exporter.session.messages import Messages

from .options import DOCUMENT, OTLP_PATH
from .progress import progress

if TYPE_CHECKING:
    from exporter.baseline.dry_run import DryRun, PipelineVerdicts
    from exporter.baseline.model import Baseline, History

_ROWS_MAX = 1000
_PLACES_MAX = 50
_TEXT_MAX = 120
_NO_RUNS = "doesn't say how many; Prometheus remembers days, not runs, and a person needn't write them"


@click.command(
    "show",
    short_help="Say what FILE knows, and whether enforcing it would have broken a run.",
    epilog="Exit status: 0; 2 when FILE or a PATH is wrong.",
)
@click.argument("file", type=DOCUMENT)
@click.argument("paths", metavar="[PATH]…", nargs=-1, type=OTLP_PATH)
@click.option("--json", "as_json", is_flag=True, help='{"pipelines", "dry_run"}, for scripts.')
def show(file: Path, paths: tuple[Path, ...], *, as_json: bool) -> int:
    """Say what FILE knows of each pipeline, and how many runs in a row brought nothing new.

    With PATHs, OTLP files of recorded runs or folders with such files below them, the policy that `export`
    makes of FILE is held against what these runs did: how many of them would it have broken, and where?

    \b
    ci-egress baseline show baseline.yaml
    ci-egress baseline show baseline.yaml runs/     # would enforcing have broken a run?
    """  # noqa: D301 - click wants a real backspace
    from exporter.baseline.parse import load_baseline

    baseline = load_baseline(file)
    dry_run = _dry_run(baseline, paths) if paths else None
    told = list(_pipelines(baseline, dry_run))
    if as_json:
        _print_json(told, dry_run)
    else:
        _print(file, told, dry_run)
    return 0


class _Pipeline(NamedTuple):
    name: str | None
    tasks: int
    destinations: int
    history: History | None
    verdicts: PipelineVerdicts | None
    """None without a dry run."""


def _dry_run(baseline: Baseline, paths: tuple[Path, ...]) -> DryRun:
    from exporter.baseline.dry_run import ATTRIBUTES, DryRun
    from exporter.baseline.export import as_policy, export
    from exporter.baseline.learn import total_bytes
    from exporter.otlp.reading.files import egress_spans_in, span_files
    from exporter.policy.resolvers import system_resolvers

    dry_run = DryRun(as_policy(export(baseline)), system_resolvers())
    files = span_files(paths)
    with progress("reading files", total_bytes(files), is_bytes=True) as on_read:
        for file in files:
            for span in egress_spans_in(file, ATTRIBUTES, say=Messages.current().say, on_read=on_read):
                dry_run.add(span.attributes, span.started_ns)
    dry_run.settle()
    return dry_run


def _pipelines(baseline: Baseline, dry_run: DryRun | None) -> Iterator[_Pipeline]:
    """Yield the pipelines of the baseline and of the recorded runs, by name."""
    from exporter.baseline.dry_run import PipelineVerdicts

    recorded = dry_run.pipelines if dry_run else {}
    tasks, destinations = Counter[str | None](), Counter[str | None]()
    for task, entries in baseline.tasks.items():
        tasks[task.pipeline] += 1
        destinations[task.pipeline] += len(entries)
    for name in sorted({*tasks, *baseline.histories, *recorded}, key=lambda name: name or ""):
        verdicts = recorded.get(name, PipelineVerdicts()) if dry_run else None
        yield _Pipeline(name, tasks[name], destinations[name], baseline.histories.get(name), verdicts)


def _print(file: Path, told: list[_Pipeline], dry_run: DryRun | None) -> None:
    from rich.table import Table
    from rich.text import Text

    from exporter.common.console import printing

    table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0), header_style="bold")
    table.add_column("pipeline")
    for column in ("tasks", "destinations", "runs", "nothing new for"):
        table.add_column(column, justify="right")
    table.add_column("last run")
    if dry_run is not None:
        table.add_column("would be denied", justify="right")
    for pipeline in told[:_ROWS_MAX]:
        table.add_row(*map(Text, _row(pipeline)))
    with printing(sys.stdout) as console:
        console.print(table)
        if len(told) > _ROWS_MAX:
            console.print(f"… and {len(told) - _ROWS_MAX:,} more pipelines")
        if any(pipeline.history is None and pipeline.destinations for pipeline in told):
            console.print(Text(f"without runs: {file} {_NO_RUNS}"), soft_wrap=True)
        for line in _verdict_lines(dry_run) if dry_run else ():
            console.print(Text(line), soft_wrap=True)


def _row(pipeline: _Pipeline) -> Iterator[str]:
    from exporter.common.text import counted

    yield _shown(pipeline.name)
    yield f"{pipeline.tasks:,}"
    yield f"{pipeline.destinations:,}"
    history = pipeline.history
    yield f"{history.runs:,}" if history else ""
    yield counted(history.quiet_runs, "run") if history else ""
    yield str(history.last_run) if history else ""
    if pipeline.verdicts is not None:
        runs = counted(len(pipeline.verdicts.runs), "run")
        yield f"{len(pipeline.verdicts.denied_runs)} of {runs}"


def _verdict_lines(dry_run: DryRun) -> Iterator[str]:
    """Yield the dry run in words: how many runs were denied, the places, then the runs of each pipeline."""
    from exporter.baseline.sections import shown_task
    from exporter.common.text import counted, printable

    runs = counted(dry_run.number_of_runs, "run")
    yield f"enforcing would have denied {dry_run.number_of_denied} of {runs}"
    places = [place for verdicts in dry_run.pipelines.values() for place in verdicts.places.most_common()]
    for (task, where), attempts in places[:_PLACES_MAX]:
        yield f"  {shown_task(task)}: {printable(where)}  {counted(attempts, 'attempt')}"
    if len(places) > _PLACES_MAX:
        yield f"  … and {len(places) - _PLACES_MAX:,} more destinations"
    yield from _shared_lines(dry_run)
    broken = [(name, verdicts) for name, verdicts in dry_run.pipelines.items() if verdicts.denied_runs]
    for name, verdicts in broken[:_PLACES_MAX]:
        more = len(verdicts.denied_runs) - len(verdicts.examples)
        runs = ", ".join(printable(run, limit=_TEXT_MAX) for run in verdicts.examples)
        yield f"  runs of {_shown(name)}: {runs}{f' and {more:,} more' if more else ''}"
    for reason, attempts in dry_run.left_out.most_common():
        yield f"not judged: {counted(attempts, 'attempt')} {reason}"


def _shared_lines(dry_run: DryRun) -> Iterator[str]:
    """Yield the destinations that no rule names and that would be allowed all the same.

    The kernel grants addresses, so a rule for another name of the same address lets them through.
    """
    from exporter.baseline.sections import shown_task
    from exporter.common.text import counted, printable

    shared = [item for verdicts in dry_run.pipelines.values() for item in verdicts.shared.most_common()]
    if shared:
        yield "allowed only by a rule for another name of the same address:"
    for (task, where, rule), attempts in shared[:_PLACES_MAX]:
        told = f"{printable(where)}, by {printable(rule)}"
        yield f"  {shown_task(task)}: {told}  {counted(attempts, 'attempt')}"
    if len(shared) > _PLACES_MAX:
        yield f"  … and {len(shared) - _PLACES_MAX:,} more"


def _print_json(told: list[_Pipeline], dry_run: DryRun | None) -> None:
    from exporter.common.console import print_lines
    from exporter.common.text import json_line

    fields = {
        "pipelines": [_fields(pipeline) for pipeline in told],
        "dry_run": None
        if dry_run is None
        else {
            "runs": dry_run.number_of_runs,
            "denied_runs": dry_run.number_of_denied,
            "left_out": dict(dry_run.left_out),
        },
    }
    print_lines(json_line(fields))


def _fields(pipeline: _Pipeline) -> dict[str, object]:
    history, verdicts = pipeline.history, pipeline.verdicts
    return {
        "pipeline": pipeline.name,
        "tasks": pipeline.tasks,
        "destinations": pipeline.destinations,
        "runs": history.runs if history else None,
        "quiet_runs": history.quiet_runs if history else None,
        "last_run": str(history.last_run) if history else None,
        "dry_run": None if verdicts is None else _verdict_fields(verdicts),
    }


def _verdict_fields(verdicts: PipelineVerdicts) -> dict[str, object]:
    return {
        "runs": len(verdicts.runs),
        "denied_runs": len(verdicts.denied_runs),
        "examples": verdicts.examples,
        "denied": [
            {"task": task.task, "destination": where, "attempts": attempts}
            for (task, where), attempts in verdicts.places.most_common()
        ],
        "shared": [
            {"task": task.task, "destination": where, "rule": rule, "attempts": attempts}
            for (task, where, rule), attempts in verdicts.shared.most_common()
        ],
    }


def _shown(pipeline: str | None) -> str:
    from exporter.common.text import printable

    return "jobs without a pipeline" if pipeline is None else printable(pipeline, limit=_TEXT_MAX)
