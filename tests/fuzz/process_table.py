"""The process table, beside a model of the kernel: what happened in truth, and what is told of it."""

from __future__ import annotations

from collections.abc import Callable

from exporter.events.facts import Acted, Aggregated, Event, Execed, Exited, Forked, Tampered
from exporter.events.programs import CHAIN_MAX, DEPTH_MAX, Program
from exporter.pipeline.processes import ENDED_MAX, ProcessTable
from tests.fuzz.draw import Draw
from tests.fuzz.histories import PIDS, ROOT, SCOPE, Kernel, Told, disordered
from tests.unit.pipelines import NothingKnown


def check(draw: Draw) -> None:
    """A history as it was; with losses; or with losses, disorder and events of nobody."""
    draw.choice((complete, with_losses, in_disorder))(draw)


def complete(draw: Draw) -> None:
    """Every act has its true chain."""
    _fed_all(_history(draw), _is_the_truth)


def with_losses(draw: Draw) -> None:
    """A chain may end early, but holds no stranger."""
    _fed_all(_lossy(draw), _is_part_of_the_truth)


def in_disorder(draw: Draw) -> None:
    """An event finds its own process, and the table stays small."""
    _fed_all(disordered(draw, _lossy(draw)), lambda _program, _chain: None)


def _history(draw: Draw) -> list[Told]:
    kernel = Kernel(draw)
    for _ in range(4 + draw.length(76)):
        kernel.step()
    return kernel.told


def _lossy(draw: Draw) -> list[Told]:
    return [each for each in _history(draw) if draw.chance(0.8)]


def _fed_all(told: list[Told], holds: Callable[[Program, tuple[str, ...]], None]) -> None:
    ended: list[Program] = []
    table = ProcessTable(NothingKnown(), ended.append)
    table.seed(ROOT, SCOPE, 1).path = "/bin/root"
    for event, chain in told:
        program = _fed(table, event)
        if program is not None:
            _is_sound(program, event)
            holds(program, chain)
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
        case Acted() | Aggregated() | Tampered():
            return table.acted(event)
        case _:
            pass
    return None


def _is_sound(program: Program, event: Event) -> None:
    assert isinstance(event, Acted | Aggregated | Tampered)
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


def _is_the_truth(program: Program, chain: tuple[str, ...]) -> None:
    assert _names(program) == chain[-CHAIN_MAX:], (_names(program), chain)
    assert not program.is_recovered


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
