"""Signals sent to ci-egress reach COMMAND, each exactly once.

COMMAND shares ci-egress's process group, so a signal to the group (^C, `kill -- -PGID`) reaches it without
help, and a signal to ci-egress alone doesn't; the receiver can't tell the two apart. A **canary** can:
another member of the group, in which every signal stays pending. A signal that pends there was sent to the
group. /proc shows it at once, however busy the machine is; a report by the canary would come late.
"""

from __future__ import annotations

import contextlib
import os
import signal
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple, NoReturn, Protocol, Self

from exporter.kernel.libc import pidfd_send_signal

_NOT_RELAYED = (
    {signal.SIGKILL, signal.SIGSTOP}  # nobody can hold them back
    | {signal.SIGTSTP, signal.SIGTTIN, signal.SIGTTOU, signal.SIGCONT}  # they are for ci-egress as well
    | {signal.SIGCHLD, signal.SIGPIPE, signal.SIGXFSZ, signal.SIGWINCH, signal.SIGURG}  # it survives them
    | {signal.SIGSEGV, signal.SIGBUS, signal.SIGFPE, signal.SIGILL, signal.SIGTRAP, signal.SIGSYS}  # faults
)
RELAYED = frozenset(signal.valid_signals()) - _NOT_RELAYED
"""The signals that are handed on to COMMAND; each would end ci-egress, and leave COMMAND to itself."""

_GRACE_S = 0.05
"""How many seconds apart a signal to ci-egress and one to its group may come and still count as one.

timeout(1) sends both.
"""

_IGNORED_BY_PYTHON = (signal.SIGPIPE, signal.SIGXFSZ)


class Receiver(Protocol):
    """COMMAND, as a receiver of signals."""

    @property
    def pid(self) -> int:
        """COMMAND's process id."""

    @property
    def pidfd(self) -> int:
        """A descriptor of COMMAND's process, immune to reuse of its pid."""


@dataclass(frozen=True)
class SignalState:
    """The state of signals when ci-egress was started, so that COMMAND starts with the same."""

    mask: frozenset[int]
    """Blocked signals."""
    children_ignored: bool
    """Whether SIGCHLD was ignored; while it is, wait(2) returns no exit status."""

    def restore(self) -> None:
        """Undo the changes of Python and `SignalRelay`; a blocked signal that pends is delivered here.

        Signals that the caller ignored (nohup's SIGHUP) stay ignored. Python doesn't show whether SIGPIPE and
        SIGXFSZ were ignored: they get their defaults.
        """
        for number in signal.valid_signals():
            if callable(signal.getsignal(number)):
                signal.signal(number, signal.SIG_DFL)
        for number in _IGNORED_BY_PYTHON:
            signal.signal(number, signal.SIG_DFL)
        if self.children_ignored:
            signal.signal(signal.SIGCHLD, signal.SIG_IGN)
        signal.pthread_sigmask(signal.SIG_SETMASK, self.mask)


class _Moment(NamedTuple):
    """The time when a signal came: between two looks for it, which lie far apart on a busy machine."""

    since_s: float
    at_s: float

    def is_with(self, other: _Moment) -> bool:
        """Whether both may have been sent by one act."""
        return self.since_s - other.at_s < _GRACE_S and other.since_s - self.at_s < _GRACE_S


class _Arrival(NamedTuple):
    number: int
    when: _Moment
    sender_pid: int


