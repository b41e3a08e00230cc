"""Programs that a job runs, and their ancestry."""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import cached_property
from typing import NamedTuple, Protocol

from .arguments import Arguments
from .facts import ProcessKey

CHAIN_MAX = 64
"""The most programs that a lineage names."""
DEPTH_MAX = 1024
"""The most ancestors that are remembered, since a program may fork and exit without end."""

Lineage = tuple[str, ...]
"""Names of executables, from the job's root to the process: `egress.lineage`."""


class Facts(NamedTuple):
    """Facts that /proc has about a running process; acts are attributed without them."""

    working_directory: str | None = None
    container_id: str | None = None


class Image(NamedTuple):
    """The program that a process runs, as /proc shows it: used where there is no exec record."""

    path: str | None = None
    arguments: Arguments = Arguments(b"")


class Lookup(Protocol):
    """A source of facts: /proc, or a recording. A fact that can't be known is None."""

    def facts(self, process: ProcessKey) -> Facts:
        """Return the facts about `process`."""

    def image(self, process: ProcessKey) -> Image:
        """Return the program that `process` runs."""

    def owner(self, uid: int) -> str:
        """Return the name of the user `uid`, or the number as text where the user has no name."""

    def host_name(self, peer: bytes, at_ns: int) -> str | None:
        """Return the name of `peer` (16 bytes) in the host's /etc/hosts; `at_ns` is a time since boot."""


@dataclass(eq=False)
class Program:
    """One executed program: a process from an exec (or its fork) to the next exec or its exit."""

    process: ProcessKey
    exec_id: int
    """0 before the process's first exec in the job; together with `process` it identifies the program."""
    scope: int
    parent: Program | None
    """The program that created the process; None for the job's root, and where a record was lost."""
    parent_pid: int
    """The kernel's parent when the program began."""
    started_ns: int
    path: str | None
    """Path of the executable; None when unknown."""
    arguments: Arguments
    """The program's argv; secrets are redacted when it is shown."""
    is_cut: bool = False
    """Whether some of `arguments` are missing."""
    container_id: str | None = None
    """Id of the container in which the program was executed, as the kernel reported it at the exec."""
    is_recovered: bool = False
    """Whether the program's own record was lost, so that its fields are from /proc."""
    ended_ns: int | None = None
    wait_status: int | None = None
    """The status as wait(2) gives it; None after an exec, and while the program runs."""
    became_another: bool = False
    """Whether the program ended by an exec."""
    has_egress: bool = False
    """Whether the program or a descendant did something on a socket."""
    attribution: str | None = None
    """`egress.attribution`; None where it follows from the scope."""
    step: str | None = None
    """`egress.job.step`: from the environment of the chain's root, never from the program's own."""
    is_reported: bool = False
    """Whether its span has been submitted."""
    facts: Facts | None = field(default=None, repr=False)
    """What /proc has about the process; None until the program's first act."""

    @cached_property
    def name(self) -> str | None:
        """Base name of the executable."""
        return self.path.rsplit("/", 1)[-1] if self.path else None

    @property
    def container(self) -> str | None:
        """Id of the program's container; the kernel knows it even for a program that ends at once.

        /proc comes first: it has the whole path, and hierarchies that the kernel's record lacks.
        """
        return (self.facts.container_id if self.facts else None) or self.container_id

    depth: int = field(init=False, repr=False)
    """Number of programs above this one."""
    topmost: Program | None = field(init=False, repr=False)
    """The topmost program above this one; None for a job's root."""
    has_gap: bool = field(init=False, repr=False)
    """Whether programs between the root and this one were forgotten, or their records lost."""

    def __post_init__(self) -> None:
        """Place the program below its parent, or directly below the root if the chain would be too deep."""
        parent = self.parent
        if parent is not None and parent.depth >= DEPTH_MAX:
            self.parent = parent = parent.root
            self.has_gap = True
        else:
            is_detached = self.is_recovered and self.attribution is None  # a job's root has an attribution
            self.has_gap = is_detached if parent is None else parent.has_gap
        if parent is not None:
            self.step = parent.step
        self.depth = parent.depth + 1 if parent else 0
        self.topmost = parent.root if parent else None

    @property
    def root(self) -> Program:
        """The topmost program of its chain; for a job's root, itself."""
        return self.topmost or self

    @property
    def chain(self) -> tuple[Program, ...]:
        """The programs from the job's root to this one, both included; each one created the next.

        A long chain has only the root and the last CHAIN_MAX - 1 programs; `is_chain_whole` is False then.
        The chain isn't cached: a program that refers to itself would stay in memory, with its arguments,
        until the garbage collector finds the cycle.
        """
        programs = [self]
        while programs[-1].parent is not None and len(programs) < CHAIN_MAX - 1:
            programs.append(programs[-1].parent)
        if programs[-1] is not self.root:
            programs.append(self.root)
        return tuple(reversed(programs))

    @cached_property
    def lineage(self) -> Lineage:
        """The names of the executables in `chain`."""
        return tuple(program.name or "unknown" for program in self.chain)

    @property
    def known_lineage(self) -> Lineage | None:
        """`lineage`, to be compared; None where a gap would make it look like another chain."""
        return None if self.has_gap else self.lineage

    @property
    def is_chain_whole(self) -> bool:
        """Whether `chain` holds every program from the root to this one."""
        return len(self.chain) == self.depth + 1 and not self.has_gap


def mark_egress(program: Program) -> list[Program]:
    """Mark `program` and its ancestors as having egress; returns the newly marked ones, root first."""
    fresh = []
    current: Program | None = program
    while current is not None and not current.has_egress:
        current.has_egress = True
        fresh.append(current)
        current = current.parent
    return fresh[::-1]
