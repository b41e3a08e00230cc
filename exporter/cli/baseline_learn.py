"""`ci-egress baseline learn`: make a baseline from files of spans, from Prometheus, or from both."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import click

from exporter.session.messages import Messages

from .options import DOCUMENT, FILE, NAME, OTLP_PATH
from .progress import progress

if TYPE_CHECKING:
    from exporter.baseline.model import Baseline
    from exporter.baseline.seen import Seen

_DAYS = 30
_DAYS_MAX = 3650


@click.command(
    "learn",
    short_help="Make a baseline of what was traced.",
    epilog="Exit status: 0; 2 when a PATH or Prometheus can't be read, or nothing was found there.",
)
@click.argument("paths", metavar="[PATH]…", nargs=-1, type=OTLP_PATH)
@click.option(
    "--from-prometheus",
    "url",
    metavar="URL",
    help="What a Prometheus remembers of the fleet, too, or only that. Credentials stand in the URL, or a "
    "token in CI_EGRESS_PROMETHEUS_TOKEN.",
)
@click.option(
    "--days",
    type=click.IntRange(1, _DAYS_MAX),
    default=_DAYS,
    show_default=True,
    help="How many of Prometheus's last days, in UTC.",
)
@click.option(
    "--repository",
    metavar="OWNER/NAME",
    type=NAME,
    help="Only runs of this repository, where several have pipelines of the same name.",
)
@click.option(
    "--onto",
    metavar="FILE",
    type=DOCUMENT,
    help="Add to what FILE knows, which stays. Name runs that FILE wasn't learnt from.",
)
@click.option("--output", type=FILE, metavar="FILE", help="Write the baseline there, whole or not at all.")
def learn(paths: tuple[Path, ...], *, onto: Path | None, output: Path | None, **sources: Any) -> int:
    """Make a baseline of OTLP files or folders, as `run --otlp-dir` and collectors write them; to stdout.

    A folder is searched with all below it. The baseline has each destination of each task, with the chains of
    processes that reached it. What isn't in it, and what should be looked at, is reported on stderr.

    \b
    ci-egress baseline learn ci-egress --output baseline.yaml
    ci-egress baseline learn runs/1208 --onto baseline.yaml --output baseline.yaml
    ci-egress baseline learn --from-prometheus https://prometheus.example --days 14
    """  # noqa: D301 - click wants a real backspace
    from exporter.baseline.conclude import conclude
    from exporter.baseline.model import Baseline
    from exporter.baseline.parse import load_baseline
    from exporter.baseline.write import readable_lines
    from exporter.common.console import print_lines
    from exporter.common.documents.output import write_lines

    asked = _Asked(paths, **sources)
    asked.check()
    before = Baseline() if onto is None else load_baseline(onto)
    learnt = conclude(_seen(asked), before)
    for note in learnt.notes:
        Messages.current().say(note)
    lines = readable_lines(learnt.baseline)
    if output is None:
        print_lines(*lines)
    else:
        write_lines(output, lines)
        Messages.current().say(f"{output}: {_size(before, learnt.baseline, is_onto=onto is not None)}")
    return 0


class _Asked(NamedTuple):
    """The sources to learn from, as they were given."""

    paths: tuple[Path, ...]
    url: str | None
    days: int
    repository: str | None

    def check(self) -> None:
        """Raise UsageError for no source, a URL in place of a PATH, or --repository with Prometheus."""
        from exporter.common.errors import UsageError

        if not self.paths and self.url is None:
            hint = "name files or folders that `ci-egress run --otlp-dir` wrote, or give --from-prometheus"
            raise UsageError("nothing to learn from", hint=hint)
        if any(map(_is_url, self.paths)):  # which may hold a password, and so isn't shown
            hint = "ask a Prometheus with --from-prometheus URL"
            raise UsageError("a URL stands in the place of a PATH", hint=hint)
        if self.url is not None and self.repository is not None:
            hint = "learn from its files, or leave --repository out"
            raise UsageError("Prometheus doesn't know of which repository a pipeline is", hint=hint)


def _size(before: Baseline, after: Baseline, *, is_onto: bool) -> str:
    """Return how much a baseline knows, as in `1 pipeline, 5 destinations (2 new), 3 runs`."""
    from exporter.baseline.compare import compare
    from exporter.common.text import counted

    pipelines = {task.pipeline for task in after.tasks} | {*after.histories}
    told = [counted(len(pipelines), "pipeline"), counted(len(after.entries), "destination")]
    if after.histories:
        told.append(counted(_runs(after), "run"))
    if is_onto:
        difference = compare(before, after)
        told[1] += f" ({len(difference.added)} new, {len(difference.changed)} with new chains)"
        if after.histories:
            told[2] += f" ({_runs(after) - _runs(before)} new)"
    return ", ".join(told)


def _runs(baseline: Baseline) -> int:
    return sum(history.runs for history in baseline.histories.values())


def _is_url(path: Path) -> bool:
    """Whether `path` was meant as a URL. A Path makes one slash of the two in `https://`."""
    return str(path).startswith(("http:/", "https:/")) and not path.exists()


def _seen(asked: _Asked) -> Seen:
    """Read the sources that were given. Raises UsageError when one of them has nothing to learn from."""
    from exporter.baseline.learn import read_files, require_jobs, total_bytes
    from exporter.baseline.seen import Seen
    from exporter.otlp.reading.files import span_files

    paths, url, days, repository = asked
    seen = Seen()
    if paths:
        files = span_files(paths)
        with progress("reading files", total_bytes(files), is_bytes=True) as on_progress:
            seen.merge(read_files(files, repository=repository, on_progress=on_progress))
        require_jobs(seen, ", ".join(map(str, paths)), repository)
    if url is not None:
        seen.merge(_history(url, days))
    return seen


def _history(url: str, days: int) -> Seen:
    from datetime import UTC, datetime

    from exporter.baseline.prometheus import read_history, require_history
    from exporter.baseline.prometheus_api import Prometheus

    server = Prometheus(url, os.environ)
    with progress("reading Prometheus", days, is_bytes=False) as on_progress:
        history = read_history(server, days, today=datetime.now(UTC).date(), on_progress=on_progress)
    require_history(history, server, days)
    return history
