"""Limits that a job shares with the exporter: cgroups with one, of whichever version the machine has."""

from __future__ import annotations

import os
import signal
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from .running_exporter import wait_for

if TYPE_CHECKING:
    from collections.abc import Iterator

_LIMITS = {"pids": ("pids.max", "pids.max"), "memory": ("memory.max", "memory.limit_in_bytes")}
_USED = {"pids": ("pids.current", "pids.current"), "memory": ("memory.current", "memory.usage_in_bytes")}
"""Files of cgroup v2, and of v1."""


@dataclass(frozen=True)
class Limited:
    """A cgroup that has a limit."""

    path: Path
    controller: str
    is_v2: bool

    @property
    def under(self) -> list[str]:
        """What puts a command there, and becomes it."""
        return ["sh", "-c", f'echo $$ > {self.path}/cgroup.procs && exec "$@"', "sh"]

    def leave_room(self, more: int) -> None:
        """From now on, let it have no more than this beside what it has."""
        self._file(_LIMITS).write_text(str(int(self._file(_USED).read_text()) + more))

    def lift(self) -> None:
        """Take the limit away."""
        self._file(_LIMITS).write_text("max" if self.is_v2 or self.controller == "pids" else "-1")

    def is_ended(self) -> bool:
        """Whether nothing is left there; what is, is killed."""
        pids = (self.path / "cgroup.procs").read_text().split()
        for pid in pids:
            with suppress(ProcessLookupError):
                os.kill(int(pid), signal.SIGKILL)
        return not pids

    def _file(self, names: dict[str, tuple[str, str]]) -> Path:
        return self.path / names[self.controller][0 if self.is_v2 else 1]


@contextmanager
def limited(controller: str) -> Iterator[Limited]:
    """Make one, without processes and limit; it is removed when what is left of them is killed."""
    root, is_v2 = _hierarchy(controller)
    if is_v2:
        (root / "cgroup.subtree_control").write_text(f"+{controller}")
    made = Limited(root / f"test-{controller}-{os.getpid()}", controller, is_v2)
    made.path.mkdir()
    try:
        yield made
    finally:
        wait_for(made.is_ended)
        made.path.rmdir()


def _hierarchy(controller: str) -> tuple[Path, bool]:
    """Where it is mounted, and whether that is cgroup v2."""
    mounts = [line.split() for line in Path("/proc/mounts").read_text().splitlines()]
    for _, place, kind, options, *_ in mounts:
        if kind == "cgroup" and controller in options.split(","):
            return Path(place), False
    (root,) = {Path(place) for _, place, kind, *_ in mounts if kind == "cgroup2"}
    return root, True
