"""Objects made in the kernel by bpf(2): maps, programs, links, and pins under bpffs."""

from __future__ import annotations

import ctypes
import os
import struct
from collections.abc import Sequence
from enum import IntEnum
from pathlib import Path
from typing import NamedTuple

from exporter.common.descriptors import closing_fd
from exporter.events import wire
from exporter.kernel.bpf import U32, bpf, bpf_in
from exporter.kernel.compilation.bytecode import MapSpec

from .verifier import Attempt, refusal

# enum bpf_cmd
_MAP_CREATE, _MAP_UPDATE_ELEM, _PROG_LOAD, _OBJ_PIN = 0, 2, 5, 6
_PROG_QUERY, _RAW_TRACEPOINT_OPEN, _BTF_LOAD, _LINK_CREATE, _LINK_UPDATE = 16, 17, 18, 28, 29

_MAP = struct.Struct("=IIIII8x16s4xIII")
_PROGRAM = struct.Struct("=IIQQIIQ8x16s4xI36xI8xQ")
_BTF = struct.Struct("=QQIII4x")

_TCX_LINK = struct.Struct("=IIII16x")
_QUERY = struct.Struct("=IIIIQI36x")
_AT_INTERFACE_MAX = 64
_BEFORE = 1 << 3  # BPF_F_BEFORE, without another program: before all

_SK_STORAGE = 24  # enum bpf_map_type
_NAME_MAX = 15
_INSTRUCTION_BYTES = 8
_KEY_TYPE, _VALUE_TYPE = 1, 5
_LOCK = "bpf_spin_lock"
_LOCKS = {"lasts": wire.OFFSETS["last_peer"][1]["lock"]}
"""For maps whose values have a lock that the kernel has to know of: the lock's offset in bytes, by map
name."""


class ProgramType(IntEnum):
    """enum bpf_prog_type."""

    SCHED_CLS = 3
    CGROUP_SKB = 8
    CGROUP_SOCK = 9
    SOCK_OPS = 13
    RAW_TRACEPOINT = 17
    CGROUP_SOCK_ADDR = 18
    CGROUP_SOCKOPT = 25
    TRACING = 26
    LSM = 29


class AttachType(IntEnum):
    """enum bpf_attach_type: where in a cgroup, at an interface or at a function."""

    INET_INGRESS = 0
    INET_EGRESS = 1
    INET_SOCK_CREATE = 2
    SOCK_OPS = 3
    INET4_CONNECT = 10
    INET6_CONNECT = 11
    INET4_POST_BIND = 12
    INET6_POST_BIND = 13
    UDP4_SENDMSG = 14
    UDP6_SENDMSG = 15
    SETSOCKOPT = 22
    FUNCTION_EXIT = 25
    MODIFY_RETURN = 26
    LSM_MAC = 27
    SOCK_RELEASE = 34
    TCX_EGRESS = 47
    UNIX_CONNECT = 49
    UNIX_SENDMSG = 50


def create_map(spec: MapSpec) -> int:
    """Make a map; returns its descriptor. Raises OSError."""
    name = spec.name.encode()[:_NAME_MAX]
    sizes = (spec.type, spec.key_size, spec.value_size, spec.max_entries, spec.flags)
    if spec.type != _SK_STORAGE:
        return bpf(_MAP_CREATE, _MAP.pack(*sizes, name, 0, 0, 0))
    # For this type alone the kernel wants the BTF types of key and value.
    with closing_fd(_load_btf(_btf_of(spec.value_size, _LOCKS.get(spec.name)))) as types:
        return bpf(_MAP_CREATE, _MAP.pack(*sizes, name, types, _KEY_TYPE, _VALUE_TYPE))


class Place(NamedTuple):
    """The kind of a program, and where it will be attached."""

    type: ProgramType
    attach_type: AttachType | None = None
    function: int = 0
    """The BTF type id of the kernel's function to which the program will be attached; 0: none."""


def load_program(name: str, place: Place, instructions: bytes, maps: Sequence[int]) -> int:
    """Load a program, whose instructions refer to `maps` (descriptors) by their index.

    Returns the program's descriptor. Raises VerifierError.
    """
    load = _attempt(name, place, instructions, maps)
    try:
        return load(0, 0, 0)
    except OSError as error:
        raise refusal(error.errno or 0, load) from None


def loads(place: Place, instructions: bytes) -> bool:
    """Return whether the kernel loads a program without maps for `place`; it isn't asked why it doesn't."""
    try:
        os.close(_attempt("", place, instructions, ())(0, 0, 0))
    except OSError:
        return False
    return True


