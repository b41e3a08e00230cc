"""The parts of the kernel's time: what each thing that the programs do costs on this machine.

What: nanoseconds of one run of a program that does one thing, at the hook for connects, beside one that does
nothing. All figures include the kernel's metering. They explain the figures of `kernel`, which are sums of
several, and differ between machines by a factor of three.

How: all programs at the same hook, metered by the kernel over the same connects.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack

from benchmarks.compare import middle
from benchmarks.figures import Figure
from benchmarks.meter import Program, Runs, bytecode_of, metering
from benchmarks.workshop import Workshop
from exporter.kernel.instances.loading import attach, load
from exporter.kernel.mounts import ensure_bpffs
from exporter.kernel.pins import remove
from exporter.kernel.programs.kinds import Hook
from exporter.kernel.programs.objects import AttachType, ProgramType

_BATCHES = 9
_CONNECTS = 4_000
_SOURCE = """
#include "egress.h"
struct wide { u64 words[12]; };
BPF_HASH(narrow, u32, u64, 1024);
BPF_HASH(by_wide, struct flow_key, u64, 1024);
BPF_HASH(coming, u64, struct wide, 1024);
BPF_RINGBUF_OUTPUT(ring, 64);
static u64 (*cookie_of)(void *) = (void *)BPF_FUNC_get_socket_cookie;
static long (*read_kernel)(void *, u32, const void *) = (void *)BPF_FUNC_probe_read_kernel;
"""
_PROGRAMS = {
    "nothing": "",
    "a lookup by pid": "u32 pid = bpf_get_current_pid_tgid() >> 32; narrow.lookup(&pid);",
    "a lookup by a flow's key": "struct flow_key key = {}; by_wide.lookup(&key);",
    "an insert and a delete": "struct wide value = {}; u64 key = cookie_of(ctx); "
    "coming.insert(&key, &value); coming.delete(&key);",
    "the socket's cookie": "cookie_of(ctx);",
    "the time": "bpf_ktime_get_boot_ns();",
    "two reads of the kernel's memory": "u64 task = bpf_get_current_task(), value; "
    "read_kernel(&value, 8, (void *)task); read_kernel(&value, 8, (void *)task);",
    "a record of a ring": "struct act_record *record = ring.ringbuf_reserve(sizeof(*record)); "
    "if (record) ring.ringbuf_discard(record, BPF_RB_NO_WAKEUP);",
}


def measure(shop: Workshop) -> Iterator[Figure]:
    """Yield one figure for each thing."""
    names = {what: f"does_{number}" for number, what in enumerate(_PROGRAMS)}
    bodies = [
        f"int {names[what]}(struct bpf_sock_addr *ctx)\n{{\n{body}\nreturn 1;\n}}\n"
        for what, body in _PROGRAMS.items()
    ]
    hooks = [Hook(name, ProgramType.CGROUP_SOCK_ADDR, AttachType.INET4_CONNECT) for name in names.values()]
    pins = ensure_bpffs() / "ci-egress-benchmark"
    pins.mkdir(mode=0o700)
    try:
        with ExitStack() as stack:
            attach(load(bytecode_of(_SOURCE + "".join(bodies)), hooks, stack), pins)
        programs = {what: Program(pins / f"link_{name}") for what, name in names.items()}
        yield from _figures(shop, programs)
    finally:
        remove(pins)


def _figures(shop: Workshop, programs: dict[str, Program]) -> Iterator[Figure]:
    batches: dict[str, list[Runs]] = {what: [] for what in programs}
    with metering(), shop.load("connect") as connects:
        connects.do(_CONNECTS)  # warms up
        for _ in range(shop.rounds(_BATCHES)):
            before = {what: program.runs() for what, program in programs.items()}
            connects.do(_CONNECTS)
            for what, program in programs.items():
                batches[what].append(program.runs().since(before[what]))
    for what, runs in batches.items():
        yield middle(f"kernel, {what}", [one.time_ns / one.times for one in runs], "ns")
