"""The data of a report: jobs, each with the programs that ran and their acts (attempts) on the network.

Every text in it may come from an attacker, and none is escaped: whoever writes one somewhere must escape it.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime

from exporter.events.destinations import SOCKET, shown_destination
from exporter.pipeline.account import Account


@dataclass(frozen=True, slots=True)
class ReportedProgram:
    """A span of one executed program."""

    span_id: str
    """16 hexadecimal digits, here as everywhere below."""
    parent_id: str | None
    """The span of its creator: a program's, or the job's."""
    name: str
    """`process.executable.name`."""
    command_line: str
    """Redacted; empty where it isn't known."""
    pid: int | None
    started_ns: int
    """Nanoseconds since 1970 (UTC), here as everywhere below."""
    ended_ns: int


@dataclass(frozen=True, slots=True)
class ReportedAct:
    """A span of one attempt (a connect or a send), or of several that were only counted."""

    span_id: str
    parent_id: str | None
    """The span of the program that did it, or, with --process-spans none, of the job."""
    started_ns: int
    ended_ns: int
    host: str
    """`server.address`: a name, an address, or `_other`; `_socket` where the act had none yet."""
    port: int | None
    transport: str | None
    """The IANA keyword, or a protocol's number."""
    address: str | None
    """`network.peer.address`."""
    is_loopback: bool
    question: str | None
    """`dns.question.name`: the name that a lookup asked for."""
    attempts: int
    """The number of attempts: 1, unless several were only counted."""
    outcome: str | None
    """`egress.outcome`; None where nothing is known."""
    error: str | None
    """`error.type`."""
    bytes_sent: int | None
    bytes_received: int | None
    verdict: str
    """`egress.verdict`: allow, audit, deny."""
    rule: str | None
    """`egress.rule`, where there was a policy."""
    novel: bool | None
    """`egress.novel`; None without a baseline."""
    step: str | None
    """`egress.job.step`, as the CI system names it; None where it doesn't."""
    pid: int | None
    chain: tuple[str, ...]
    """`egress.lineage`: executables from the job's root to the program that did it."""
    command_line: str
    """The command line of the program that did it."""
    ancestors: tuple[str, ...]
    """`egress.ancestors`: command lines of the processes above that program, root first."""
    names: tuple[str, ...] = ()
    """`egress.dns.names`: the names that a lookup asked for, where it had several questions."""

    @property
    def destination(self) -> str:
        """`host:port`, an IPv6 address in brackets; the host alone where there is no port."""
        return shown_destination(self.host if self.is_address else None, self.port, self.transport)

    @property
    def is_address(self) -> bool:
        """Whether it had a destination: a socket whose creation was denied has none yet."""
        return self.host != SOCKET or self.address is not None


@dataclass(frozen=True, slots=True)
class JobReport:
    """One job's trace."""

    trace_id: str
    """32 hexadecimal digits."""
    span_id: str
    """The job's own span; empty where that is missing (the job still runs, or was killed)."""
    title: str
    """The task, else the pipeline, else the name of its first program, else `run`."""
    pipeline: str | None
    task: str | None
    run_id: str | None
    repository: str | None
    mode: str | None
    """`egress.mode`: audit or enforce; None without a policy."""
    started_ns: int
    ended_ns: int
    programs: Sequence[ReportedProgram] = ()
    """The job's programs, by start."""
    acts: Sequence[ReportedAct] = ()
    """The job's acts, by start."""


@dataclass(frozen=True, slots=True)
class Report:
    """The contents of a report, read from some files of spans."""

    jobs: Sequence[JobReport]
    """The jobs, by start."""
    account: Account | None = None
    """The account of the processes that wrote the files. None: their metrics aren't there."""
    left_out: int = 0
    """The number of attempts for which there was no room: they are in the account, not in `jobs`."""
    notes: Sequence[str] = field(default_factory=tuple)
    """Further notes for a reader, a line each."""


def in_utc(at_ns: int) -> datetime | None:
    """Convert a time in nanoseconds since 1970 to date and time in UTC. None: no calendar has it."""
    try:
        return datetime.fromtimestamp(at_ns // 10**9, UTC)
    except (OverflowError, OSError, ValueError):
        return None


def shown_time(at_ns: int) -> str:
    """Return a time as `2026-11-24 12:00:00 UTC`; empty for 0, and for one that no calendar has."""
    at = in_utc(at_ns) if at_ns else None
    return f"{at:%Y-%m-%d %H:%M:%S} UTC" if at else ""
