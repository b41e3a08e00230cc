"""The kernel side, running: loaded by a child that is gone, read through what it pinned."""

from __future__ import annotations

import json
import struct
import subprocess
from collections.abc import Iterator
from contextlib import ExitStack, closing, contextmanager, suppress
from pathlib import Path
from typing import Any

from exporter import wire
from exporter.errors import KernelError
from exporter.events import HOST, ProcessKey
from exporter.kernel.bpf import Map, possible_cpus
from exporter.kernel.btf import kernel_offsets
from exporter.kernel.instances import new_instance, remove
from exporter.kernel.mounts import cgroup2_root, ensure_bpffs
from exporter.kernel.queries import Queries
from exporter.kernel.requirements import require_host
from exporter.kernel.rings import Handler, Ring, drain
from exporter.kernel.sources import bpf_directory, compiler_flags, source_text
from exporter.kernel.windows import Coverage, Windows
from exporter.limits import limit_hint

SYSTEM_PYTHON = "/usr/bin/python3"
LOADER = Path(__file__).with_name("loader.py")
RINGS = ("lineage", "first", "lookups", "events", "environments")
"""What is on a later one follows from what is on an earlier one."""
MAPS = [
    *RINGS,
    *("procs", "in_jobs", "counters", "config"),
    *("flows_even", "flows_odd", "slots", "free_slots", "others", "open_connects"),
    *("queries", "queries_noted", "queries_expired"),
]
PROGRAMS: list[dict[str, Any]] = [
    {"name": "on_newtask", "kind": "raw_tracepoint", "attach": "task_newtask"},
    # Those of one tracepoint are called in the order in which they are attached.
    {"name": "before_exec", "kind": "raw_tracepoint", "attach": "sched_process_exec"},
    {"name": "on_exec", "kind": "raw_tracepoint", "attach": "sched_process_exec"},
    {"name": "after_exec", "kind": "raw_tracepoint", "attach": "sched_process_exec"},
    {"name": "on_exit", "kind": "raw_tracepoint", "attach": "sched_process_exit"},
    {"name": "on_sys_enter", "kind": "raw_tracepoint", "attach": "sys_enter"},
    {"name": "on_signal", "kind": "raw_tracepoint", "attach": "signal_generate"},
    {
        "name": "on_uring_submit",
        "kind": "raw_tracepoint",
        "attach": "io_uring_submit_req",
        "optional": True,
    },
    # enum bpf_attach_type
    {"name": "on_connect4", "kind": "cgroup_sock_addr", "attach": 10},
    {"name": "on_connect6", "kind": "cgroup_sock_addr", "attach": 11},
    {"name": "on_sendmsg4", "kind": "cgroup_sock_addr", "attach": 14},
    {"name": "on_sendmsg6", "kind": "cgroup_sock_addr", "attach": 15},
    {"name": "on_sock_ops", "kind": "sock_ops", "attach": 3},
    {"name": "on_egress", "kind": "cgroup_skb", "attach": 1},
    {"name": "on_sock_release", "kind": "cgroup_sock", "attach": 34},
    {"name": "on_answer", "kind": "cgroup_skb", "attach": 0},
    {"name": "on_query", "kind": "cgroup_skb", "attach": 1},
]

