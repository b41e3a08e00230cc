"""How a program comes to answer in place of the kernel's security modules, on any kernel."""

from __future__ import annotations

import errno
import os
from typing import Any

import pytest

from exporter.kernel.compilation import btf
from exporter.kernel.compilation.btf import KernelTypes
from exporter.kernel.programs import kinds
from exporter.kernel.programs.hooks import PROGRAMS
from exporter.kernel.programs.kinds import SecurityHook
from exporter.kernel.programs.objects import AttachType, ProgramType
from exporter.kernel.programs.verifier import VerifierError

HOOK = SecurityHook("on_send", "socket_sendmsg")
FUNCTIONS = {"bpf_lsm_socket_sendmsg": 7, "security_socket_sendmsg": 8}
ENOTSUPP = 524


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
    module = (ProgramType.LSM, AttachType.LSM_MAC, b"code", [3], 7)
    in_front = (ProgramType.TRACING, AttachType.MODIFY_RETURN, b"code", [3], 8)
    assert loaded == [("on_send", *(module if asks_programs else in_front))]


def test_it_is_left_out_where_the_function_is_missing(
    asks_programs: bool, functions: dict[str, int], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(kinds, "load_program", lambda *_: os.open("/dev/null", os.O_RDONLY))
    assert HOOK.is_there
    del functions["bpf_lsm_socket_sendmsg" if asks_programs else "security_socket_sendmsg"]
    assert not HOOK.is_there


@pytest.mark.usefixtures("functions", "asks_programs")
def test_it_is_left_out_where_everybody_is_forbidden_such_programs(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object) -> int:
        raise VerifierError(os.strerror(errno.EPERM))

    monkeypatch.setattr(kinds, "load_program", refuse)
    assert not HOOK.is_there


@pytest.mark.parametrize("code", [ENOTSUPP, errno.EOPNOTSUPP, errno.EBUSY, errno.ENODEV, errno.EPERM])
def test_it_is_left_out_where_the_kernel_cannot_attach_it_but_not_for_want_of_rights(
    monkeypatch: pytest.MonkeyPatch, code: int
) -> None:
    def refuse(_program: int) -> int:
        raise OSError(code, os.strerror(code))

    monkeypatch.setattr(kinds, "attach_to_function", refuse)
    if code == errno.EPERM:
        with pytest.raises(PermissionError):
            HOOK.attach(5, {}, 0)
    else:
        assert HOOK.attach(5, {}, 0) is None


def test_the_functions_of_every_such_program_are_looked_up() -> None:
    """Else it would be left out on every kernel, and nothing would say so."""
    hooks = {program.hook for program in PROGRAMS if isinstance(program, SecurityHook)}
    wanted = {f"{prefix}_{hook}" for prefix in ("bpf_lsm", "security") for hook in hooks}
    assert wanted == set(btf.FUNCTIONS)
