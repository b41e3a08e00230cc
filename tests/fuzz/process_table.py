"""The process table, beside a model of the kernel: what happened in truth, and what is told of it."""

from __future__ import annotations

from exporter.events.facts import Acted, Aggregated, Event, Execed, Exited, Forked
from exporter.events.programs import CHAIN_MAX, DEPTH_MAX, Program
from exporter.pipeline.processes import ENDED_MAX, ProcessTable
from tests.fuzz.draw import Draw
from tests.fuzz.histories import PIDS, ROOT, SCOPE, Kernel, disordered
from tests.unit.pipelines import NothingKnown


def check(draw: Draw) -> None:
    """A history as it was; with losses; or with losses, disorder and events of nobody."""
    kernel = Kernel(draw)
    for _ in range(4 + draw.length(76)):
        kernel.step()
    way = draw.randrange(3)
    told = kernel.told if way == 0 else [each for each in kernel.told if draw.chance(0.8)]
    if way == 2:
        told = disordered(draw, told)
    ended: list[Program] = []
    table = ProcessTable(NothingKnown(), ended.append)
    table.seed(ROOT, SCOPE, 1).path = "/bin/root"
    for event, chain in told:
        program = _fed(table, event)
        if program is not None:
            _is_sound(program, event)
            if way == 0:
                assert _names(program) == chain[-CHAIN_MAX:], (_names(program), chain)
            elif way == 1:
                _is_part_of_the_truth(program, chain)
        _is_bounded(table)
    table.end_all({SCOPE}, 1 << 40)
    assert not table.live({SCOPE})
    assert len(ended) == len({id(program) for program in ended}), "a program ended twice"
    assert all(program.ended_ns is not None for program in ended)


def _fed(table: ProcessTable, event: Event) -> Program | None:
    """The program that acted; None for what is no act."""
    match event:
        case Forked():
            assert table.forked(event).process == event.process
        case Execed():
            assert table.execed(event) is table.of(event.process)
        case Exited():
            table.exited(event)
            assert table.of(event.process) is None
        case Acted() | Aggregated():
            return table.acted(event)
        case _:
            pass
    return None


def _is_sound(program: Program, event: Event) -> None:
    assert isinstance(event, Acted | Aggregated)
    assert program.process == event.process, "another process's program"
    assert program.exec_id >= event.exec_id
    seen: set[int] = set()
    above: Program | None = program
    while above is not None:
        assert id(above) not in seen, "its own ancestor"
        seen.add(id(above))
        above = above.parent
    assert len(seen) <= DEPTH_MAX + 1
    assert len(program.chain) <= CHAIN_MAX
    assert program.chain[-1] is program


def _is_part_of_the_truth(program: Program, chain: tuple[str, ...]) -> None:
    """With records lost it may end early, and holds no stranger; what is unknown has no name."""
    truth = iter(chain)
    known = [name for name in _names(program) if name is not None]
    assert all(name in truth for name in known), (_names(program), chain)
    assert program.name in {chain[-1], None}, "another program than the one that acted"


def _names(program: Program) -> tuple[str | None, ...]:
    return tuple(above.name for above in program.chain)


def _is_bounded(table: ProcessTable) -> None:
    assert len(table._programs) <= PIDS
    assert len(table._ended) <= ENDED_MAX
    assert all(program.process.pid == pid for pid, program in table._programs.items())
    assert all(program.ended_ns is None for program in table._programs.values())
