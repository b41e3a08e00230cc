"""The ways that stay where tracing isn't possible: from the host, or none."""

from __future__ import annotations

from collections.abc import Collection
from pathlib import Path

VERSION = Path("/proc/version")

_OF_THE_KERNEL = frozenset({"kernel", "machine", "BTF"})
"""The names of doctor's checks that only another kernel makes succeed."""
_OF_A_CONTAINER = frozenset({"pid namespace"})
"""The names of those that fail in a container alone."""
# What gVisor says in place of a kernel; its releases before 2025 call themselves Linux 4.4.0 of this day.
_GVISOR = ("gvisor", "#1 SMP Sun Jan 10 15:06:54 PST 2016")

IN_GVISOR = (
    "no way is left here: gVisor is a kernel of its own, without eBPF, and its host doesn't see which of its "
    "processes connects; limit this sandbox by its network, or run the job without gVisor"
)
ON_ANOTHER_MACHINE = "no way is left on this machine: run the jobs on one where `ci-egress doctor` finds all"
FROM_THE_HOST = (
    "one way is left: `ci-egress watch` on the host traces and denies what jobs in its containers do, and on "
    "Kubernetes the DaemonSet (docs/how-to/self-hosted.md, docs/how-to/kubernetes.md)"
)


def remaining_way(missing: Collection[str], version: Path = VERSION) -> str:
    """Say how jobs can be traced all the same, if doctor's required checks named `missing` failed.

    Empty where nothing else is needed than their fixes. `version` is the file in which the kernel names
    itself.
    """
    if not missing:
        return ""
    if _is_gvisor(version):
        return IN_GVISOR
    if not _OF_THE_KERNEL.isdisjoint(missing):
        return ON_ANOTHER_MACHINE
    return FROM_THE_HOST if not _OF_A_CONTAINER.isdisjoint(missing) else ""


def _is_gvisor(version: Path) -> bool:
    try:
        said = version.read_text(errors="replace")
    except OSError:
        return False
    return any(sign in said for sign in _GVISOR)
