"""The kinds of programs: how each is loaded, and how it comes to be called."""

from __future__ import annotations

import ctypes
import errno
import os
from collections.abc import Collection, Mapping, Sequence
from typing import NamedTuple

from exporter.common.descriptors import closing_fd
from exporter.common.errors import KernelError
from exporter.kernel.compilation.btf import KERNEL_CONTEXT, KERNEL_FUNCTIONS, PREEMPTION, kernel_types
from exporter.kernel.compilation.bytecode import INSTRUCTION
from exporter.kernel.libc import system_call

from .objects import (
    AttachType,
    Place,
    ProgramType,
    attach_raw_tracepoint,
    attach_to_cgroup,
    attach_to_function,
    load_program,
    loads,
    place_program,
)
from .verifier import VerifierError


class Tracepoint(NamedTuple):
    """A program at a raw tracepoint."""

    name: str
    tracepoint: str
    is_optional: bool = False
    """Whether the program is left out where the kernel has no such tracepoint."""
    unless: str = ""
    """The programs, separated by spaces, in whose place this one stands: it is left out where all of them are
    attached. Empty: it stands in nobody's place."""

    def load(self, code: bytes, maps: Sequence[int]) -> int:
        """Load the program; return its descriptor. Raises VerifierError."""
        return load_program(self.name, Place(ProgramType.RAW_TRACEPOINT), _calling_the_kernel(code), maps)

    def attach(self, program: int, _maps: Mapping[str, int], _cgroup: int) -> int | None:
        """Attach the program; return the link's descriptor, None where it is left out. Raises OSError."""
        try:
            return attach_raw_tracepoint(program, self.tracepoint)
        except FileNotFoundError:
            if self.is_optional:
                return None
            raise


_CALL, _OF_THE_KERNEL = 0x85, 2 << 4  # BPF_JMP | BPF_CALL; BPF_PSEUDO_KFUNC_CALL in the source register
_NOTHING = INSTRUCTION.pack(0xB7, 0, 0, 0)  # r0 = 0
_GO_ON = _NOTHING + INSTRUCTION.pack(0x95, 0, 0, 0)
"""A program that allows everything: r0 = 0; exit."""
_LSM_ID_BPF = 109  # include/uapi/linux/lsm.h
_MODULES_MAX = 32
_ENOTSUPP = 524
_CANNOT_ATTACH = (errno.EBUSY, errno.EINVAL, errno.ENODEV, errno.EOPNOTSUPP, _ENOTSUPP)
"""The errors by which kernels say that no program can be attached to their functions, or not to this one."""


class SecurityHook(NamedTuple):
    """A program that answers where the kernel asks its security modules; left out where none may answer.

    Where programs are among the modules (BPF LSM), the program is called as one of them. Else it is called in
    front of the function that asks the modules. There the kernel skips a program that it has interrupted on
    the same processor, which may happen with PREEMPT.
    """

    name: str
    hook: str

    @property
    def is_there(self) -> bool:
        """Whether the kernel loads a program for this hook: it may lack the hook, or forbid programs."""
        return _loads_at(self)

    def takes_programs(self) -> bool:
        """Whether a program can be attached here: one that allows everything is, for a moment."""
        try:
            with closing_fd(self.load(_GO_ON, ())) as program:
                link = self.attach(program, {}, 0)
        except (KeyError, KernelError, VerifierError, OSError):
            return False
        if link is not None:
            os.close(link)
        return link is not None

    @property
    def place(self) -> Place:
        """The place that the program is loaded for. Raises KeyError where the kernel hasn't it."""
        types = kernel_types().functions
        if asks_programs():
            return Place(ProgramType.LSM, AttachType.LSM_MAC, types[f"bpf_lsm_{self.hook}"])
        return Place(ProgramType.TRACING, AttachType.MODIFY_RETURN, types[f"security_{self.hook}"])

    def load(self, code: bytes, maps: Sequence[int]) -> int:
        """Load the program; return its descriptor. Raises VerifierError."""
        return load_program(self.name, self.place, code, maps)

    def attach(self, program: int, _maps: Mapping[str, int], _cgroup: int) -> int | None:
        """Attach the program; return the link's descriptor, None where it is left out. Raises OSError."""
        return _attached_if_possible(program)


class FunctionExit(NamedTuple):
    """A program at the end of a function of the kernel, left out where the kernel takes none there."""

    name: str
    function: str

    @property
    def is_there(self) -> bool:
        """Whether the kernel loads a program for this function."""
        return _loads_at(self)

    @property
    def place(self) -> Place:
        """As in `SecurityHook`."""
        types = kernel_types().functions
        return Place(ProgramType.TRACING, AttachType.FUNCTION_EXIT, types[self.function])

    def load(self, code: bytes, maps: Sequence[int]) -> int:
        """Load the program; return its descriptor. Raises VerifierError."""
        return load_program(self.name, self.place, code, maps)

    def attach(self, program: int, _maps: Mapping[str, int], _cgroup: int) -> int | None:
        """Attach the program; return the link's descriptor, None where it is left out. Raises OSError."""
        return _attached_if_possible(program)


