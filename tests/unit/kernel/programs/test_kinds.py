"""How a program comes to answer in place of the kernel's security modules, on any kernel."""

from __future__ import annotations

import errno
import os
from typing import TYPE_CHECKING, Any

import pytest

from exporter.kernel.compilation import btf
from exporter.kernel.compilation.btf import KernelTypes
from exporter.kernel.compilation.bytecode import INSTRUCTION
from exporter.kernel.programs import kinds, objects
from exporter.kernel.programs.hooks import PROGRAMS
from exporter.kernel.programs.kinds import FunctionExit, SecurityHook, Tracepoint, is_needed
from exporter.kernel.programs.objects import AttachType, Place, ProgramType

if TYPE_CHECKING:
    from collections.abc import Callable

HOOK = SecurityHook("on_send", "socket_sendmsg")
FUNCTIONS = {"bpf_lsm_socket_sendmsg": 7, "security_socket_sendmsg": 8}
ENOTSUPP = 524


def refusing(code: int) -> Callable[..., int]:
    """What the kernel does that attaches none."""

    def refuse(*_: object) -> int:
        raise OSError(code, os.strerror(code))

    return refuse


@pytest.fixture(params=[True, False], ids=["a module", "no module"])
def asks_programs(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> bool:
    is_one: bool = request.param
    monkeypatch.setattr(kinds, "asks_programs", lambda: is_one)
    return is_one


@pytest.fixture
def functions(monkeypatch: pytest.MonkeyPatch) -> dict[str, int]:
    found = dict(FUNCTIONS)
    monkeypatch.setattr(kinds, "kernel_types", lambda: KernelTypes({}, found))
    return found


@pytest.mark.usefixtures("functions")
def test_it_is_for_the_modules_that_are_programs_or_else_for_whoever_asks_them(
    asks_programs: bool,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    loaded: list[tuple[Any, ...]] = []

    def load(*given: object) -> int:
        loaded.append(given)
        return 5

    monkeypatch.setattr(kinds, "load_program", load)
    assert HOOK.load(b"code", [3]) == 5
    module = Place(ProgramType.LSM, AttachType.LSM_MAC, 7)
    in_front = Place(ProgramType.TRACING, AttachType.MODIFY_RETURN, 8)
    assert loaded == [("on_send", module if asks_programs else in_front, b"code", [3])]


def test_it_is_left_out_where_the_function_is_missing(
    asks_programs: bool, functions: dict[str, int], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(kinds, "loads", lambda *_: True)
    assert HOOK.is_there
    del functions["bpf_lsm_socket_sendmsg" if asks_programs else "security_socket_sendmsg"]
    assert not HOOK.is_there


@pytest.mark.usefixtures("functions", "asks_programs")
def test_it_is_left_out_where_everybody_is_forbidden_such_programs(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(objects, "bpf", refusing(errno.EPERM))
    assert not HOOK.is_there


@pytest.mark.parametrize("code", [ENOTSUPP, errno.EOPNOTSUPP, errno.EBUSY, errno.ENODEV, errno.EPERM])
def test_it_is_left_out_where_the_kernel_cannot_attach_it_but_not_for_want_of_rights(
    monkeypatch: pytest.MonkeyPatch, code: int
) -> None:
    monkeypatch.setattr(kinds, "attach_to_function", refusing(code))
    if code == errno.EPERM:
        with pytest.raises(PermissionError):
            HOOK.attach(5, {}, 0)
    else:
        assert HOOK.attach(5, {}, 0) is None


def test_execs_are_noticed_before_forks_are() -> None:
    """Else the first exec of a process that was noticed at its fork would seem to have been missed."""
    names = [program.name for program in PROGRAMS]
    assert {"before_exec", "on_exec", "after_exec"} == set(names[: names.index("on_fork")])


def test_a_function_of_the_kernel_is_called_where_programs_may_call_it(
    functions: dict[str, int], monkeypatch: pytest.MonkeyPatch
) -> None:
    calls = {name: INSTRUCTION.pack(0x85, 0, 0, number) for name, number in btf.KERNEL_FUNCTIONS.items()}
    loaded: list[bytes] = []
    monkeypatch.setattr(kinds, "load_program", lambda _name, _place, code, _maps: loaded.append(code))
    functions |= dict(zip(btf.PREEMPTION, (4, 5), strict=True))
    for may_call in (True, False):
        monkeypatch.setattr(kinds, "loads", lambda *_, may_call=may_call: may_call)
        Tracepoint("on_exec", "sched_process_exec").load(b"".join(calls.values()), [])
    nothing = INSTRUCTION.pack(0xB7, 0, 0, 0)
    called = [INSTRUCTION.pack(0x85, 2 << 4, 0, number) for number in (4, 5)]
    assert loaded == [nothing + b"".join(called), nothing * 3]


def test_the_functions_of_every_such_program_are_looked_up() -> None:
    """Else it would be left out on every kernel, and nothing would say so."""
    hooks = {program.hook for program in PROGRAMS if isinstance(program, SecurityHook)}
    wanted = {f"{prefix}_{hook}" for prefix in ("bpf_lsm", "security") for hook in hooks}
    wanted |= {program.function for program in PROGRAMS if isinstance(program, FunctionExit)}
    wanted |= set(btf.KERNEL_FUNCTIONS)
    assert wanted == set(btf.FUNCTIONS)


def test_one_that_stands_in_for_others_is_needed_unless_all_of_these_are_attached() -> None:
    stands_in = Tracepoint("on_sys_enter", "sys_enter", unless="on_socket on_bpf")
    assert is_needed(stands_in, {"on_socket"})
    assert not is_needed(stands_in, {"on_socket", "on_bpf", "on_send"})
    assert is_needed(Tracepoint("on_exit", "sched_process_exit"), {"on_exit"})
    assert is_needed(HOOK, {"on_send"})


def test_whatever_one_stands_in_for_there_is_and_comes_before_it() -> None:
    """Else it would be attached on every kernel, or on none."""
    names = [program.name for program in PROGRAMS]
    for program in PROGRAMS:
        if isinstance(program, Tracepoint) and program.unless:
            before = names[: names.index(program.name)]
            assert set(program.unless.split()) <= {*before}


@pytest.mark.usefixtures("functions", "asks_programs")
@pytest.mark.parametrize("link", [None, "there"])
def test_it_takes_programs_where_one_can_be_attached_and_keeps_none(
    monkeypatch: pytest.MonkeyPatch, link: str | None
) -> None:
    opened = list[int]()

    def open_one(*_: object) -> int:
        opened.append(os.open("/dev/null", os.O_RDONLY))
        return opened[-1]

    monkeypatch.setattr(kinds, "load_program", open_one)
    monkeypatch.setattr(kinds, "attach_to_function", refusing(errno.EBUSY) if link is None else open_one)
    assert HOOK.takes_programs() == (link is not None)
    for descriptor in opened:
        with pytest.raises(OSError, match="Bad file descriptor"):
            os.fstat(descriptor)
