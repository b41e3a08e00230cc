"""The bpf(2) system call, and the handful of its commands that pinned objects need once they are made."""

from __future__ import annotations

import ctypes
import errno
import os
import struct
from collections.abc import Iterable, Iterator
from functools import lru_cache
from itertools import islice
from pathlib import Path
from typing import Any, NamedTuple

from .libc import system_call

U32, U64 = struct.Struct("=I"), struct.Struct("=Q")
"""The layouts of keys and values that are one number."""

# enum bpf_cmd
_MAP_LOOKUP_ELEM, _MAP_UPDATE_ELEM, _MAP_DELETE_ELEM, _MAP_GET_NEXT_KEY = 1, 2, 3, 4
_OBJ_GET, _PROG_GET_FD_BY_ID, _OBJ_GET_INFO_BY_FD, _MAP_LOOKUP_AND_DELETE_ELEM, _LINK_DETACH = (
    7,
    13,
    15,
    21,
    34,
)
_LOOKUP_BATCH, _LOOKUP_AND_DELETE_BATCH, _UPDATE_BATCH = 24, 25, 26

_PER_CPU_TYPES = {5, 6, 10}  # enum bpf_map_type: per-CPU hash, array, LRU hash
_MAP_INFO = struct.Struct("=IIIII")  # how struct bpf_map_info begins: type, id, key, value, entries
_LINK_INFO = struct.Struct("=III4xQ")
_PROGRAM_INFO = struct.Struct("=II")  # how struct bpf_prog_info begins: type, id
_MISSES = struct.Struct("=208xQ")  # its recursion_misses
_CGROUP, _TCX = 3, 11  # enum bpf_link_type
_INTERFACE = 0xFFFFFFFF
_NOEXIST = 1
_BATCH = struct.Struct("=QQQQIIQQ")
_BATCH_MAX = 1024


def bpf(command: int, attributes: bytes) -> int:
    """Make the system call. Raises OSError with the kernel's errno. Descriptors are close-on-exec."""
    return bpf_in(command, _buffer(attributes))


def bpf_in(command: int, attributes: ctypes.Array[ctypes.c_char]) -> int:
    """Make the system call with a command that writes into `attributes`; see `bpf`."""
    return system_call("bpf", command, attributes, len(attributes))


def succeeds(command: int, attributes: ctypes.Array[ctypes.c_char], unless: int) -> bool:
    """Make the system call; return False where it fails with the errno `unless`. Raises OSError."""
    try:
        bpf_in(command, attributes)
    except OSError as error:
        if error.errno == unless:
            return False
        raise
    return True


def open_pinned(path: Path) -> int:
    """Open a pinned map, program or link; returns its descriptor, close-on-exec. Raises OSError."""
    name = ctypes.create_string_buffer(os.fsencode(path))
    return bpf(_OBJ_GET, struct.pack("=QII", ctypes.addressof(name), 0, 0))


def detach_link(descriptor: int) -> None:
    """Detach a link of a cgroup or an interface at once, whoever else still holds it.

    Does nothing for links of other kinds, which can't be detached by this.
    """
    succeeds(_LINK_DETACH, _buffer(U32.pack(descriptor)), unless=errno.EOPNOTSUPP)


class LinkInfo(NamedTuple):
    """The first members of struct bpf_link_info."""

    type: int
    id: int
    program_id: int
    anchor: int
    """The cgroup's id for a cgroup link, the interface's index in the low half for one at an interface; 0
    once detached."""

    @property
    def is_detachable(self) -> bool:
        """Whether the link is at a cgroup or an interface; others are attached for as long as they exist."""
        return self.type in {_CGROUP, _TCX}

    @property
    def is_attached(self) -> bool:
        """Whether the link is attached."""
        anchor = self.anchor & _INTERFACE if self.type == _TCX else self.anchor
        return not self.is_detachable or anchor != 0


def link_info(descriptor: int) -> LinkInfo:
    """Ask the kernel about a link. Raises OSError."""
    return LinkInfo._make(info(descriptor, _LINK_INFO))


def program_id(descriptor: int) -> int:
    """Ask the kernel for its id of a program. Raises OSError."""
    return int(info(descriptor, _PROGRAM_INFO)[1])


def misses(number: int) -> int:
    """Return how often the kernel left out the program with this id, as it was running on that CPU already.

    Raises OSError.
    """
    descriptor = bpf(_PROG_GET_FD_BY_ID, struct.pack("=III", number, 0, 0))
    try:
        return int(info(descriptor, _MISSES)[0])
    finally:
        os.close(descriptor)


def info(descriptor: int, layout: struct.Struct, asked: bytes = b"") -> tuple[Any, ...]:
    """Return the beginning of the kernel's information about an object, unpacked by `layout`. Raises OSError.

    `asked` is written into the memory before: a request, such as the address of room for ids of maps.
    """
    room = ctypes.create_string_buffer(asked, layout.size)
    bpf(_OBJ_GET_INFO_BY_FD, struct.pack("=IIQ", descriptor, len(room), ctypes.addressof(room)))
    return layout.unpack(room.raw)


@lru_cache(maxsize=1)
def possible_cpus() -> int:
    """Return how many CPUs there may be: an element of a per-CPU map has a value for each."""
    text = Path("/sys/devices/system/cpu/possible").read_text()
    return int(text.replace(",", "-").rsplit("-", 1)[-1]) + 1


