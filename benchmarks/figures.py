"""What a benchmark gives: figures, some with a limit; and what is promised."""

from __future__ import annotations

from dataclasses import dataclass, replace


@dataclass(frozen=True)
class Limits:
    """What tracing may cost."""

    hook_ns: float = 550
    """Of one connect, one send: in the kernel, the event included, and the kernel's own metering."""
    counted_hook_ns: float = 350
    """The same of one that is only counted."""
    connect_loop_ratio: float = 1.10
    """Time of TCP connects over loopback, with tracing ÷ without."""
    send_loop_ratio: float = 1.20
    """The same of datagrams."""
    own_span_us: float = 50
    """CPU time of the exporter for an attempt that gets a span of its own, sent to a collector."""
    counted_us: float = 2
    """The same for one that is only counted."""
    start_s: float = 0.8
    """From the exec of ci-egress to that of COMMAND, everything in the page cache."""
    exporter_mb: float = 64
    """Resident set, in 10⁶ bytes."""
    watch_mb: float = 90
    """The same of `watch`, which knows every process of the host, in 10⁶ bytes."""
    soak_growth_mb: float = 3
    """What the resident set grows by while hundreds of jobs come and go, in 10⁶ bytes."""
    redaction_us: float = 100
    """CPU time for the arguments of one exec."""
    policy_s: float = 1
    """Of reading 10,000 rules, and of compiling them."""
    enforcing_ns: float = 50
    """What a connect takes more where a policy is enforced than where it is only told."""
    more_rules_ns: float = 100
    """What it takes more under 10,000 rules than under 1,000."""
    answer_us: float = 5
    """What a DNS answer is delayed by that grants addresses."""
    flip_ms: float = 1
    """From `enforce on` to the next connect that is denied."""
    first_connect_us: float = 1000
    """What the 99th percentile of steps' first connects takes more where a policy is enforced."""
    open_s: float = 1
    """From asking a browser for a report of 5,000 spans until it is drawn; the same of each view."""
    learn_s: float = 60
    """Of learning 100 pipelines of 1,000 runs each."""
    learn_mb: float = 250
    """Resident set of the largest process meanwhile, in 10⁶ bytes."""
    live_ratio: float = 1.05
    """Time of connects with --live on a terminal ÷ without it, traced both times."""
    build_ratio: float = 1.02
    """Time of a build and its CPU time, with tracing ÷ without."""
    beside_ratio: float = 1.05
    """Time of a build beside a flood of the same job, with tracing ÷ without."""
    bulk_ratio: float = 1.02
    """Time of a download, with tracing ÷ without."""
    untold: float = 1
    """Of 10,000 processes that live for less than a millisecond: those not told, or not told exactly."""


LIMITS = Limits()


@dataclass(frozen=True)
class Figure:
    """One line of the table."""

    name: str
    value: float
    unit: str
    """`×` for a ratio."""
    note: str = ""
    """What stands beside it: spread, control, circumstances."""
    limit: float | None = None
    """The most it may be, in the same unit; None where nothing is promised."""

    @property
    def is_kept(self) -> bool:
        """Whether the limit is; true without one."""
        return self.limit is None or self.value <= self.limit

    def with_note(self, note: str) -> Figure:
        """The same with more beside it."""
        return replace(self, note="; ".join(filter(None, (self.note, note))))
