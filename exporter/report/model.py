"""What a report is made from: jobs, in each the programs that ran and what they did on the network.

Every text in it is the attacker's, and none of it is escaped: that is for whoever writes it somewhere.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

from exporter.account import Account
from exporter.destinations import SOCKET, shown_destination


@dataclass(frozen=True, slots=True)
class Program:
    """A span of one executed program."""

    span_id: str
    """16 hexadecimal digits, here as everywhere below."""
    parent_id: str | None
    """Of who created it: a program, or the job."""
    name: str
    """`process.executable.name`."""
    command_line: str
    """Redacted; empty where it isn't known."""
    pid: int | None
    started_ns: int
    """Since 1970, in UTC; here as everywhere below."""
    ended_ns: int


@dataclass(frozen=True, slots=True)
class Act:
    """A span of one connect or send, or of several that were only counted."""

    span_id: str
    parent_id: str | None
    """Of who did it: a program, or, with --process-spans none, the job."""
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
    """`dns.question.name`: what a lookup asked for."""
    attempts: int
    """1, or how many it stands for."""
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
    """`egress.job.step`: as the CI system calls it; None where it doesn't."""
    pid: int | None
    chain: tuple[str, ...]
    """`egress.lineage`: executables from the job's root to who did it."""
    command_line: str
    """Of who did it."""
    ancestors: tuple[str, ...]
    """`egress.ancestors`: command lines, root first, without who did it."""
    names: tuple[str, ...] = ()
    """`egress.dns.names`: what a lookup asked for, where that is several names."""

    @property
    def destination(self) -> str:
        """`host:port`, an IPv6 address in brackets; the host alone where there is no port."""
        return shown_destination(self.host if self.is_address else None, self.port, self.transport)

    @property
    def is_address(self) -> bool:
        """Whether it had one: a socket that was denied has none yet."""
        return self.host != SOCKET or self.address is not None


@dataclass(frozen=True, slots=True)
class JobReport:
    """One job's trace."""

    trace_id: str
    """32 hexadecimal digits."""
    span_id: str
    """Of the job; empty where its span is missing (it still runs, or was killed)."""
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
    programs: Sequence[Program] = ()
    """By start."""
    acts: Sequence[Act] = ()
    """By start."""


@dataclass(frozen=True, slots=True)
class Report:
    """What some files of spans say."""

    jobs: Sequence[JobReport]
    """By start."""
    account: Account | None = None
    """Of those who wrote the files; None where their metrics aren't there."""
    left_out: int = 0
    """Attempts beyond those that are told apart: they are in the account, not in `jobs`."""
    notes: Sequence[str] = field(default_factory=tuple)
    """What whoever reads it should know besides, a line each."""
