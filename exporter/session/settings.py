"""The settings from the command line, decided once at the start."""

from __future__ import annotations

import enum
from dataclasses import dataclass
from pathlib import Path

from exporter.pipeline.process_spans import ProcessSpans


class FailOn(enum.StrEnum):
    """A reason for a run to fail: a value of --fail-on. AUDIT and DENY are values of `egress.verdict`."""

    NOVEL = "novel"
    """An attempt wasn't in the baseline."""
    AUDIT = "audit"
    """An attempt would have been denied."""
    DENY = "deny"
    """An attempt was denied."""


@dataclass(frozen=True)
class OutputConfig:
    """The settings for the telemetry: where it goes, and how much there is."""

    otlp_dir: Path | None
    """Folder of the files; None: ./ci-egress, for signals for which the environment has no endpoint."""
    process_spans: ProcessSpans


@dataclass(frozen=True)
class ReportConfig:
    """The documents for people, besides the messages on stderr."""

    report: Path | None = None
    """The HTML file to write; None: none is written."""
    summary: Path | None = None
    """The Markdown file to append to; None: the one that the CI system names."""
    trace_url: str | None = None
    """URL where a trace can be seen, with `{trace_id}` in it; None: there are no links."""


class OnDeath(enum.StrEnum):
    """The fate of the kernel's programs when the exporter is killed; the values of --on-exporter-death."""

    CLOSED = "closed"
    """The programs go on: policies stay in force until somebody stops the programs."""
    OPEN = "open"
    """The programs are detached when the exporter ends."""


@dataclass(frozen=True, kw_only=True)
class TraceConfig:
    """The settings that a run and a watch share."""

    output: OutputConfig
    reports: ReportConfig = ReportConfig()
    job_env: str | None
    """Name of a variable that holds a job's id, for CI systems that aren't known."""
    is_host: bool = False
    """Whether the whole machine belongs to one job: COMMAND, or the one that the environment names."""
    strict: bool = False
    """Whether lost evidence makes the run fail, unless COMMAND failed, or changes the watch's exit status."""
    policy: Path | None = None
    """The policy file, which says what jobs may connect to; None: there is none."""
    enforce: bool = False
    """Whether to enforce the policy, whatever mode it has."""
    allowed_endpoints: str | None = None
    """More destinations to allow, separated by blanks."""
    host_enforce: bool = False
    """Whether processes in containers are held to the policy, too, whoever started the containers."""
    fail_on: frozenset[FailOn] = frozenset()
    """Reasons to end with a failure, unless COMMAND failed."""
    on_exporter_death: OnDeath = OnDeath.CLOSED
    compiles: bool = False
    """Whether the programs are compiled here, though the package has them."""
    baseline: Path | None = None
    """The file with the known connections of tasks; None: there is no baseline."""
    metric_lineage: bool = False
    """Whether metrics count connections by chains of processes, too."""
    is_live: bool = False
    """Whether destinations, or the jobs of a watch, are shown on a terminal as they come."""

    @property
    def needing_policy(self) -> list[str]:
        """The options that were given and mean nothing without a policy."""
        asked = {"--enforce": self.enforce, "--host-enforce": self.host_enforce}
        asked |= {f"--fail-on {what}": what in self.fail_on for what in (FailOn.AUDIT, FailOn.DENY)}
        return [option for option, is_given in asked.items() if is_given]

    @property
    def asks_for_policy(self) -> bool:
        """Whether the code that reads a policy has to be imported, if only to report that there is none."""
        has_policy = self.policy is not None or self.allowed_endpoints is not None
        return has_policy or bool(self.needing_policy)


@dataclass(frozen=True, kw_only=True)
class RunConfig(TraceConfig):
    """The settings for running and tracing COMMAND."""

    command: tuple[str, ...]
    record: Path | None
    """The recording to write, for a replay; None: none is written."""
    user: str | None
    """COMMAND's user; None: the user who called, also through sudo."""


@dataclass(frozen=True, kw_only=True)
class WatchConfig(TraceConfig):
    """The settings for watching a host."""

    otlp_dir_limit_mib: int
    """The most MiB that all files in the telemetry's folder may have together."""
    agents: tuple[str, ...] = ()
    """Agents that start jobs, besides the known ones: units, executables, users."""
    adopt: bool = False
    """Whether to take over the instance of a watch that was killed, if there is one."""
    pid_file: Path | None = None
    """The file to write the watch's process id to when it is ready; None: none is written."""
    end_folder: Path | None = None
    """The folder where a file with the token as its name ends the watch; None: only signals end it."""
    end_digest: bytes | None = None
    """The SHA-256 of the token."""
