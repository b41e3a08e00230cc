"""What was asked for, decided once at the start."""

from __future__ import annotations

import enum
from dataclasses import dataclass
from pathlib import Path


class ProcessSpans(enum.StrEnum):
    """Which programs get a span of their own; the values are those of --process-spans."""

    NETWORK = "network"
    """Those that did something on a socket, and their ancestors."""
    ALL = "all"
    NONE = "none"


class FailOn(enum.StrEnum):
    """What makes a run fail; the values are those of --fail-on, the last two of `egress.verdict`, too."""

    NOVEL = "novel"
    """Something wasn't in the baseline."""
    AUDIT = "audit"
    """Something would have been denied."""
    DENY = "deny"
    """Something was denied."""


@dataclass(frozen=True)
class OutputConfig:
    """Where telemetry goes, and how much of it there is."""

    otlp_dir: Path | None
    """None: where the environment says, else ./ci-egress."""
    process_spans: ProcessSpans


@dataclass(frozen=True)
class ReportConfig:
    """What is written for people, besides what is said on stderr."""

    report: Path | None = None
    """The HTML file; None: there is none."""
    summary: Path | None = None
    """The Markdown file that is appended to; None: where the CI system says."""
    trace_url: str | None = None
    """Where traces are to be seen, with `{trace_id}` in it."""


class OnDeath(enum.StrEnum):
    """What becomes of the programs when the exporter is killed, as --on-exporter-death has it."""

    CLOSED = "closed"
    """They go on: what was denied stays denied, until somebody stops them."""
    OPEN = "open"
    """They are detached with it."""


@dataclass(frozen=True)
class RunConfig:
    """How COMMAND is to be run and traced."""

    command: tuple[str, ...]
    output: OutputConfig
    record: Path | None
    """Where to keep the events for a replay."""
    user: str | None
    """COMMAND's user; None for the one that called, also through sudo."""
    job_env: str | None
    """Name of the variable that holds the job's id."""
    strict: bool = False
    """Evidence that got lost makes the run fail, unless COMMAND failed."""
    is_host: bool = False
    """The whole machine belongs to this job, what doesn't descend from COMMAND too."""
    host_enforce: bool = False
    """What is executed in containers is held to the job's policy, too, whoever started them."""
    policy: Path | None = None
    """The file that says what COMMAND may connect to; None: there is none."""
    enforce: bool = False
    """Deny what the policy doesn't allow, whatever mode it has."""
    allowed_endpoints: str | None = None
    """More that is allowed, destinations with blanks between."""
    fail_on: frozenset[FailOn] = frozenset()
    """What makes the run fail, unless COMMAND failed."""
    on_exporter_death: OnDeath = OnDeath.CLOSED
    baseline: Path | None = None
    """The file of what tasks are known to connect to; None: there is none."""
    metric_lineage: bool = False
    """Connections are counted by chains of processes, too."""
    is_live: bool = False
    """What COMMAND connects to is shown as it comes, on a terminal."""
    reports: ReportConfig = ReportConfig()


@dataclass(frozen=True)
class WatchConfig:
    """How a host is to be watched."""

    output: OutputConfig
    job_env: str | None
    """Name of a variable that holds a job's id, on CI systems that aren't known."""
    strict: bool
    """Evidence that got lost makes the exit status another one."""
    otlp_dir_limit_mib: int
    """Most that the files of the telemetry's folder hold together."""
    policy: Path | None = None
    """The file that says what jobs may connect to; None: there is none."""
    enforce: bool = False
    """Deny what the policy doesn't allow, whatever mode it has."""
    allowed_endpoints: str | None = None
    """More that is allowed, destinations with blanks between."""
    host_enforce: bool = False
    """What is executed in containers of no job is held to the policy, too."""
    agents: tuple[str, ...] = ()
    """Who starts jobs, besides those that are known: units, executables, users."""
    on_exporter_death: OnDeath = OnDeath.CLOSED
    adopt: bool = False
    """Take over the instance of a watch that was killed, if there is one."""
    is_host: bool = False
    """The whole machine belongs to the job that the environment names."""
    pid_file: Path | None = None
    """Where it says that it is ready, and which process it is."""
    end_folder: Path | None = None
    """Where the end is asked for by a token; None: signals alone end it."""
    end_digest: bytes | None = None
    """The token's SHA-256."""
    fail_on: frozenset[FailOn] = frozenset()
    """What makes it end with a failure."""
    is_live: bool = False
    """Jobs are shown on a terminal."""
    baseline: Path | None = None
    """The file of what tasks are known to connect to; None: there is none."""
    metric_lineage: bool = False
    """Connections are counted by chains of processes, too."""
    reports: ReportConfig = ReportConfig()