def _attempt(name: str, place: Place, instructions: bytes, maps: Sequence[int]) -> Attempt:
    descriptors = (ctypes.c_int * len(maps))(*maps)
    code = ctypes.create_string_buffer(instructions, len(instructions))
    license_ = ctypes.create_string_buffer(b"GPL")

    def load(log_level: int, log_size: int, log: int) -> int:
        return bpf(
            _PROG_LOAD,
            _PROGRAM.pack(
                *(place.type, len(instructions) // _INSTRUCTION_BYTES),
                *(ctypes.addressof(code), ctypes.addressof(license_)),
                *(log_level, log_size, log),
                *(name.encode()[:_NAME_MAX], place.attach_type or 0, place.function),
                ctypes.addressof(descriptors),
            ),
        )

    return load


def attach_raw_tracepoint(program: int, tracepoint: str) -> int:
    """Attach a program to a raw tracepoint; return the link's descriptor.

    Raises OSError: FileNotFoundError where there is no such tracepoint.
    """
    name = ctypes.create_string_buffer(tracepoint.encode())
    return bpf(_RAW_TRACEPOINT_OPEN, struct.pack("=QI4x", ctypes.addressof(name), program))


def attach_to_function(program: int) -> int:
    """Attach a program to the function that it was loaded for; return the link's descriptor.

    Raises OSError.
    """
    return bpf(_RAW_TRACEPOINT_OPEN, struct.pack("=QI4x", 0, program))


def attach_to_cgroup(program: int, cgroup: int, attach_type: AttachType) -> int:
    """Attach a program to a cgroup (a descriptor); return the link's descriptor. Raises OSError."""
    return bpf(_LINK_CREATE, struct.pack("=IIII", program, cgroup, attach_type, 0))


def attach_to_interface(program: int, index: int) -> int:
    """Attach a program to the egress of an interface of this thread's network namespace, ahead of all others.

    The program runs before this returns the link's descriptor: the kernel waits in between, for tens of
    milliseconds.
    Raises OSError: EEXIST where the program is there already, EINVAL before Linux 6.6.
    """
    return bpf(_LINK_CREATE, _TCX_LINK.pack(program, index, AttachType.TCX_EGRESS, _BEFORE))


def programs_at_interface(index: int) -> list[int]:
    """Return the ids of the programs at an interface's egress, in their order.

    Raises OSError: EINVAL before Linux 6.6.
    """
    room = (ctypes.c_uint32 * _AT_INTERFACE_MAX)()
    asked = _QUERY.pack(index, AttachType.TCX_EGRESS, 0, 0, ctypes.addressof(room), len(room))
    told = ctypes.create_string_buffer(asked, len(asked))
    bpf_in(_PROG_QUERY, told)
    return list(room[: _QUERY.unpack(told.raw)[-1]])


def replace_program(link: int, program: int) -> None:
    """Replace the program of `link` by `program`, in one step. Raises OSError: EEXIST if it has it."""
    bpf(_LINK_UPDATE, struct.pack("=IIII", link, program, 0, 0))


def place_program(places: int, place: int, program: int) -> None:
    """Put a program into `places`, a map of programs to tail-call, at the index `place`. Raises OSError."""
    held = [ctypes.create_string_buffer(U32.pack(number), 4) for number in (place, program)]
    bpf(_MAP_UPDATE_ELEM, struct.pack("=I4xQQQ", places, *map(ctypes.addressof, held), 0))


def pin(descriptor: int, path: Path) -> None:
    """Give an object a name under bpffs, under which it outlives this process. Raises OSError."""
    name = ctypes.create_string_buffer(os.fsencode(path))
    bpf(_OBJ_PIN, struct.pack("=QII", ctypes.addressof(name), descriptor, 0))


def _load_btf(types: bytes) -> int:
    data = ctypes.create_string_buffer(types, len(types))
    return bpf(_BTF_LOAD, _BTF.pack(ctypes.addressof(data), 0, len(types), 0, 0))


def _btf_of(value_size: int, lock_at: int | None) -> bytes:
    """Encode types: 1 a key, 2 a byte, 3 all bytes of a value, 4 a lock, 5 a value of `value_size` bytes.

    The value's only member is its lock, or else all of its bytes: the kernel needn't know more
    (Documentation/bpf/btf.rst).
    """
    integer, array, structure = 1 << 24, 3 << 24, 4 << 24
    names = _Names()
    types = struct.pack("=IIII", names.add("key"), integer, 4, 32)
    types += struct.pack("=IIII", names.add("byte"), integer, 1, 8)
    types += struct.pack("=IIIIII", 0, array, 0, 2, 1, value_size)
    types += struct.pack("=IIIIII", names.add(_LOCK), structure | 1, 4, names.add("value"), 1, 0)
    at, kind = (0, 3) if lock_at is None else (lock_at, 4)
    types += struct.pack("=IIIIII", 0, structure | 1, value_size, names.add("member"), kind, at * 8)
    header = struct.pack("=HBBIIIII", 0xEB9F, 1, 0, 24, 0, len(types), len(types), len(names.text))
    return header + types + names.text


class _Names:
    """The string section of BTF, in which names are referred to by their offsets."""

    def __init__(self) -> None:
        self.text = b"\0"

    def add(self, name: str) -> int:
        at = len(self.text)
        self.text += name.encode() + b"\0"
        return at
