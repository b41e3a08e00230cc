"""Put environments together from the pieces in which the kernel sends them."""

from __future__ import annotations

import re
from collections.abc import Callable, Collection, Iterable

from . import wire
from .facts import Environment, ProcessKey

WAITING_MAX = 256


class Environments:
    """A store of environments that wait for more pieces. When it is full, the oldest one is dropped."""

    def __init__(self) -> None:
        """Create an empty store."""
        self._waiting: dict[ProcessKey, bytearray] = {}

    def add(self, record: wire.EnvironmentRecord, piece: bytes | memoryview) -> Environment | None:
        """Add a piece. Returns the environment if the piece is its last, or shows that one was lost."""
        process = ProcessKey(record.pid, record.started_ns)
        if record.offset == 0:
            self._waiting.pop(process, None)
            if len(self._waiting) >= WAITING_MAX:
                del self._waiting[next(iter(self._waiting))]
            self._waiting[process] = bytearray()
        block = self._waiting.get(process)
        if block is None:
            return None
        is_next = record.offset == len(block)
        if is_next:
            block += piece
        may_be_a_jobs = record.standing >= wire.STANDING_STEP
        whole = min(record.size, wire.ENVIRONMENT_MAX if may_be_a_jobs else wire.ARGUMENTS_MAX)
        if is_next and len(block) < whole and len(piece) == wire.ARGUMENTS_PIECE:
            return None
        del self._waiting[process]
        is_cut = len(block) < record.size
        parent = ProcessKey(record.parent_pid, record.parent_started_ns) if record.parent_started_ns else None
        told = (bytes(block), is_cut, record.standing, record.agent, parent)
        return Environment(record.at_ns, process, record.exec_id, *told)


def names_one_of(names: Iterable[str]) -> Callable[[bytes], bool]:
    """Return a function that finds out if a block has a variable of `names`, much faster than parsing it.

    A megabyte takes a millisecond: the pattern begins with one byte, which is searched for first.
    """
    starts = tuple(name.encode() + b"=" for name in names)
    search = re.compile(rb"\0(?:" + b"|".join(map(re.escape, starts)) + rb")").search
    return lambda block: block.startswith(starts) or search(block) is not None


def part_of(block: bytes, names: Collection[bytes]) -> bytes:
    """Return a block of the variables `names` alone, in order; a repeated entry is kept once."""
    entries = dict.fromkeys(block.split(b"\0"))
    return b"\0".join(entry for entry in entries if entry.partition(b"=")[0] in names)


def contested(block: bytes, names: Collection[bytes]) -> bool:
    """Whether one of the variables `names` is in `block` several times, with different values.

    Programs differ in which value they use, and an agent may have added its variable behind an author's.
    """
    found: dict[bytes, bytes] = {}
    for entry in block.split(b"\0"):
        name, _, value = entry.partition(b"=")
        if name in names and found.setdefault(name, value) != value:
            return True
    return False


def variables(block: bytes) -> dict[str, str]:
    """Parse the variables in a block, with U+FFFD for bytes that aren't UTF-8.

    The first value of a repeated name counts: getenv(3) returns it, too.
    """
    found: dict[bytes, bytes] = {}
    for entry in block.split(b"\0"):
        name, equals, value = entry.partition(b"=")
        if equals and name:
            found.setdefault(name, value)
    told: dict[str, str] = {}
    for name, value in found.items():
        told.setdefault(name.decode(errors="replace"), value.decode(errors="replace"))
    return told
