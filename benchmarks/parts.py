"""The kernel's part of the loops of `connect`, by program: how often an act runs each, and for how long.

What: nanoseconds of each program for one connect or one datagram of a process in a job, without a policy and
under one that is enforced and allows it. Most acts are counted, not recorded. A program that takes less than
10 ns of an act is left out. Each run includes the kernel's metering: the figure of `kernel` for a program
that does nothing. The kernel's own path to a program isn't in it, which at `sys_enter` is nearly everything.

How: the time of each program ÷ acts over batches of a loop, the median of the batches. As in `kernel`, runs
for other processes of the machine are in it.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from statistics import median

from benchmarks.compare import middle
from benchmarks.figures import Figure
from benchmarks.kernel import key_of, tracing
from benchmarks.meter import Program, Runs, metering
from benchmarks.workshop import Load, Workshop, hold_to
from exporter.jobs.claims import named
from exporter.kernel.compilation.uses import Uses
from exporter.policy.compile import Compiled, compile_policy
from exporter.policy.parse import parse_policy
from exporter.policy.sections import effective

_BATCHES = 9
_LOOPS = {"connect": 4_000, "send": 6_000}
_LEAST_NS = 10
_SCOPE = 1
_EVERYTHING = b'version: 1\nmode: enforce\nallow: ["any://0.0.0.0/0"]\n'


def measure(shop: Workshop) -> Iterator[Figure]:
    """Yield, for each loop, a figure for each program, the longest first, and their sum."""
    with metering():
        for has_policy in (False, True):
            with tracing(Uses(policies=has_policy)) as (tracer, programs):
                if has_policy:
                    hold_to(tracer, _SCOPE, _everything_allowed())
                for verb, acts in _LOOPS.items():
                    with shop.load(verb) as load:
                        tracer.processes.follow(key_of(load.process.pid), _SCOPE)
                        load.do(acts)  # warms up
                        batches = [_batch(programs, load, acts) for _ in range(shop.rounds(_BATCHES))]
                    yield from _figures(f"{verb}{', a policy' if has_policy else ''}", batches, acts)


def _batch(programs: Mapping[str, Program], load: Load, acts: int) -> Mapping[str, Runs]:
    before = {name: program.runs() for name, program in programs.items()}
    load.do(acts)
    return {name: program.runs().since(before[name]) for name, program in programs.items()}


def _figures(loop: str, batches: Sequence[Mapping[str, Runs]], acts: int) -> Iterator[Figure]:
    figures = []
    for name in batches[0]:
        times = median(batch[name].times for batch in batches) / acts
        figure = middle(f"{loop}: {name}", [batch[name].time_ns / acts for batch in batches], "ns")
        figures.append(figure.with_note(f"{times:.1f} runs"))
    yield from sorted((each for each in figures if each.value >= _LEAST_NS), key=lambda each: -each.value)
    yield middle(
        f"{loop}: all programs",
        [sum(runs.time_ns for runs in batch.values()) / acts for batch in batches],
        "ns",
    )


def _everything_allowed() -> Compiled:
    return compile_policy(effective(parse_policy(_EVERYTHING, "everything.yaml"), named("release", "build")))
