"""`ci-egress report`: what recorded spans show, as a page of HTML, or as Markdown."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import click

from exporter.common.errors import UsageError
from exporter.session.baselines import baseline_of
from exporter.session.messages import Messages
from exporter.session.reports import WRITE_HINT, append_summary, encoded
from exporter.session.user_files import HandingError, replace
from exporter.session.users import command_user

from .options import DOCUMENT, OTLP_PATH
from .progress import progress
from .report_options import report_config, report_options

if TYPE_CHECKING:
    from exporter.baseline.model import Baseline
    from exporter.policy.model import Policy
    from exporter.report.model import Report
    from exporter.session.settings import ReportConfig
    from exporter.session.users import CommandUser


@click.command(
    "report",
    epilog="Exit status: 0; 2 when a PATH, a baseline or a policy can't be read, no job is in them, or FILE "
    "can't be written.",
)
@click.argument("paths", metavar="PATH…", nargs=-1, required=True, type=OTLP_PATH)
@report_options()
@click.option(
    "--baseline",
    metavar="FILE",
    type=DOCUMENT,
    help="Hold what was recorded against FILE: what it doesn't have is new.",
)
@click.option(
    "--policy",
    metavar="FILE",
    type=DOCUMENT,
    help="Hold what was recorded against FILE: what it would deny.",
)
def command(paths: tuple[Path, ...], *, baseline: Path | None, policy: Path | None, **options: Any) -> int:
    """Make a report of OTLP files or folders, as `run --otlp-dir` and collectors write them.

    A folder is searched with all below it. Without --report and --summary, the report goes to stdout as
    Markdown with blocks of HTML, for a pull request or the summary of a job.

    \b
    ci-egress report ci-egress --report report.html
    ci-egress report runs/ --baseline baseline.yaml --policy policy.yaml --report preview.html
    ci-egress report ci-egress > comment.md
    """  # noqa: D301 - click wants a real backspace
    config = report_config(options)
    held = _Held(baseline_of(baseline), _policy(policy))
    report = _read(paths)
    if config.report is not None:
        _write_page(report, config, config.report, held)
    if config.summary is not None or config.report is None:
        _write_summary(report, config, held)
    return 0


class _Held(NamedTuple):
    """The baseline and the policy that recorded traffic is compared with."""

    baseline: Baseline | None
    policy: Policy | None


def _policy(path: Path | None) -> Policy | None:
    if path is None:
        return None
    from exporter.policy.parse import load_policy

    return load_policy(path)


def _read(paths: tuple[Path, ...]) -> Report:
    """Read the spans in `paths`. Raises UsageError, also when no job is in them."""
    from exporter.baseline.learn import total_bytes
    from exporter.otlp.reading.files import span_files
    from exporter.report.read import read

    with progress("reading files", total_bytes(span_files(paths)), is_bytes=True) as on_read:
        report = read(paths, say=Messages.current().say, on_read=on_read)
    if not report.jobs:
        raise UsageError(
            f"no job, as traces.jsonl has them, in {', '.join(map(str, paths))}",
            hint="name files or folders that `ci-egress run --otlp-dir` wrote",
        )
    return report


@contextmanager
def _written(path: Path) -> Iterator[CommandUser | None]:
    """Yield the user who will own `path`; None: this process's user. Raises UsageError if writing fails."""
    try:
        yield command_user(None, os.environ, euid=os.geteuid())
    except HandingError as error:
        raise UsageError(f"cannot write {path}: {error}", hint=WRITE_HINT) from None


def _write_page(report: Report, config: ReportConfig, path: Path, held: _Held) -> None:
    from exporter.report.html import render

    page = render(report, trace_url=config.trace_url, baseline=held.baseline, policy=held.policy)
    with _written(path) as user:
        replace(path, encoded(page), user)


def _write_summary(report: Report, config: ReportConfig, held: _Held) -> None:
    """Append the summary to its file, or print it; both have the same limit of size."""
    from exporter.policy.resolvers import system_resolvers
    from exporter.report.markdown import render
    from exporter.report.preview import previewed
    from exporter.report.sheet import sheet_of_report

    seen = previewed(report, held.baseline, held.policy, system_resolvers() if held.policy else ())
    sheets = [sheet_of_report(job, baseline=held.baseline) for job in seen.jobs]
    if config.summary is None:
        told = render(sheets, account=seen.account, trace_url=config.trace_url, notes=seen.notes)
        print(told, end="")  # noqa: T201 - it is what was asked for
        return
    with _written(config.summary) as user:
        append_summary(config.summary, sheets, seen.account, seen.notes, config.trace_url, user)
