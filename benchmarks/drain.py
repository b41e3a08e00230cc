"""What an attempt that gets a span of its own costs the exporter.

What: CPU time of this process, of all its threads, for each attempt, stage after stage: the ring alone; with
decoding; with the whole pipeline (process table, spans, metrics) into a file, and to a collector by HTTP.
Once for connects alone, each of which comes as three records (the connect, its success, its end); once for
what a build does: a process is forked, executes a program, connects twice and exits.

How: a ring in memory, laid out as the kernel's and full of records like those it writes, read by the
exporter's own code. Needs no root. Nothing may get lost on the way: the account is checked.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import closing, contextmanager
from functools import partial
from itertools import count
from pathlib import Path
from typing import NamedTuple

from benchmarks.compare import middle
from benchmarks.figures import LIMITS, Figure
from benchmarks.records import build, connects, ring_of
from benchmarks.sink import collector
from benchmarks.workshop import BenchmarkError, Workshop
from exporter.common.clock import boot_ns, system_clock
from exporter.events import wire
from exporter.events.decode import Decoder
from exporter.events.facts import ProcessKey
from exporter.jobs.detect import detect
from exporter.kernel.maps.rings import Handler, Ring, drain
from exporter.otlp.environment import resolve_destinations
from exporter.otlp.telemetry import Telemetry
from exporter.pipeline.account import KernelCounts
from exporter.pipeline.assembly import assemble, begin
from exporter.pipeline.core import Pipeline
from exporter.pipeline.process_spans import ProcessSpans
from exporter.pipeline.procfs import Proc, started_ns
from exporter.pipeline.recording import Beginning
from exporter.pipeline.summary import Summary

_TIMES = 5
_ATTEMPTS = 10_000
_ATTEMPTS_QUICKLY = 500
_LIMITS_US = {("own span", "exported by HTTP"): LIMITS.own_span_us}
_QUEUE = 1 << 20
_FLUSH_TIMEOUT_S = 120
_SCOPE = 1
_JOB = {
    "GITLAB_CI": "true",
    "CI_SERVER_URL": "https://gitlab.example",
    "CI_PROJECT_PATH": "group/app",
    "CI_PROJECT_URL": "https://gitlab.example/group/app",
    "CI_PIPELINE_ID": "987",
    "CI_JOB_ID": "4321",
    "CI_JOB_NAME": "build",
    "CI_COMMIT_SHA": "0123456789abcdef0123456789abcdef01234567",
    "CI_COMMIT_REF_NAME": "main",
}


class _Input(NamedTuple):
    name: str
    root: ProcessKey
    records: Sequence[bytes]


Consume = Callable[[_Input, Ring], None]
"""Function that consumes everything that the ring holds."""


def measure(shop: Workshop) -> Iterator[Figure]:
    """Yield a figure for every stage with both inputs."""
    numbers = count()

    def new_folder() -> Path:
        return shop.folder / f"drained{next(numbers)}"

    with collector("http/protobuf") as environment:
        consumers: dict[str, Consume] = {
            "ring alone": _drain,
            "decoded": _decode,
            "exported to a file": lambda given, ring: _export(given, ring, {}, new_folder()),
            "exported by HTTP": lambda given, ring: _export(given, ring, environment, None),
        }
        for given in _inputs(_ATTEMPTS_QUICKLY if shop.is_quick else _ATTEMPTS):
            for name, consume in consumers.items():
                limit_us = _LIMITS_US.get((given.name, name))
                yield _figure(f"{given.name}, {name}", given, consume, shop.rounds(_TIMES), limit_us)


def _inputs(attempts: int) -> Iterator[_Input]:
    started = started_ns(os.getpid())
    assert started is not None
    root = ProcessKey(os.getpid(), started)
    yield _Input("own span", root, list(connects(root, attempts)))
    yield _Input("own span in a build", root, list(build(root, attempts // 2)))


def _figure(name: str, given: _Input, consume: Consume, times: int, limit_us: float | None) -> Figure:
    runs = [_cpu_us(given, consume) / _acts(given) for _ in range(times)]
    return middle(name, runs, "µs", limit=limit_us)


def _cpu_us(given: _Input, consume: Consume) -> float:
    with _ring(given.records) as ring:
        before_ns = time.process_time_ns()
        consume(given, ring)
        return (time.process_time_ns() - before_ns) / 1000


@contextmanager
def _ring(records: Sequence[bytes]) -> Iterator[Ring]:
    descriptor, size = ring_of(records)
    try:
        with closing(Ring(descriptor, size)) as ring:
            yield ring
    finally:
        os.close(descriptor)


def _drain(given: _Input, ring: Ring, handle: Handler = lambda *_: None) -> None:
    if drain([ring], handle, limit=len(given.records) + 1).number != len(given.records):
        raise BenchmarkError("the ring didn't give out what is in it")


def _decode(given: _Input, ring: Ring) -> None:
    decoder = Decoder()

    def take(data: memoryview, at: int, length: int) -> None:
        for _ in decoder.decode(data, at, length):
            pass

    _drain(given, ring, take)


def _export(given: _Input, ring: Ring, environment: Mapping[str, str], folder: Path | None) -> None:
    decoder = Decoder()
    destinations = resolve_destinations(environment, otlp_dir=folder)
    with Telemetry(destinations, {}, queue_capacity=_QUEUE) as telemetry:
        pipeline = _pipeline(given, telemetry)

        def take(data: memoryview, at: int, length: int) -> None:
            for event in decoder.decode(data, at, length):
                pipeline.handle(event)

        _drain(given, ring, take)
        pipeline.end(_SCOPE, boot_ns())
        telemetry.close(_FLUSH_TIMEOUT_S)
        if telemetry.account.exported != _acts(given):
            raise BenchmarkError(f"{telemetry.account} for {_acts(given)} attempts")


def _pipeline(given: _Input, telemetry: Telemetry) -> Pipeline:
    counts = partial(KernelCounts, _acts(given), 0)
    assembly = assemble(telemetry, counts, system_clock(), ProcessSpans.NETWORK)
    pipeline, job = assembly.pipeline(Proc()), detect(_JOB, job_env=None)
    beginning = Beginning(job, system_clock(), given.root, _SCOPE, boot_ns())
    begin(pipeline, beginning, assembly.job(beginning, Summary({})))
    return pipeline


def _acts(given: _Input) -> int:
    return sum(len(record) == wire.ACT_RECORD.size for record in given.records)
