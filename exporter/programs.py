"""Programs: what a job runs, and how one came from another."""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import cached_property
from typing import NamedTuple, Protocol

from exporter.arguments import Arguments
from exporter.events import ProcessKey

CHAIN_MAX = 64
"""Programs that a lineage names at most."""
DEPTH_MAX = 1024
"""Ancestors that are remembered at most: a program that forks and exits without end would fill the memory."""

Lineage = tuple[str, ...]
"""Names of executables, from the job's root to the process: `egress.lineage`."""


class Facts(NamedTuple):
    """What /proc tells of a process while it is there; never needed to know who did something."""

    working_directory: str | None = None
    container_id: str | None = None


class Image(NamedTuple):
    """The program that a process runs, as /proc tells it: for the case that its exec record was lost."""

    path: str | None = None
    arguments: Arguments = Arguments(b"")


class Lookup(Protocol):
    """Where facts come from: /proc, or a recording. What can't be known is None."""

    def facts(self, process: ProcessKey) -> Facts:
        """Those of `process`."""

    def image(self, process: ProcessKey) -> Image:
        """That of `process`."""

    def owner(self, uid: int) -> str:
        """Name of the user `uid`, or the number where it has none."""

    def host_name(self, peer: bytes, at_ns: int) -> str | None:
        """What the host's own file of names calls `peer` (16 bytes), at a time since boot."""


@dataclass(eq=False)
class Program:
    """One executed program: a process from an exec (or its fork) to the next exec or its exit."""

    process: ProcessKey
    exec_id: int
    """0 before the process's first exec in the job; with `process`, what tells programs apart."""
    scope: int
    parent: Program | None
    """The program that created the process; None for the job's root, and where a record was lost."""
    parent_pid: int
    """The kernel's parent when the program began."""
    started_ns: int
    path: str | None
    """Of the executable; None when unknown."""
    arguments: Arguments
    """Without secrets."""
    is_cut: bool = False
    """Whether `arguments` are not all there."""
    container_id: str | None = None
    """Of the container in which it was executed, as the kernel said then."""
    is_recovered: bool = False
    """Whether its own record was lost, and this is what /proc still knew."""
    ended_ns: int | None = None
    wait_status: int | None = None
    """As wait(2) gives it; None after an exec, and while it runs."""
    became_another: bool = False
    """Whether it ended by an exec."""
    has_egress: bool = False
    """Whether it or a descendant did something on a socket."""
    attribution: str | None = None
    """`egress.attribution` where that isn't told by the scope."""
    step: str | None = None
    """`egress.job.step`: what its root was executed with, whatever it has in its own environment."""
    is_reported: bool = False
    """Whether its span is on its way."""
    facts: Facts | None = field(default=None, repr=False)
    """None until the first act asks for them."""

    @cached_property
    def name(self) -> str | None:
        """Base name of the executable."""
        return self.path.rsplit("/", 1)[-1] if self.path else None

    @property
    def container(self) -> str | None:
        """The container that it runs in; known by the kernel also of a program that is gone at once.

        /proc comes first: it knows the whole path, and hierarchies that the kernel's record doesn't.
        """
        return (self.facts.container_id if self.facts else None) or self.container_id

    depth: int = field(init=False, repr=False)
    """How many programs stand above it."""
    topmost: Program | None = field(init=False, repr=False)
    """The last of them; None for a job's root."""
    has_gap: bool = field(init=False, repr=False)
    """Whether programs between the root and this one were forgotten, or their records lost."""

    def __post_init__(self) -> None:
        """Place it below its parent, or below the root where a job forks without end."""
        parent = self.parent
        if parent is not None and parent.depth >= DEPTH_MAX:
            self.parent = parent = parent.root
            self.has_gap = True
        else:
            is_detached = self.is_recovered and self.attribution is None  # a job's root was told whose it is
            self.has_gap = is_detached if parent is None else parent.has_gap
        if parent is not None:
            self.step = parent.step
        self.depth = parent.depth + 1 if parent else 0
        self.topmost = parent.root if parent else None

    @property
    def root(self) -> Program:
        """The topmost of those above it; itself for a job's root."""
        return self.topmost or self

    @property
    def chain(self) -> tuple[Program, ...]:
        """From the job's root to this program, itself included, by who created whom.

        Of a long one the root and the last CHAIN_MAX - 1; `is_chain_whole` tells. It isn't kept: a program
        that refers to itself would stay, with its arguments, until the collector of cycles comes by.
        """
        programs = [self]
        while programs[-1].parent is not None and len(programs) < CHAIN_MAX - 1:
            programs.append(programs[-1].parent)
        if programs[-1] is not self.root:
            programs.append(self.root)
        return tuple(reversed(programs))

    @cached_property
    def lineage(self) -> Lineage:
        """Names of the executables of `chain`."""
        return tuple(program.name or "unknown" for program in self.chain)

    @property
    def known_lineage(self) -> Lineage | None:
        """`lineage` to be compared with others; None where a gap makes it look like a chain that it isn't."""
        return None if self.has_gap else self.lineage

    @property
    def is_chain_whole(self) -> bool:
        """Whether `chain` holds every program from the root to this one."""
        return len(self.chain) == self.depth + 1 and not self.has_gap


def mark_egress(program: Program) -> list[Program]:
    """Mark `program` and its ancestors as having egress; returns those that weren't, root first."""
    fresh = []
    current: Program | None = program
    while current is not None and not current.has_egress:
        current.has_egress = True
        fresh.append(current)
        current = current.parent
    return fresh[::-1]