class Map:
    """A pinned map; keys and values are bytes of the sizes that the kernel reports. Any thread may use it."""

    def __init__(self, path: Path) -> None:
        """Open the map pinned at `path`. Raises OSError."""
        self._descriptor = open_pinned(path)
        kind, _, self._key_size, value_size, self.max_entries = info(self._descriptor, _MAP_INFO)
        is_per_cpu = kind in _PER_CPU_TYPES
        self._value_size = (value_size + 7 & ~7) * possible_cpus() if is_per_cpu else value_size

    @property
    def number(self) -> int:
        """The kernel's id of the map."""
        return int(info(self._descriptor, _MAP_INFO)[1])

    def fileno(self) -> int:
        """The descriptor, for mmap of a ring."""
        return self._descriptor

    def close(self) -> None:
        """Close the descriptor; the pin keeps the map alive."""
        os.close(self._descriptor)

    def lookup(self, key: bytes) -> bytes | None:
        """Return the value under `key`, or None.

        In a per-CPU map the result consists of the values of all CPUs, one after the other.
        """
        return self._read(_MAP_LOOKUP_ELEM, key)

    def update(self, key: bytes, value: bytes) -> None:
        """Set the value under `key`. Raises OSError (E2BIG when the map is full)."""
        self._element(_MAP_UPDATE_ELEM, key, ctypes.create_string_buffer(value, self._value_size))

    def update_all(self, items: Iterable[tuple[bytes, bytes]]) -> None:
        """Set many values, a thousand by each call. Raises OSError (E2BIG or ENOSPC when the map is full)."""
        remaining = iter(items)
        while batch := list(islice(remaining, _BATCH_MAX)):
            keys, values = (b"".join(parts) for parts in zip(*batch, strict=True))
            held = [_buffer(keys), _buffer(values)]
            addresses = map(ctypes.addressof, held)
            bpf(_UPDATE_BATCH, _BATCH.pack(0, 0, *addresses, len(batch), self._descriptor, 0, 0))

    def delete(self, key: bytes) -> bool:
        """Remove the entry under `key`; return whether there was one."""
        return self._element(_MAP_DELETE_ELEM, key, None, unless=errno.ENOENT)

    def take(self, key: bytes) -> bytes | None:
        """Remove the entry under `key` of a hash and return its value, in one step; None if there is none."""
        return self._read(_MAP_LOOKUP_AND_DELETE_ELEM, key)

    def insert(self, key: bytes, value: bytes) -> bool:
        """Set the value under `key` unless there is one; returns whether there was none. Raises OSError."""
        held = ctypes.create_string_buffer(value, self._value_size)
        return self._element(_MAP_UPDATE_ELEM, key, held, _NOEXIST, unless=errno.EEXIST)

    def push(self, values: Iterable[bytes]) -> None:
        """Push `values` on a stack, one after the other. Raises OSError (E2BIG when it is full)."""
        held = ctypes.create_string_buffer(self._value_size)
        for held.raw in values:
            self._element(_MAP_UPDATE_ELEM, None, held)

    def clear(self) -> None:
        """Delete everything in a hash."""
        for _ in self._batches(_LOOKUP_AND_DELETE_BATCH):
            pass

    def items(self) -> Iterator[tuple[bytes, bytes]]:
        """Iterate over the keys and values of a hash, with one call for each thousand of them.

        An entry that is added or removed meanwhile may be missing; none comes twice.
        """
        for keys, values in self._batches(_LOOKUP_BATCH):
            yield from zip(_split(keys, self._key_size), _split(values, self._value_size), strict=True)

    def _batches(self, command: int) -> Iterator[tuple[bytes, bytes]]:
        keys = ctypes.create_string_buffer(self._key_size * _BATCH_MAX)
        values = ctypes.create_string_buffer(self._value_size * _BATCH_MAX)
        token = ctypes.create_string_buffer(self._key_size)
        addresses = [ctypes.addressof(part) for part in (token, keys, values)]
        before = 0
        while True:
            request = _buffer(_BATCH.pack(before, *addresses, _BATCH_MAX, self._descriptor, 0, 0))
            is_last = not succeeds(command, request, unless=errno.ENOENT)
            number = _BATCH.unpack(request.raw)[4]
            yield keys.raw[: number * self._key_size], values.raw[: number * self._value_size]
            if is_last:
                return
            before = addresses[0]

    def __iter__(self) -> Iterator[bytes]:
        """Iterate over the keys, in the kernel's order; if one goes meanwhile, the walk may start again."""
        key: bytes | None = None
        while True:
            following = ctypes.create_string_buffer(self._key_size)
            if not self._element(_MAP_GET_NEXT_KEY, key, following, unless=errno.ENOENT):
                return
            key = following.raw
            yield key

    def _read(self, command: int, key: bytes) -> bytes | None:
        value = ctypes.create_string_buffer(self._value_size)
        return value.raw if self._element(command, key, value, unless=errno.ENOENT) else None

    def _element(
        self,
        command: int,
        key: bytes | None,
        value: ctypes.Array[ctypes.c_char] | None,
        flags: int = 0,
        *,
        unless: int = 0,
    ) -> bool:
        """Do something with one entry; return False where it fails with the errno `unless`."""
        held = ctypes.create_string_buffer(key, self._key_size) if key is not None else None
        address = ctypes.addressof(held) if held is not None else 0
        room = ctypes.addressof(value) if value is not None else 0
        request = _buffer(struct.pack("=I4xQQQ", self._descriptor, address, room, flags))
        return succeeds(command, request, unless)


def _buffer(data: bytes) -> ctypes.Array[ctypes.c_char]:
    """Return writable memory with `data`, without a NUL behind it."""
    return ctypes.create_string_buffer(data, len(data))


def _split(data: bytes, size: int) -> Iterator[bytes]:
    return (data[at : at + size] for at in range(0, len(data), size))
