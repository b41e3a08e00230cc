"""The kernel's own count of its programs' runs and time: kernel.bpf_stats_enabled, read with bpftool."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any, NamedTuple

from exporter.kernel.compilation.bytecode import Bytecode, BytecodeObject
from exporter.kernel.compilation.compiling import Request, system_compiler
from exporter.kernel.compilation.sources import bpf_directory
from exporter.kernel.instances.loading import attach, load
from exporter.kernel.mounts import ensure_bpffs
from exporter.kernel.pins import remove
from exporter.kernel.programs.kinds import Hook
from exporter.kernel.programs.objects import AttachType, ProgramType

_SWITCH = Path("/proc/sys/kernel/bpf_stats_enabled")
_NOTHING = "int on_nothing(struct bpf_sock_addr *ctx)\n{\n\treturn 1;\n}\n"
_HOOK = Hook("on_nothing", ProgramType.CGROUP_SOCK_ADDR, AttachType.INET4_CONNECT)


class Runs(NamedTuple):
    """The runs of a program so far, or between two readings, and the time that they took."""

    time_ns: int
    times: int

    def since(self, before: Runs) -> Runs:
        """Return the runs that were added since `before`."""
        return Runs(self.time_ns - before.time_ns, self.times - before.times)


@contextmanager
def metering() -> Iterator[None]:
    """Make the kernel meter its programs during the block."""
    before = _SWITCH.read_text()
    _SWITCH.write_text("1")
    try:
        yield
    finally:
        _SWITCH.write_text(before)


class Program:
    """A loaded program, found by the pin of its link."""

    def __init__(self, link: Path) -> None:
        """`link` is the path at which the link is pinned."""
        self._id = str(_bpftool("link", "show", "pinned", str(link))["prog_id"])

    def runs(self) -> Runs:
        """Return its runs since it was loaded, as far as they were metered."""
        shown = _bpftool("prog", "show", "id", self._id)
        return Runs(shown.get("run_time_ns", 0), shown.get("run_cnt", 0))


def _bpftool(*arguments: str) -> dict[str, Any]:
    done = subprocess.run(["bpftool", "--json", *arguments], capture_output=True, text=True, check=True)
    found: dict[str, Any] = json.loads(done.stdout)
    return found


def bytecode_of(source: str) -> Bytecode:
    """Compile programs that read no member of the kernel's structs. Raises KernelError."""
    folder = bpf_directory()
    answer = system_compiler().compile(Request(source, [f"-I{folder}"], folder))
    return BytecodeObject.of(answer, source="", placeholders={}).fitted({})


@contextmanager
def program_that_does_nothing() -> Iterator[Program]:
    """Attach a program that does nothing to the hook for IPv4 connects, as the real ones are."""
    pins = ensure_bpffs() / "ci-egress-benchmark"
    pins.mkdir(mode=0o700)
    try:
        with ExitStack() as stack:
            attach(load(bytecode_of(_NOTHING), [_HOOK], stack), pins)
        yield Program(pins / "link_on_nothing")
    finally:
        remove(pins)