class SignalRelay:
    """A relay that holds back the signals of `RELAYED` from ci-egress and hands them on to COMMAND.

    Enter it in the main thread before other threads start, since they inherit the mask, and leave it last:
    until then ci-egress doesn't die of these signals. Signals that come too late for COMMAND are forgotten.
    """

    inherited: SignalState
    """The state with which `HeldCommand` starts COMMAND."""

    def __init__(self) -> None:
        self._canary = _Canary()
        self._undecided: list[_Arrival] = []
        self._looked_s = time.monotonic()
        self._reached: dict[int, _Moment] = {}
        """When each signal, by its number, last reached COMMAND, with the group or through this relay."""

    def __enter__(self) -> Self:
        ignored = signal.getsignal(signal.SIGCHLD) is signal.SIG_IGN
        if ignored:
            signal.signal(signal.SIGCHLD, signal.SIG_DFL)
        mask = signal.pthread_sigmask(signal.SIG_BLOCK, RELAYED)
        self.inherited = SignalState(frozenset(mask), children_ignored=ignored)
        self._canary.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._canary.stop()
        while signal.sigtimedwait(RELAYED, 0):
            pass
        if self.inherited.children_ignored:
            signal.signal(signal.SIGCHLD, signal.SIG_IGN)
        signal.pthread_sigmask(signal.SIG_SETMASK, self.inherited.mask)

    def pump(self, command: Receiver) -> None:
        """Hand on the signals that have arrived, without waiting. Call it every 10 ms or so.

        A signal to ci-egress alone is handed on 50 ms after it came: its copy to the group may be on the way.
        """
        when = _Moment(self._looked_s, time.monotonic())
        self._looked_s = when.at_s
        self._undecided += _received(when)
        if not self._undecided:
            return
        beside_us = _in_our_group(command)
        for number in self._canary.take():
            if beside_us:
                self._reached[number] = when
        self._undecided = [
            arrival for arrival in self._undecided if not self._settle(arrival, command, when.at_s, beside_us)
        ]

    def _settle(self, arrival: _Arrival, command: Receiver, now_s: float, beside_us: bool) -> bool:
        """Hand on or drop an arrived signal; return False when it is too early to do so: then try again."""
        # A signal that COMMAND sends to its parent, or to everyone (reboot does), must not come back to it.
        if arrival.sender_pid == command.pid or self._has_reached(arrival) or _is_about_us(arrival):
            return True
        if now_s - arrival.when.at_s < _GRACE_S:
            return False
        _send(command, arrival.number)
        if not beside_us:
            self._reached[arrival.number] = arrival.when
        return True

    def _has_reached(self, arrival: _Arrival) -> bool:
        reached = self._reached.get(arrival.number)
        return reached is not None and reached.is_with(arrival.when)


class _Canary:
    """A child in our process group that keeps signals of `RELAYED` pending until they are taken."""

    def __init__(self) -> None:
        self._pid = 0
        self._requests = -1

    def start(self) -> None:
        """Fork the canary; the signals must be blocked already."""
        requests, self._requests = os.pipe()
        self._pid = os.fork()
        if self._pid == 0:
            _live_as_canary(requests)
        os.close(requests)

    def stop(self) -> None:
        """Kill the canary and wait for its end, so that no zombie stays."""
        os.close(self._requests)
        os.kill(self._pid, signal.SIGKILL)
        os.waitpid(self._pid, 0)

    def take(self) -> frozenset[int]:
        """Return the numbers of the signals sent to the group since the last call."""
        pending = self._pending()
        if pending:
            with contextlib.suppress(BrokenPipeError):
                os.write(self._requests, bytes(pending))
            # If it was stopped with the group, but not continued with it, they would stay pending for ever.
            os.kill(self._pid, signal.SIGCONT)
        return pending

    def _pending(self) -> frozenset[int]:
        lines = Path(f"/proc/{self._pid}/status").read_text(encoding="ascii", errors="replace").splitlines()
        bits = next(int(line.split()[1], 16) for line in lines if line.startswith("ShdPnd:"))
        return frozenset(number for number in RELAYED if bits >> (number - 1) & 1)


def _live_as_canary(requests: int) -> NoReturn:
    """Live as the canary: drop pending signals whose numbers are requested, until ci-egress is gone."""
    try:
        # Whoever reads ci-egress's output to its end must not wait for the canary, too.
        for descriptor in [int(entry.name) for entry in Path("/proc/self/fd").iterdir()]:
            if descriptor != requests:
                with contextlib.suppress(OSError):  # the listing's own is closed already
                    os.close(descriptor)
        while numbers := os.read(requests, len(RELAYED)):
            while signal.sigtimedwait(frozenset(numbers), 0):
                pass
    finally:
        os._exit(0)


def _received(when: _Moment) -> Iterator[_Arrival]:
    while info := signal.sigtimedwait(RELAYED, 0):
        yield _Arrival(info.si_signo, when, info.si_pid)


def _is_about_us(arrival: _Arrival) -> bool:
    """Whether the kernel sent the signal for the CPU time that ci-egress itself has used (RLIMIT_CPU)."""
    return arrival.number == signal.SIGXCPU and arrival.sender_pid == 0


def _in_our_group(command: Receiver) -> bool:
    try:
        return os.getpgid(command.pid) == os.getpgrp()
    except ProcessLookupError:
        return True


def _send(command: Receiver, number: int) -> None:
    # COMMAND may have ended, or be a setuid program, which a caller without rights couldn't signal either.
    with contextlib.suppress(ProcessLookupError, PermissionError):
        pidfd_send_signal(command.pidfd, number)
