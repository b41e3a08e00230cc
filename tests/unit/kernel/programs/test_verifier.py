"""What is told of a program that the kernel refuses, whatever the length of what its verifier says."""

from __future__ import annotations

import ctypes
import errno
import os
import platform

import pytest

from exporter.common.errors import KernelError
from exporter.kernel.programs.verifier import VerifierError, failures_told, last_word, refusal

FAULT = "R4 invalid zero-sized read"
FIGURES = (
    "verification time 127 usec\nstack depth 0\n"
    "processed 5 insns (limit 1000000) max_states_per_insn 0 total_states 0 peak_states 0 mark_read 0\n"
)
STEP = "1: (b7) r0 = 0                        ; R0_w=0\n"


class Kernel:
    """A verifier that takes so many steps until it says what is wrong."""

    def __init__(self, steps: int, *, keeps_end: bool, fault: str = FAULT) -> None:
        self.steps = steps
        self.keeps_end = keeps_end
        self.fault = fault
        self.rooms: list[int] = []

    def __call__(self, level: int, room: int, address: int) -> int:
        self.rooms.append(room)
        said = (STEP * self.steps if level & 3 else "") + (f"{self.fault}\n" if self.fault else "") + FIGURES
        text = said.encode()
        kept = text[-(room - 1) :] if self.keeps_end else text[: room - 1]
        ctypes.memmove(address, kept + b"\0", len(kept) + 1)
        raise OSError(errno.ENOSPC if len(text) >= room else errno.EACCES, "")


@pytest.mark.parametrize("keeps_end", [False, True], ids=["before 6.4", "since 6.4"])
@pytest.mark.parametrize("steps", [3, 50_000, 300_000])
def test_what_it_said_last_is_told_however_much_it_was(steps: int, *, keeps_end: bool) -> None:
    error = refusal(errno.EACCES, Kernel(steps, keeps_end=keeps_end))
    assert (str(error), error.reason) == ("Permission denied", FAULT)
    lines = error.log.splitlines()
    assert len(lines) == min(steps + 4, 100)
    assert lines[-5:-3] == [STEP.rstrip("\n"), FAULT]


def test_where_its_way_finds_no_room_at_all_the_fault_is_told() -> None:
    kernel = Kernel(1_500_000, keeps_end=False)
    error = refusal(errno.EACCES, kernel)
    assert error.log.splitlines() == [FAULT, *FIGURES.splitlines()]
    assert max(kernel.rooms) == 64 << 20


def test_a_refusal_in_which_it_had_no_part_has_no_reason() -> None:
    error = refusal(errno.EPERM, Kernel(0, keeps_end=True, fault=""))
    assert (str(error), error.reason, error.log) == ("Operation not permitted", "", "")


def test_what_was_refused_once_and_then_taken_has_no_reason() -> None:
    taken = os.open("/dev/null", os.O_RDONLY)
    error = refusal(errno.EAGAIN, lambda _level, _room, _address: os.dup(taken))
    os.close(taken)
    assert (error.reason, error.log) == ("", "")


def test_figures_are_no_reason() -> None:
    assert last_word(f"0: (95) exit\nR0 !read_ok\n{FIGURES}") == "R0 !read_ok"
    assert last_word(FIGURES) == last_word("") == ""


def told(error: Exception) -> KernelError:
    with pytest.raises(KernelError) as raised, failures_told("load", "on_grant"):
        raise error
    return raised.value


def test_the_kernel_the_program_and_the_verifiers_last_word_are_named() -> None:
    error = told(VerifierError("Permission denied", FAULT, "how it came to that"))
    release = platform.release()
    assert error.what == f"cannot load the programs: Linux {release} refuses on_grant: {FAULT}"
    assert error.hint == "boot another kernel, and report this one with what -v says"
    assert error.detail == "how it came to that"


@pytest.mark.parametrize("code", [errno.EPERM, errno.EACCES])
@pytest.mark.parametrize("kind", [VerifierError, OSError])
def test_what_is_forbidden_is_a_matter_of_rights_and_not_of_the_kernels_age(
    kind: type[Exception], code: int
) -> None:
    what = os.strerror(code)
    error = told(OSError(code, what) if kind is OSError else VerifierError(what))
    assert error.what == f"cannot load the programs: on_grant: {what}"
    assert str(error.hint).startswith("run as root, or with the capabilities")


def test_a_kernel_that_knows_no_such_program_is_told_what_it_lacks() -> None:
    error = told(VerifierError("Invalid argument"))
    assert error.hint == "boot a kernel with CONFIG_BPF_SYSCALL, CONFIG_CGROUP_BPF and CONFIG_NET_CLS_BPF"


def test_a_limit_is_named_as_such() -> None:
    assert "open files" in str(told(OSError(errno.EMFILE, os.strerror(errno.EMFILE))).hint)
