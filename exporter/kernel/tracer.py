"""The kernel side, running: loaded by a child that is gone, read through what it pinned."""

from __future__ import annotations

import json
import os
import struct
import subprocess
from collections.abc import Iterator
from contextlib import ExitStack, closing, contextmanager
from pathlib import Path
from typing import Any

from exporter import wire
from exporter.clock import boot_ns
from exporter.errors import KernelError
from exporter.events import ProcessKey
from exporter.kernel.bpf import Map, possible_cpus
from exporter.kernel.btf import kernel_offsets
from exporter.kernel.instances import new_instance
from exporter.kernel.mounts import cgroup2_root, ensure_bpffs
from exporter.kernel.rings import Handler, Ring
from exporter.kernel.sources import bpf_directory, compiler_flags, source_text

SYSTEM_PYTHON = "/usr/bin/python3"
LOADER = Path(__file__).with_name("loader.py")
MAPS = ["events", "procs", "counters", "config"]
PROGRAMS: list[dict[str, Any]] = [
    {"name": "on_newtask", "kind": "raw_tracepoint", "attach": "task_newtask"},
    {"name": "on_exec", "kind": "raw_tracepoint", "attach": "sched_process_exec"},
    {"name": "on_exit", "kind": "raw_tracepoint", "attach": "sched_process_exit"},
    # enum bpf_attach_type
    {"name": "on_connect4", "kind": "cgroup_sock_addr", "attach": 10},
    {"name": "on_connect6", "kind": "cgroup_sock_addr", "attach": 11},
    {"name": "on_sendmsg4", "kind": "cgroup_sock_addr", "attach": 14},
    {"name": "on_sendmsg6", "kind": "cgroup_sock_addr", "attach": 15},
]

_KEY = struct.Struct("=I")
_HINTS = {
    "import": "apt-get install python3-bpfcc (0.25 or newer; PyPI's bcc is another thing)",
    "compile": "run with -v for the compiler's words, and report them",
    "load": "Linux 5.15 or newer and root (or the capabilities that `ci-egress doctor` lists); -v for the verifier's words",
    "attach": "run as root, or with the capabilities that `ci-egress doctor` lists",
    "pin": "see that bpffs is mounted read-write at /sys/fs/bpf",
}


class Counts:
    """What the kernel counted so far, by kind of record (wire.KIND_*)."""

    def __init__(self, values: list[int]) -> None:
        """`values` in the order of the counters map."""
        self._values = values

    def seen(self, kind: int) -> int:
        """How often it happened in a job."""
        return self._values[kind * wire.COUNTS + wire.COUNT_SEEN]

    def lost(self, kind: int) -> int:
        """How often the ring had no room for its record."""
        return self._values[kind * wire.COUNTS + wire.COUNT_LOST]

    def untracked(self) -> int:
        """Processes that didn't fit into the table of processes: neither they nor theirs are traced."""
        return self._values[wire.KIND_FORK * wire.COUNTS + wire.COUNT_UNTRACKED]


class Tracer:
    """One instance's maps and ring."""

    def __init__(self, directory: Path, stack: ExitStack) -> None:
        """Open what is pinned in `directory`; `stack` closes it again."""
        self.directory = directory
        self.bcc_version = ""
        opened = {name: stack.enter_context(closing(Map(directory / f"map_{name}"))) for name in MAPS}
        self._procs, self._counters, self._config = opened["procs"], opened["counters"], opened["config"]
        self._config.update(_KEY.pack(0), wire.CONFIG_VALUE.pack(wire.LAYOUT, 0))
        self._ring = stack.enter_context(closing(Ring(opened["events"].fileno(), opened["events"].max_entries)))

    def follow(self, pid: int, scope: int) -> ProcessKey:
        """Make `pid` the root of the job `scope`: from now on it and its descendants are traced."""
        key = ProcessKey(pid, boot_ns())
        self._procs.update(_KEY.pack(pid), wire.PROC_VALUE.pack(key.started_ns, scope, 0))
        return key

    def drain(self, handle: Handler, *, limit: int = 65536) -> int:
        """Hand the finished records to `handle`, at most `limit`; returns how many there were."""
        return self._ring.drain(handle, limit=limit)

    def counts(self) -> Counts:
        """What the kernel counted, over all CPUs."""
        indexes, cpus = wire.KINDS * wire.COUNTS, possible_cpus()
        values = []
        for index in range(indexes):
            value = self._counters.lookup(_KEY.pack(index)) or b""
            values.append(sum(struct.unpack_from(f"={cpus}Q", value)))
        return Counts(values)

    def live_pids(self) -> list[int]:
        """Processes of any job that are there now."""
        return sorted(_KEY.unpack(key)[0] for key in self._procs.keys())


class Loader:
    """The child that compiles. Started first, since importing BCC takes it longer than we need to ask."""

    def __init__(self, python: str = SYSTEM_PYTHON) -> None:
        """Start it. Raises KernelError when that Python isn't there."""
        # The child is root's: nothing of the caller's environment reaches it but a place for temporary files.
        environment = {"PATH": "/usr/sbin:/usr/bin:/sbin:/bin", "LC_ALL": "C.UTF-8"}
        pipe = subprocess.PIPE
        try:
            self._child = subprocess.Popen(  # noqa: S603
                [python, "-I", str(LOADER)], stdin=pipe, stdout=pipe, stderr=pipe, env=environment, text=True
            )
        except OSError as error:
            raise KernelError(f"cannot run {python}: {error.strerror}", hint="apt-get install python3") from None

    def __enter__(self) -> Loader:
        """The child is running."""
        return self

    def __exit__(self, *_: object) -> None:
        """It is gone, whatever it was doing."""
        self._child.kill()
        self._child.communicate()

    def load(self, request: dict[str, Any]) -> dict[str, Any]:
        """Have `request` (see loader.py) done; returns the manifest. Raises KernelError."""
        output, said = self._child.communicate(json.dumps(request))
        try:
            answer: dict[str, Any] = json.loads(output)
        except ValueError:
            answer = {"error": f"exit status {self._child.returncode}", "stage": "compile"}
        if "error" in answer:
            stage = answer["stage"]
            raise KernelError(f"cannot {stage} the programs: {answer['error']}", hint=_HINTS[stage], detail=said)
        return answer


@contextmanager
def start_tracer(loader: Loader) -> Iterator[Tracer]:
    """Load, attach, and open; at the end everything is detached and unpinned.

    Raises KernelError with what is missing and how to get it; nothing stays attached then.
    """
    folder = bpf_directory()
    with ExitStack() as stack:
        directory = stack.enter_context(new_instance(ensure_bpffs()))
        manifest = loader.load(
            {
                "source": source_text(folder),
                "flags": compiler_flags(folder, kernel_offsets()),
                "include": str(folder),
                "pins": str(directory),
                "cgroup": os.fspath(cgroup2_root()),
                "maps": MAPS,
                "programs": PROGRAMS,
            }
        )
        tracer = Tracer(directory, stack)
        tracer.bcc_version = manifest["bcc"]
        yield tracer
