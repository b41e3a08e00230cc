"""What a benchmark gives: figures, some with a limit; and what is promised."""

from __future__ import annotations

from dataclasses import dataclass, replace


@dataclass(frozen=True)
class Limits:
    """What tracing may cost."""

    hook_ns: float = 600
    """Of one connect, one send: in the kernel, the event included, and the kernel's own metering."""
    connect_loop_ratio: float = 1.05
    """Time of connects over loopback, with tracing ÷ without."""
    start_s: float = 0.7
    """From the exec of ci-egress to that of COMMAND, everything in the page cache."""
    exporter_mb: float = 80
    """Resident set, in 10⁶ bytes."""
    watch_mb: float = 90
    """The same of `watch`, which knows every process of the host, in 10⁶ bytes."""
    soak_growth_mb: float = 3
    """What the resident set grows by while hundreds of jobs come and go, in 10⁶ bytes."""
    redaction_us: float = 100
    """CPU time for the arguments of one exec."""
    build_ratio: float = 1.03
    """Time of a build, with tracing ÷ without."""


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
