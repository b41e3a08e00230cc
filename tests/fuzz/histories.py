"""Histories of processes as a kernel makes them, where pids are few and used again and again."""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

from exporter.events.arguments import Arguments
from exporter.events.facts import Event, Execed, Exited, Forked, ProcessKey
from tests.fuzz.draw import Draw
from tests.unit.records import ACT, AGGREGATE, TAMPER

SCOPE, PIDS = 1, 6
ROOT = ProcessKey(10, 1)
_NO_ARGUMENTS = Arguments(b"")


class Told(NamedTuple):
    """An event, and the truth about it."""

    event: Event
    chain: tuple[str, ...]
    """Names from the root to the program that did it; empty where the event is not an act."""


@dataclass
class _Process:
    key: ProcessKey
    exec_id: int
    chain: tuple[str, ...]


class Kernel:
    """Makes a history: pids are few, so that they are used again and again."""

    def __init__(self, draw: Draw) -> None:
        self._draw = draw
        self._live = {ROOT.pid: _Process(ROOT, 0, ("root",))}
        self._gone: list[_Process] = []
        self._at_ns = 100
        self.told: list[Told] = []
        """In order."""

    def step(self) -> None:
        """Let something happen, if it can."""
        self._at_ns += self._draw.getrandbits(2)
        process = self._draw.choice(list(self._live.values()))
        verb = self._draw.choice(
            (self._fork, self._fork, self._exec, self._act, self._act, self._exit, self._late)
        )
        verb(process)

    def _tell(self, event: Event, chain: tuple[str, ...] = ()) -> None:
        self.told.append(Told(event, chain))

    def _fork(self, creator: _Process) -> None:
        pid = ROOT.pid + self._draw.randrange(PIDS)
        if pid not in self._live:
            self._at_ns += 1
            child = _Process(ProcessKey(pid, self._at_ns), 0, (*creator.chain, creator.chain[-1]))
            self._live[pid] = child
            parent = self._draw.choice((creator.key.pid, 1))
            self._tell(Forked(self._at_ns, child.key, creator.key, creator.exec_id, parent, SCOPE))

    def _exec(self, process: _Process) -> None:
        process.exec_id += 1
        name = f"p{len(self.told)}"
        self._gone.append(_Process(process.key, process.exec_id - 1, process.chain))
        process.chain = (*process.chain[:-1], name)
        numbers = (process.exec_id, 1, SCOPE)
        self._tell(Execed(self._at_ns, process.key, *numbers, f"/bin/{name}", _NO_ARGUMENTS, False, ""))

    def _act(self, process: _Process) -> None:
        event = self._draw.choice((ACT, AGGREGATE, TAMPER))
        changed = event._replace(at_ns=self._at_ns, process=process.key, exec_id=process.exec_id)
        self._tell(changed, process.chain)

    def _late(self, _: _Process) -> None:
        """Counted acts of a program that is over, or whose process is."""
        if self._gone:
            self._act_of(self._draw.choice(self._gone[-20:]))

    def _act_of(self, gone: _Process) -> None:
        self._tell(AGGREGATE._replace(process=gone.key, exec_id=gone.exec_id), gone.chain)

    def _exit(self, process: _Process) -> None:
        if process.key != ROOT:
            del self._live[process.key.pid]
            self._gone.append(process)
            self._tell(Exited(self._at_ns, process.key, 0))


def disordered(draw: Draw, told: list[Told]) -> list[Told]:
    """Some moved or doubled, and forks of nobody among them."""
    mixed = list(told)
    for _ in range(draw.length(20)):
        at, to = (draw.randrange(len(mixed) + 1) for _ in range(2))
        if draw.chance(0.5) and at < len(mixed):
            mixed.insert(to, mixed[at] if draw.chance(0.3) else mixed.pop(at))
        else:
            child, creator = (
                ProcessKey(ROOT.pid + draw.randrange(PIDS), draw.choice((1, 101, 110))) for _ in range(2)
            )
            stranger = Forked(draw.unsigned(64), child, creator, draw.getrandbits(2), 1, draw.getrandbits(1))
            mixed.insert(to, Told(stranger, ()))
    return mixed
