"""The figures that a benchmark yields, and the limits that are promised for some of them."""

from __future__ import annotations

from dataclasses import dataclass, replace


@dataclass(frozen=True)
class Limits:
    """The most that tracing may cost."""

    hook_ns: float = 550
    """Time in the kernel for one connect or send, with its record and with the kernel's own metering."""
    counted_hook_ns: float = 350
    """Time in the kernel for one connect or send that is only counted."""
    connect_loop_ratio: float = 1.10
    """Time of TCP connects over loopback, with tracing ÷ without."""
    send_loop_ratio: float = 1.20
    """Time of datagrams over loopback, with tracing ÷ without."""
    own_span_us: float = 50
    """CPU time of the exporter for an attempt that gets a span of its own, sent to a collector."""
    counted_us: float = 2
    """CPU time of the exporter for an attempt that is only counted."""
    start_s: float = 0.8
    """Time from the exec of ci-egress to the exec of COMMAND, everything in the page cache."""
    exporter_mb: float = 64
    """Resident set of the exporter, in 10⁶ bytes."""
    watch_mb: float = 90
    """Resident set of `watch`, which knows every process of the host, in 10⁶ bytes."""
    soak_growth_mb: float = 3
    """Growth of the resident set of `watch` while hundreds of jobs come and go, in 10⁶ bytes."""
    redaction_us: float = 100
    """CPU time for the arguments of one exec."""
    policy_s: float = 1
    """Time of reading 10,000 rules, and of compiling them."""
    enforcing_ns: float = 50
    """Extra time of a connect where a policy is enforced, compared with one in mode audit."""
    more_rules_ns: float = 100
    """Extra time of a connect under 10,000 enforced rules, compared with 1,000."""
    answer_us: float = 5
    """Delay of a DNS answer that grants addresses."""
    flip_ms: float = 1
    """Time from `enforce on` to the next connect that is denied."""
    first_connect_us: float = 1000
    """Extra time of the 99th percentile of steps' first connects where a policy is enforced."""
    open_s: float = 1
    """Time from asking a browser for a report of 5,000 spans until it is drawn, and until a view is drawn."""
    learn_s: float = 60
    """Time of learning 100 pipelines of 1,000 runs each."""
    learn_mb: float = 250
    """Resident set of the largest process that learns, in 10⁶ bytes."""
    live_ratio: float = 1.05
    """Time of connects with --live on a terminal ÷ without it, traced both times."""
    build_ratio: float = 1.02
    """Time of a build and its CPU time, with tracing ÷ without."""
    beside_ratio: float = 1.05
    """Time of a build beside a flood of the same job, with tracing ÷ without."""
    bulk_ratio: float = 1.02
    """Time of a download, with tracing ÷ without."""
    untold: float = 1
    """The number of processes, of 10,000 that live less than a millisecond, that lack an exact span."""


LIMITS = Limits()


@dataclass(frozen=True)
class Figure:
    """One line of the table."""

    name: str
    value: float
    unit: str
    """`×` for a ratio."""
    note: str = ""
    """The text beside it: spread, control, circumstances."""
    limit: float | None = None
    """The most it may be, in the same unit; None where nothing is promised."""

    @property
    def is_kept(self) -> bool:
        """Whether the limit is kept; True without one."""
        return self.limit is None or self.value <= self.limit

    def with_note(self, note: str) -> Figure:
        """Return the figure with `note` behind its own note."""
        return replace(self, note="; ".join(filter(None, (self.note, note))))
