"""What is remembered of programs that are over is bounded, whatever their arguments."""

from __future__ import annotations

import gc
import time
from collections.abc import Iterator
from pathlib import Path
from weakref import WeakSet

import pytest

from exporter.events.arguments import arguments_of
from exporter.events.facts import Act, Event, Exited, Forked, ProcessKey
from exporter.events.programs import Program
from exporter.otlp.attributes import Layer
from exporter.pipeline.process_spans import ProcessSpans
from exporter.pipeline.processes import ENDED_MAX_BYTES, EndedPrograms, ProcessTable
from exporter.pipeline.spans import Spans
from tests.unit.pipelines import ROOT, NothingKnown, run
from tests.unit.records import ACT, EXEC
from tests.unit.samples import CLOCK, JOB, RESOURCE

MIB = 1 << 20
PROGRAMS = 5000


def ended(number: int, arguments_bytes: int, parent: Program | None = None) -> Program:
    arguments = parent.arguments if parent else arguments_of(["x" * (arguments_bytes - 1)])
    process = ProcessKey(number, number)
    return Program(process, 0, 1, parent, 1, 1, "/bin/x", arguments, ended_ns=2)


def test_programs_that_are_over_are_remembered_until_their_arguments_are_too_long_together() -> None:
    remembered = EndedPrograms()
    for number in range(PROGRAMS):
        remembered.add(ended(number, MIB))
    assert len(remembered) == ENDED_MAX_BYTES // MIB
    assert remembered.get(ProcessKey(PROGRAMS - 1, PROGRAMS - 1), 0) is not None
    assert remembered.get(ProcessKey(0, 0), 0) is None


def test_arguments_that_a_fork_shares_with_its_creator_count_once() -> None:
    remembered = EndedPrograms()
    creator = ended(1, MIB)
    for number in range(2, 102):
        remembered.add(ended(number, MIB, creator))
    assert len(remembered) == 100


def test_long_arguments_of_many_programs_do_not_pile_up() -> None:
    made = Spans(JOB, RESOURCE, CLOCK)
    kept: WeakSet[Program] = WeakSet()
    layers: WeakSet[Layer] = WeakSet()

    def tell(over: Program) -> None:
        if over.has_egress:
            layers.add(made.program(over).attributes.layers[0])
            made.ended(over)

    table = ProcessTable(NothingKnown(), on_end=tell)
    table.seed(ROOT, 1, 1)
    creator, exec_id = ROOT, 0
    for depth in range(20):
        child = ProcessKey(100 + depth, 1000 + depth)
        execute(table, child, creator, exec_id, "b" * 8000)
        creator, exec_id = child, 1
    gc.disable()  # nothing waits for the collector of cycles
    try:
        for number in range(PROGRAMS):
            child = ProcessKey(1000 + number, 10_000 + number)
            kept.add(execute(table, child, creator, exec_id, f"{number} ".ljust(30_000, "a")))
            if number % 4 == 0:  # what is redacted and told takes its time
                table.acted(ACT._replace(process=child, exec_id=1)).has_egress = True
            table.exited(Exited(child.started_ns + 9, child, 0))
    finally:
        gc.enable()
    kept_bytes = sum(program.arguments.size_bytes for program in kept)
    assert ENDED_MAX_BYTES // 2 < kept_bytes < 2 * ENDED_MAX_BYTES
    assert 0 < len(layers) < 100


def execute(
    table: ProcessTable, child: ProcessKey, creator: ProcessKey, exec_id: int, argument: str
) -> Program:
    table.forked(Forked(child.started_ns, child, creator, exec_id, creator.pid, 1))
    arguments = arguments_of(["x", argument])
    at_ns = child.started_ns + 1
    return table.execed(EXEC._replace(at_ns=at_ns, process=child, exec_id=1, arguments=arguments))


@pytest.mark.parametrize("process_spans", list(ProcessSpans))
def test_what_the_spans_of_a_program_share_goes_soon_after_its_end(
    tmp_path: Path, process_spans: ProcessSpans
) -> None:
    """With the program itself remembered, and whatever spans there are of it."""
    gc.collect()
    before = count_layers()

    def lives() -> Iterator[Event]:
        for number in range(2000):
            child = ProcessKey(1000 + number, 10_000 + number)
            yield Forked(child.started_ns, child, ROOT, 0, ROOT.pid, 1)
            yield EXEC._replace(at_ns=child.started_ns + 1, process=child, exec_id=1)
            yield ACT._replace(at_ns=child.started_ns + 2, process=child, exec_id=1, act=Act.SEND)
            yield Exited(child.started_ns + 9, child, 0)
        deadline_s = time.monotonic() + 60
        while count_layers() - before > 700:  # a batch of 512 spans may wait to go out
            assert time.monotonic() < deadline_s
            time.sleep(0.05)

    account = run(lives(), tmp_path, process_spans=process_spans)
    assert account.exported == 2000


def count_layers() -> int:
    return sum(isinstance(each, Layer) for each in gc.get_objects())