def _loads_at(hook: SecurityHook | FunctionExit) -> bool:
    try:
        return loads(hook.place, _GO_ON)
    except (KeyError, KernelError):
        return False


def _attached_if_possible(program: int) -> int | None:
    try:
        return attach_to_function(program)
    except OSError as error:
        if error.errno in _CANNOT_ATTACH:
            return None
        raise


def _calling_the_kernel(code: bytes) -> bytes:
    """Return `code` with the numbers of the kernel's own functions; those that it lacks aren't called."""
    functions = kernel_types().functions if _lets_call() else {}
    for name, number in KERNEL_FUNCTIONS.items():
        calls = INSTRUCTION.pack(_CALL, _OF_THE_KERNEL, 0, functions[name]) if name in functions else _NOTHING
        code = code.replace(INSTRUCTION.pack(_CALL, 0, 0, number), calls)
    return code


def _lets_call() -> bool:
    """Whether programs may call the kernel's own functions: not if they are interpreted (bpf_jit_enable)."""
    found = kernel_types().functions
    calls = [INSTRUCTION.pack(_CALL, _OF_THE_KERNEL, 0, found[name]) for name in PREEMPTION if name in found]
    return loads(Place(ProgramType.RAW_TRACEPOINT), b"".join(calls) + _GO_ON)


def asks_programs() -> bool:
    """Whether programs are among the kernel's security modules; False before Linux 6.8, which can't say."""
    modules = (ctypes.c_uint64 * _MODULES_MAX)()
    size = ctypes.c_uint32(ctypes.sizeof(modules))
    try:
        number = system_call("lsm_list_modules", modules, ctypes.byref(size), 0)
    except OSError:
        return False
    return _LSM_ID_BPF in modules[:number]


class Hook(NamedTuple):
    """A program at a hook of the cgroup hierarchy."""

    name: str
    type: ProgramType
    attach_type: AttachType
    places: str = ""
    """The map through which other programs tail-call this one; empty: no program does."""
    place: int = 0

    def load(self, code: bytes, maps: Sequence[int]) -> int:
        """Load the program; return its descriptor. Raises VerifierError."""
        return load_program(self.name, Place(self.type, self.attach_type), code, maps)

    def attach(self, program: int, maps: Mapping[str, int], cgroup: int) -> int | None:
        """Attach the program; return the link's descriptor. Raises OSError."""
        if self.places:
            place_program(maps[self.places], self.place, program)
        return attach_to_cgroup(program, cgroup, self.attach_type)


class ContextHook(NamedTuple):
    """A program at a hook of the cgroup hierarchy that reads the kernel's own context of the hook.

    It is left out where the kernel has no such hook (Linux 6.7), or no function that gives that context.
    """

    name: str
    type: ProgramType
    attach_type: AttachType
    unless: str = ""
    """As in `Tracepoint`."""

    @property
    def is_there(self) -> bool:
        """Whether the kernel loads a program for this hook."""
        try:
            return KERNEL_CONTEXT in kernel_types().functions and loads(self._place, _GO_ON)
        except KernelError:
            return False

    @property
    def _place(self) -> Place:
        return Place(self.type, self.attach_type)

    def load(self, code: bytes, maps: Sequence[int]) -> int:
        """Load the program; return its descriptor. Raises VerifierError."""
        return load_program(self.name, self._place, _calling_the_kernel(code), maps)

    def attach(self, program: int, _maps: Mapping[str, int], cgroup: int) -> int | None:
        """Attach the program; return the link's descriptor. Raises OSError."""
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
        return load_program(self.name, Place(self.type, self.attach_type), code, maps)

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
        return load_program(self.name, Place(self.type, self.attach_type), code, maps)


Program = Tracepoint | SecurityHook | FunctionExit | Hook | ContextHook | Continuation | Reserve

FOR_POLICIES = frozenset(
    {
        *("on_next", "on_grant", "on_alias", "on_name", "on_lookup", "on_send", "on_sock_create"),
        *("on_frame", "idle_frame", "on_setsockopt", "idle_setsockopt"),
    }
)
"""The names of the programs that do nothing where no job is held to a policy."""


def is_needed(program: Program, attached: Collection[str]) -> bool:
    """Whether `program` isn't one that only stands in the place of others, all of which are `attached`."""
    unless = program.unless.split() if isinstance(program, (Tracepoint, ContextHook)) else []
    return not unless or any(name not in attached for name in unless)


def possible(programs: Sequence[Program]) -> list[Program]:
    """Return the programs without those for which the kernel has no hook."""
    kinds = (SecurityHook, FunctionExit, ContextHook)
    return [each for each in programs if not isinstance(each, kinds) or each.is_there]