_TIMEOUT_S = 60.0
_KEY = struct.Struct("=I")
_START = struct.Struct("=Q")
_FAILURES = {
    "import": "cannot use BCC",
    "compile": "cannot compile the programs",
    "load": "cannot load the programs",
    "attach": "cannot attach the programs",
    "pin": "cannot pin the programs",
}
_HINTS = {
    "import": "apt-get install python3-bpfcc (0.25 or newer; PyPI's bcc is another thing)",
    "compile": "run with -v for the compiler's words, and report them",
    "load": "Linux 5.15 or newer, and root or the capabilities that `ci-egress doctor` lists",
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
        """Processes that didn't fit into the table of processes: what they do is told by their ancestors."""
        return self._values[wire.KIND_FORK * wire.COUNTS + wire.COUNT_UNTRACKED]


class Tracer:
    """One instance's maps and rings; its programs run until `detach`."""

    def __init__(self, directory: Path, stack: ExitStack, coverage: Coverage) -> None:
        """Open what is pinned in `directory`; `stack` closes it again."""
        self._directory = directory
        opened = {name: stack.enter_context(closing(Map(directory / f"map_{name}"))) for name in MAPS}
        self._procs, self._counters = opened["procs"], opened["counters"]
        self._in_jobs = opened["in_jobs"]
        self._queries = Queries(opened)
        self._windows = stack.enter_context(closing(Windows(opened, coverage)))
        self._rings = [
            stack.enter_context(closing(Ring(opened[name].fileno(), opened[name].max_entries)))
            for name in RINGS
        ]

    def follow(self, process: ProcessKey, scope: int) -> None:
        """Make `process` the root of the job `scope`: from now on it and its descendants are traced."""
        self._windows.follow(scope)
        self._procs.update(_KEY.pack(process.pid), wire.PROC_VALUE.pack(process.started_ns, scope, *[0] * 5))

    def find(self, process: ProcessKey) -> None:
        """Follow `process`, which was there before the programs, as one of no job; unless it is followed."""
        self._windows.follow(HOST)
        value = wire.PROC_VALUE.pack(process.started_ns, HOST, *[0] * 5)
        self._procs.insert(_KEY.pack(process.pid), value)

    def spare(self, process: ProcessKey) -> None:
        """Don't tell any more what `process` and its descendants execute with: their job is known."""
        self._in_jobs.update(_KEY.pack(process.pid), _START.pack(process.started_ns))

    def drain(self, handle: Handler, *, limit: int) -> int:
        """Hand the finished records to `handle`, at most `limit`; returns how many there were.

        Those of what the kernel only counted come along with the last of them.
        """
        number = drain(self._rings, handle, limit=limit)
        if number < limit:
            self._windows.turn(handle)
            self._queries.turn()
        return number

    def has_counted_open(self) -> bool:
        """Whether there are connects that were only counted and whose outcome isn't known yet."""
        return self._windows.has_open()

    def counts(self) -> Counts:
        """What the kernel counted, over all CPUs."""
        indexes, cpus = wire.KINDS * wire.COUNTS, possible_cpus()
        values = []
        for index in range(indexes):
            value = self._counters.lookup(_KEY.pack(index)) or b""
            values.append(sum(struct.unpack_from(f"={cpus}Q", value)))
        return Counts(values)

    def live_pids(self, scope: int) -> list[int]:
        """Processes of the job `scope` that run now, whatever records were lost."""
        pids = []
        for key in self._procs:
            value = self._procs.lookup(key)
            if value is not None and wire.ProcValue._make(wire.PROC_VALUE.unpack(value)).scope == scope:
                pids.append(_KEY.unpack(key)[0])
        return sorted(pids)

    def detach(self) -> None:
        """Stop tracing. The rings and the counts can still be read."""
        remove(self._directory)

    def finish(self, handle: Handler) -> None:
        """Hand over the rest of what the kernel only counted. Call it once, detached and drained."""
        self._windows.finish(handle)


class Loading:
    """The kernel side, being loaded by a child; whoever waits for it can do something else meanwhile."""

    def __init__(self, stack: ExitStack, python: str) -> None:
        """Start the child; `stack` ends it. Raises KernelError."""
        self._stack = stack
        self._child = _start_loader(python)
        stack.callback(_end, self._child)
        folder = bpf_directory()
        self._directory = stack.enter_context(new_instance(ensure_bpffs()))
        stack.callback(_end, self._child)  # before the directory goes: it may still be pinning there
        request = {
            "source": source_text(folder),
            "flags": compiler_flags(folder, kernel_offsets()),
            "include": str(folder),
            "pins": str(self._directory),
            "cgroup": str(cgroup2_root()),
            "maps": MAPS,
            "programs": PROGRAMS,
        }
        assert self._child.stdin is not None  # noqa: S101 - it was made with a pipe
        with suppress(BrokenPipeError), self._child.stdin as stream:  # it couldn't import BCC, and says so
            stream.write(json.dumps(request))
        self._child.stdin = None

    def ready(self, coverage: Coverage = Coverage()) -> Tracer:  # noqa: B008 - immutable
        """Wait until every program is attached. Raises KernelError with what is missing and how to get it."""
        _answer(self._child)
        return Tracer(self._directory, self._stack, coverage)


def bcc_version(*, python: str = SYSTEM_PYTHON) -> str:
    """The version of BCC under `python`. Raises KernelError when there is none that can be used."""
    version: str = _answer(_start_loader(python, "--check"))["bcc"]
    return version


def _answer(child: subprocess.Popen[str]) -> dict[str, Any]:
    """What the loader says when it is done. Raises KernelError with what is missing and how to get it."""
    try:
        output, said = child.communicate(timeout=_TIMEOUT_S)
    except subprocess.TimeoutExpired:
        _end(child)
        raise KernelError(
            f"the programs were not loaded within {_TIMEOUT_S:.0f} s",
            hint="try again when the machine is less busy",
        ) from None
    try:
        answer: dict[str, Any] = json.loads(output)
    except ValueError:
        answer = {"error": f"the loader ended with status {child.returncode}", "stage": "load"}
    if "error" in answer:
        stage = answer["stage"]
        # What BCC raises needn't say why; what it printed does.
        hint = limit_hint(answer["error"]) or limit_hint(said) or _HINTS[stage]
        raise KernelError(f"{_FAILURES[stage]}: {answer['error']}", hint=hint, detail=said)
    return answer


def _end(child: subprocess.Popen[str]) -> None:
    child.kill()
    child.communicate()


def _start_loader(python: str, *arguments: str) -> subprocess.Popen[str]:
    # It runs as root, so nothing of the caller's environment reaches it, nor the working directory: that may
    # be deleted, or closed to this user.
    environment = {"PATH": "/usr/sbin:/usr/bin:/sbin:/bin", "LC_ALL": "C.UTF-8"}
    pipe = subprocess.PIPE
    try:
        return subprocess.Popen(  # noqa: S603 - a fixed program
            [python, "-I", str(LOADER), *arguments],
            stdin=pipe,
            stdout=pipe,
            stderr=pipe,
            env=environment,
            cwd="/",
            text=True,
        )
    except OSError as error:
        hint = limit_hint(str(error)) or "apt-get install python3"
        raise KernelError(f"cannot run {python}: {error.strerror}", hint=hint) from None


@contextmanager
def loading(*, python: str = SYSTEM_PYTHON) -> Iterator[Loading]:
    """Begin to load the programs; at the end they are detached and unpinned, and nothing of them is left.

    `python` is the one that has BCC. Raises KernelError.
    """
    require_host()
    with ExitStack() as stack:
        yield Loading(stack, python)
