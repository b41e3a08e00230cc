"""`ci-egress baseline learn`: a baseline from files of spans, from Prometheus's memory, or from both."""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import click

from exporter.cli.messages import Messages
from exporter.cli.options import FILE, OTLP_PATH
from exporter.cli.progress import progress

if TYPE_CHECKING:
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
@click.option("--output", type=FILE, metavar="FILE", help="Write the baseline there, whole or not at all.")
def learn(paths: tuple[Path, ...], url: str | None, days: int, output: Path | None) -> int:
    """Make a baseline of OTLP files or folders, as `run --otlp-dir` and collectors write them; to stdout.

    It has each destination of each task, with the chains of processes that reached it. What isn't in it, and
    what should be looked at, is told on stderr.

    \b
    ci-egress baseline learn ci-egress --output baseline.yaml
    ci-egress baseline learn --from-prometheus https://prometheus.example --days 14
    """  # noqa: D301 - click wants a real backspace
    from exporter.baseline.conclude import conclude
    from exporter.baseline.write import readable_lines
    from exporter.console import write
    from exporter.documents.output import write_lines
    from exporter.errors import UsageError

    if not paths and url is None:
        hint = "name files or folders that `ci-egress run --otlp-dir` wrote, or give --from-prometheus"
        raise UsageError("nothing to learn from", hint=hint)
    if any(_is_url(path) for path in paths):  # which may hold a password, and so isn't shown
        hint = "ask a Prometheus with --from-prometheus URL"
        raise UsageError("a URL stands in the place of a PATH", hint=hint)
    seen = _seen(paths, url, days)
    learnt = conclude(seen)
    for note in learnt.notes:
        Messages.current().say(note)
    lines = readable_lines(learnt.baseline)
    if output is None:
        write(sys.stdout, "".join(f"{line}\n" for line in lines))
    else:
        write_lines(output, lines)
    return 0


def _is_url(path: Path) -> bool:
    """Slashes that follow each other are one in a path."""
    return str(path).startswith(("http:/", "https:/")) and not path.exists()


def _seen(paths: tuple[Path, ...], url: str | None, days: int) -> Seen:
    """Of both sources. Raises UsageError where there is nothing in them."""
    from exporter.baseline.learn import read_files, require_jobs, total_bytes
    from exporter.baseline.seen import Seen
    from exporter.span_files import span_files

    seen = Seen()
    if paths:
        files = span_files(paths)
        with progress("reading files", total_bytes(files), is_bytes=True) as on_progress:
            seen.merge(read_files(files, on_progress=on_progress))
        require_jobs(seen, ", ".join(map(str, paths)))
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
