"""The time of each program in the kernel, by the kernel's own count.

What: nanoseconds of one run of each program, for a process of a job (with the record that it writes, and for
repeats that are only counted) and for a process of no job (one lookup). The metering costs something itself:
a program that does nothing, attached and metered in the same way, shows how much.

How: time ÷ runs of this instance's programs over a batch of acts, the median of the batches. The programs run
for every process of the machine, so where it isn't quiet the runs for others mix in, which the note says.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

from benchmarks.compare import middle
from benchmarks.figures import LIMITS, Figure
from benchmarks.meter import Program, Runs, metering, program_that_does_nothing
from benchmarks.workshop import BenchmarkError, Workshop
from exporter.events.facts import ProcessKey
from exporter.kernel.compilation.uses import ALL_USES, Uses
from exporter.kernel.instances.loading import loading
from exporter.kernel.maps.windows import WINDOW_S
from exporter.kernel.mounts import ensure_bpffs
from exporter.kernel.tracer import Tracer
from exporter.pipeline.procfs import started_ns

_BATCHES = 9
_LIMITS_NS = {
    "connect, with a record": LIMITS.hook_ns,
    "connect, counted": LIMITS.counted_hook_ns,
    "send, with a record": LIMITS.hook_ns,
    "send, counted": LIMITS.counted_hook_ns,
}
_TOLD, _NEXT_WINDOW_S = 30, 2 * WINDOW_S + 0.1
_TOLERATED_STRANGERS = 0.02
_DRAINED_AT_ONCE = 10_000
_DRAIN_PAUSE_S = 0.005


class _Kind(NamedTuple):
    """A load, and the programs that one of its acts makes run once each."""

    load: tuple[str, ...]
    acts: int
    """The number of acts in a batch."""
    programs: Mapping[str, str]
    """The programs, by the name of the act in figures."""
    pause_s: float = 0
    """Seconds to wait before each batch."""


_KINDS = (
    # The first acts of a window have a record each, the others are counted.
    _Kind(("connect",), _TOLD, {"connect, with a record": "on_connect4"}, _NEXT_WINDOW_S),
    _Kind(("connect",), 4_000, {"connect, counted": "on_connect4"}),
    _Kind(("send",), _TOLD, {"send, with a record": "on_sendmsg4"}, _NEXT_WINDOW_S),
    _Kind(("send",), 4_000, {"send, counted": "on_sendmsg4"}),
    _Kind(("spawn", "/bin/true"), 400, {"fork": "on_fork", "exec": "on_exec", "exit": "on_exit"}),
)

_OUTSIDE = (
    _Kind(("connect",), 4_000, {"connect": "on_connect4"}),
    _Kind(("send",), 4_000, {"send": "on_sendmsg4"}),
    _KINDS[-1],
)


def measure(shop: Workshop) -> Iterator[Figure]:
    """Yield a figure for each program and case."""
    with metering():
        with program_that_does_nothing() as nothing:
            kind = _KINDS[0]._replace(programs={"a program that does nothing": "on_nothing"})
            yield from _figures(shop, kind, {"on_nothing": nothing}, None)
        with tracing() as (tracer, programs):
            for kind in _KINDS:
                yield from _figures(shop, kind, programs, tracer)
            for kind in _OUTSIDE:
                yield from _figures(shop, kind, programs, None)


@contextmanager
def tracing(uses: Uses = ALL_USES) -> Iterator[tuple[Tracer, dict[str, Program]]]:
    """Attach all programs; yield the tracer, and the programs by name, to be metered.

    The rings are emptied on a timer, as by the exporter.
    """
    home = ensure_bpffs() / "ci-egress"
    before = _instances(home)
    with loading(uses=uses) as kernel:
        (pins,) = _instances(home) - before
        tracer = kernel.ready()
        with _draining(tracer):
            links = sorted(pins.glob("link_*"))
            yield tracer, {link.name.removeprefix("link_"): Program(link) for link in links}


def _instances(home: Path) -> set[Path]:
    return set(home.iterdir()) if home.exists() else set()


@contextmanager
def _draining(tracer: Tracer) -> Iterator[None]:
    is_over = threading.Event()

    def drain() -> None:
        while not is_over.wait(_DRAIN_PAUSE_S):
            tracer.drain(lambda *_: None, limit=_DRAINED_AT_ONCE)

    thread = threading.Thread(target=drain)
    thread.start()
    try:
        yield
    finally:
        is_over.set()
        thread.join()


def _figures(
    shop: Workshop, kind: _Kind, programs: Mapping[str, Program], tracer: Tracer | None
) -> Iterator[Figure]:
    """Measure a process, which is of a job if there is a `tracer` to follow it."""
    used = {act: programs[name] for act, name in kind.programs.items()}
    batches: dict[str, list[Runs]] = {act: [] for act in used}
    with shop.load(*kind.load) as load:
        if tracer:
            tracer.processes.follow(key_of(load.process.pid), scope=1)
        load.do(kind.acts)  # warms up
        for _ in range(shop.rounds(_BATCHES)):
            time.sleep(kind.pause_s)
            before = {act: program.runs() for act, program in used.items()}
            load.do(kind.acts)
            for act, program in used.items():
                batches[act].append(program.runs().since(before[act]))
    where = ", in a job" if tracer else "" if "on_nothing" in programs else ", outside"
    for act, runs in batches.items():
        yield _figure(f"kernel, {act}{where}", runs, kind.acts, _LIMITS_NS.get(act) if tracer else None)


def _figure(name: str, batches: list[Runs], acts: int, limit_ns: float | None) -> Figure:
    figure = middle(name, [runs.time_ns / runs.times for runs in batches], "ns", limit=limit_ns)
    strangers = sum(runs.times for runs in batches) / (acts * len(batches)) - 1
    if strangers > _TOLERATED_STRANGERS:
        return figure.with_note(f"{strangers:.0%} more runs for other processes")
    return figure


def key_of(pid: int) -> ProcessKey:
    """Return the key of a process that runs. Raises BenchmarkError when it doesn't run."""
    started = started_ns(pid)
    if started is None:
        raise BenchmarkError(f"/proc doesn't show process {pid}")
    return ProcessKey(pid, started)
