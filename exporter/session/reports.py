"""The report and the summary at the end of tracing. When they can't be written, there is only a warning."""

from __future__ import annotations

import logging
import os
import traceback
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from datetime import UTC, datetime
from importlib import import_module
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Self

from exporter.common.errors import CiEgressError
from exporter.otlp.sinks import SpoolError
from exporter.otlp.transcript import Transcript
from exporter.pipeline.account import Account

from .messages import Messages, warn
from .settings import ReportConfig
from .user_files import HandingError, probe
from .user_files import append as append_to
from .user_files import replace as put
from .users import CommandUser, command_user

if TYPE_CHECKING:
    from exporter.baseline.model import Baseline
    from exporter.pipeline.ruling import Terms
    from exporter.policy.model import Policy
    from exporter.report.model import Report
    from exporter.report.sheet import Sheet

    from .job_result import JobResult

STEP_SUMMARY = "GITHUB_STEP_SUMMARY"
SUMMARY_MAX_BYTES = 1 << 20
"""The most bytes of a step's summary file that GitHub accepts; it rejects a larger file as a whole."""
WRITE_HINT = "name a file in a folder that you can write to, on a disk with room"


class Reporting:
    """A writer of the report and the summary; use it in a `with` block around the telemetry's."""

    def __init__(self, config: ReportConfig, environment: Mapping[str, str], user: str | None = None) -> None:
        """Documents will belong to `user`, as --user names it; without one, to the user who called."""
        in_place = environment.get(STEP_SUMMARY)
        self._summary = config.summary or (Path(in_place) if in_place else None)
        self._config = config
        self._user: CommandUser | None = None
        if self._summary is not None or config.report is not None:
            self._find_user(user, environment)
            self._probe()
        self.transcript = self._transcript(environment.get("TMPDIR"))
        """A second file of the telemetry's spans, for the report; None without a report."""

    def prepare(self) -> None:
        """Import and read, now, all files that are needed when a job ends.

        Later a job may have left no memory or descriptors to do so, or have replaced the files.
        """
        if self.wants_summary:
            import_module("exporter.report.sheet")
            import_module("exporter.report.markdown")
        if self._config.report is not None:
            from exporter.report.html import prepare

            prepare()
            import_module("exporter.report.read")

    def of_run(
        self,
        outcome: JobResult,
        terms: Terms | None,
        baseline: Baseline | None = None,
        policy: Policy | None = None,
    ) -> None:
        """Write the summary and the report of a run that is over."""
        if self.wants_summary:
            from exporter.report.sheet import sheet_of_run

            mode, today = terms.mode if terms else None, datetime.now(UTC).date()
            title, job, summary = outcome.title, outcome.job, outcome.summary
            sheet = sheet_of_run(title, job, summary, mode=mode, baseline=baseline, day=today)
            self.summarise([sheet], outcome.account, outcome.losses)
        self.report(outcome.account, title=outcome.title, baseline=baseline, policy=policy)

    @property
    def wants_summary(self) -> bool:
        """Whether a summary will be written, for which `summarise` needs sheets."""
        return self._summary is not None

    def summarise(self, sheets: Sequence[Sheet], account: Account | None, notes: Sequence[str] = ()) -> None:
        """Append `sheets` to the summary, with `notes`."""
        if self._summary is None or not sheets:
            return
        with _trouble_told(f"the summary can't be written to {self._summary}"):
            append_summary(self._summary, sheets, account, notes, self._config.trace_url, self._user)

    def report(
        self,
        account: Account,
        *,
        title: str | None = None,
        baseline: Baseline | None = None,
        policy: Policy | None = None,
    ) -> None:
        """Write the report of the spans in the transcript; `title` is for a job without task and pipeline."""
        if self._config.report is None or self.transcript is None:
            return
        with _trouble_told(f"the report can't be written to {self._config.report}"):
            from exporter.report.html import render
            from exporter.report.read import read_transcript

            lost = self.transcript.account.dropped
            report = read_transcript(self.transcript.path, account, lost)
            told = _titled(report, title)
            page = render(told, trace_url=self._config.trace_url, baseline=baseline, policy=policy)
            put(self._config.report, encoded(page), self._user)
            Messages.current().say(f"report: {self._config.report}", report=str(self._config.report))

    def _find_user(self, user: str | None, environment: Mapping[str, str]) -> None:
        try:
            self._user = command_user(user, environment, euid=os.geteuid())
        except CiEgressError as error:
            self._config, self._summary = replace(self._config, report=None), None
            warn(f"there will be no report and no summary: {error}")

    def _probe(self) -> None:
        """Warn now of a document that can't be written, and not only after a build of an hour.

        It is only a warning: the build may make the folder.
        """
        for what, path in (("report", self._config.report), ("summary", self._summary)):
            try:
                if path is not None:
                    probe(path, self._user)
            except HandingError as error:
                warn(f"the {what} can't be written to {path} now ({error}); it is tried again at the end")

    def _transcript(self, folder: str | None) -> Transcript | None:
        if self._config.report is None:
            return None
        try:
            return Transcript(folder)
        except SpoolError as error:
            warn(f"there will be no report: its spans can't be kept: {error.reason}; name another TMPDIR")
            return None

    def __enter__(self) -> Self:
        """Return this object."""
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Close the transcript."""
        if self.transcript is not None:
            self.transcript.close()


def append_summary(  # noqa: PLR0913, PLR0917 - what a summary consists of
    path: Path,
    sheets: Sequence[Sheet],
    account: Account | None,
    notes: Sequence[str],
    trace_url: str | None,
    user: CommandUser | None,
) -> None:
    """Append Markdown of `sheets` to the file `path`, as much as there is room for. Raises HandingError."""
    from exporter.report.markdown import render

    room = max(SUMMARY_MAX_BYTES - _size(path) - 1, 0)
    text = render(sheets, account=account, trace_url=trace_url, notes=notes, limit_bytes=room)
    if not text:
        raise HandingError(f"of {SUMMARY_MAX_BYTES:,} bytes it has room for {room:,} more")
    append_to(path, encoded(f"\n{text}"), SUMMARY_MAX_BYTES, user)


@contextmanager
def _trouble_told(what: str) -> Iterator[None]:
    try:
        yield
    except HandingError as error:
        warn(f"{what}: {error}; {WRITE_HINT}")
    except Exception:  # noqa: BLE001 - COMMAND's status must not depend on it
        told = f"{what}: a fault of ci-egress; please report this"
        Messages.current().say(told, level=logging.ERROR, detail=traceback.format_exc())


def _titled(report: Report, title: str | None) -> Report:
    if title is None:
        return report
    jobs = [job if job.task or job.pipeline else replace(job, title=title) for job in report.jobs]
    return replace(report, jobs=jobs)


def _size(path: Path) -> int:
    try:
        return os.lstat(path).st_size
    except OSError:  # writing it will show the error
        return 0


def encoded(text: str) -> bytes:
    """Encode `text` as UTF-8, with `?` for characters that can't be encoded."""
    return text.encode(errors="replace")
