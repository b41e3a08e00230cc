"""The process table, beside a model of the kernel: what happened in truth, and what is told of it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

from exporter.arguments import Arguments
from exporter.events import Acted, Aggregated, Event, Execed, Exited, Forked, ProcessKey
from exporter.processes import ENDED_MAX, ProcessTable
from exporter.programs import CHAIN_MAX, DEPTH_MAX, Program
from tests.fuzz.draw import Draw
from tests.unit.pipelines import NothingKnown
from tests.unit.records import ACT, AGGREGATE

_SCOPE, _PIDS = 1, 6
_ROOT = ProcessKey(10, 1)
_NO_ARGUMENTS = Arguments(b"")


class _Told(NamedTuple):
    event: Event
    chain: tuple[str, ...]
    """Names from the root to the program that did it; empty where the event is not an act."""


@dataclass
class _Process:
    key: ProcessKey
    exec_id: int
    chain: tuple[str, ...]


class _Kernel:
    """Makes a history: pids are few, so that they are used again and again."""

    def __init__(self, draw: Draw) -> None:
        self._draw = draw
        self._live = {_ROOT.pid: _Process(_ROOT, 0, ("root",))}
        self._gone: list[_Process] = []
        self._at_ns = 100
        self.told: list[_Told] = []

    def step(self) -> None:
        self._at_ns += self._draw.getrandbits(2)
        process = self._draw.choice(list(self._live.values()))
        verb = self._draw.choice(
            (self._fork, self._fork, self._exec, self._act, self._act, self._exit, self._late)
        )
        verb(process)

    def _tell(self, event: Event, chain: tuple[str, ...] = ()) -> None:
        self.told.append(_Told(event, chain))

    def _fork(self, creator: _Process) -> None:
        pid = _ROOT.pid + self._draw.randrange(_PIDS)
        if pid not in self._live:
            self._at_ns += 1
            child = _Process(ProcessKey(pid, self._at_ns), 0, (*creator.chain, creator.chain[-1]))
            self._live[pid] = child
            parent = self._draw.choice((creator.key.pid, 1))
            self._tell(Forked(self._at_ns, child.key, creator.key, creator.exec_id, parent, _SCOPE))

    def _exec(self, process: _Process) -> None:
        process.exec_id += 1
        name = f"p{len(self.told)}"
        self._gone.append(_Process(process.key, process.exec_id - 1, process.chain))
        process.chain = (*process.chain[:-1], name)
        numbers = (process.exec_id, 1, _SCOPE)
        self._tell(Execed(self._at_ns, process.key, *numbers, f"/bin/{name}", _NO_ARGUMENTS, False))

    def _act(self, process: _Process) -> None:
        event = self._draw.choice((ACT, AGGREGATE))
        changed = event._replace(at_ns=self._at_ns, process=process.key, exec_id=process.exec_id)
        self._tell(changed, process.chain)

    def _late(self, _: _Process) -> None:
        """Counted acts of a program that is over, or whose process is."""
        if self._gone:
            self._act_of(self._draw.choice(self._gone[-20:]))

    def _act_of(self, gone: _Process) -> None:
        self._tell(AGGREGATE._replace(process=gone.key, exec_id=gone.exec_id), gone.chain)

    def _exit(self, process: _Process) -> None:
        if process.key != _ROOT:
            del self._live[process.key.pid]
            self._gone.append(process)
            self._tell(Exited(self._at_ns, process.key, 0))


def check(draw: Draw) -> None:
    """A history as it was; with losses; or with losses, disorder and events of nobody."""
    kernel = _Kernel(draw)
    for _ in range(4 + draw.length(76)):
        kernel.step()
    way = draw.randrange(3)
    told = kernel.told if way == 0 else [each for each in kernel.told if draw.chance(0.8)]
    if way == 2:
        told = _disordered(draw, told)
    ended: list[Program] = []
    table = ProcessTable(NothingKnown(), ended.append)
    table.seed(_ROOT, _SCOPE, 1).path = "/bin/root"
    for event, chain in told:
        program = _fed(table, event)
        if program is not None:
            _is_sound(program, event)
            if way == 0:
                assert _names(program) == chain[-CHAIN_MAX:], (_names(program), chain)
            elif way == 1:
                _is_part_of_the_truth(program, chain)
        _is_bounded(table)
    table.end_all({_SCOPE}, 1 << 40)
    assert not table.live({_SCOPE})
    assert len(ended) == len({id(program) for program in ended}), "a program ended twice"
    assert all(program.ended_ns is not None for program in ended)


def _disordered(draw: Draw, told: list[_Told]) -> list[_Told]:
    mixed = list(told)
    for _ in range(draw.length(20)):
        at, to = (draw.randrange(len(mixed) + 1) for _ in range(2))
        if draw.chance(0.5) and at < len(mixed):
            mixed.insert(to, mixed[at] if draw.chance(0.3) else mixed.pop(at))
        else:
            child, creator = (
                ProcessKey(_ROOT.pid + draw.randrange(_PIDS), draw.choice((1, 101, 110))) for _ in range(2)
            )
            stranger = Forked(draw.unsigned(64), child, creator, draw.getrandbits(2), 1, draw.getrandbits(1))
            mixed.insert(to, _Told(stranger, ()))
    return mixed


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
    assert len(table._programs) <= _PIDS
    assert len(table._ended) <= ENDED_MAX
    assert all(program.process.pid == pid for pid, program in table._programs.items())
    assert all(program.ended_ns is None for program in table._programs.values())
