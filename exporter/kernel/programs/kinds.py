"""The kinds of programs: how each is loaded, and how it comes to be called."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import NamedTuple

from .objects import (
    AttachType,
    ProgramType,
    attach_raw_tracepoint,
    attach_to_cgroup,
    load_program,
    place_program,
)


class Tracepoint(NamedTuple):
    """A program at a raw tracepoint."""

    name: str
    tracepoint: str
    is_optional: bool = False
    """Whether the program is left out where the kernel has no such tracepoint."""

    def load(self, code: bytes, maps: Sequence[int]) -> int:
        """Load the program; return its descriptor. Raises VerifierError."""
        return load_program(self.name, ProgramType.RAW_TRACEPOINT, None, code, maps)

    def attach(self, program: int, _maps: Mapping[str, int], _cgroup: int) -> int | None:
        """Attach the program; return the link's descriptor, None where it is left out. Raises OSError."""
        try:
            return attach_raw_tracepoint(program, self.tracepoint)
        except FileNotFoundError:
            if self.is_optional:
                return None
            raise


class Hook(NamedTuple):
    """A program at a hook of the cgroup hierarchy."""

    name: str
    type: ProgramType
    attach_type: AttachType
    places: str = ""
    """The map through which other programs tail-call this one; empty: none does."""
    place: int = 0

    def load(self, code: bytes, maps: Sequence[int]) -> int:
        """Load the program; return its descriptor. Raises VerifierError."""
        return load_program(self.name, self.type, self.attach_type, code, maps)

    def attach(self, program: int, maps: Mapping[str, int], cgroup: int) -> int | None:
        """Attach the program; return the link's descriptor. Raises OSError."""
        if self.places:
            place_program(maps[self.places], self.place, program)
        return attach_to_cgroup(program, cgroup, self.attach_type)


class Continuation(NamedTuple):
    """A program that others tail-call through a map: it lasts while the map is pinned."""

    name: str
    type: ProgramType
    attach_type: AttachType
    """The attach type of the programs that call it."""
    places: str
    place: int = 0

    def load(self, code: bytes, maps: Sequence[int]) -> int:
        """Load the program; return its descriptor. Raises VerifierError."""
        return load_program(self.name, self.type, self.attach_type, code, maps)

    def attach(self, program: int, maps: Mapping[str, int], _cgroup: int) -> int | None:
        """Put the program into the map; return None, since there is no link. Raises OSError."""
        place_program(maps[self.places], self.place, program)
        return None


class Reserve(NamedTuple):
    """A program that is attached later, where it is needed: until then its pin keeps it."""

    name: str
    type: ProgramType
    attach_type: AttachType | None = None

    def load(self, code: bytes, maps: Sequence[int]) -> int:
        """Load the program; return its descriptor. Raises VerifierError."""
        return load_program(self.name, self.type, self.attach_type, code, maps)


Program = Tracepoint | Hook | Continuation | Reserve
