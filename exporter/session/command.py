"""COMMAND: forked before anything else happens, held until the hooks are live, then let go.

Between fork and exec the child changes only its user, and undoes Python's changes to its signals:
descriptors, working directory, umask, limits, process group, session and terminal are the caller's.
"""

from __future__ import annotations

import contextlib
import errno
import json
import os
import re
import select
import shlex
import signal
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import NoReturn, Self

from exporter.common.errors import CiEgressError, CommandNotExecutableError, CommandNotFoundError, KernelError
from exporter.common.limits import limit_hint
from exporter.kernel import requirements
from exporter.kernel.libc import pidfd_open
from exporter.kernel.requirements import as_root

from .signals import SignalState
from .users import CommandUser

_END_OF_ENVIRONMENT = b"\n"
"""The end of the message through the gate, behind its JSON; where it is missing, the parent died writing."""

_PAUSE_S = 0.01
_SHELL = b"/bin/sh"
_NOT_FOUND = frozenset({errno.ENOENT, errno.ENOTDIR})
_OF_A_SHELL = re.compile(r"[\s;&|<>$`]")
_LOOK_FURTHER = _NOT_FOUND | {errno.EACCES, errno.ESTALE, errno.ENODEV, errno.ETIMEDOUT}
"""Errors after which execvp(3) tries the next directory of PATH."""


def inherited_environment() -> dict[str, str]:
    """Return the environment that ci-egress was started with; undecodable bytes are surrogate-escaped.

    Not `os.environ`: Python adds LC_CTYPE to it under the C locale (PEP 538). Of entries with one name the
    first counts, as for getenv(3).
    """
    environment: dict[str, str] = {}
    for entry in Path("/proc/self/environ").read_bytes().split(b"\0"):
        name, separator, value = os.fsdecode(entry).partition("=")
        if name and separator:
            environment.setdefault(name, value)
    return environment


class HeldCommand:
    """A child that will be COMMAND.

    `with` forks the child, which must come before any thread is started. If the block ends, or ci-egress is
    killed, before `release` succeeded, the child ends and COMMAND hasn't run. After that, COMMAND goes on.
    """

    pid: int
    pidfd: int
    """Readable when COMMAND has ended."""

    def __init__(self, argv: Sequence[str], *, user: CommandUser | None, signals: SignalState) -> None:
        self._argv = argv
        self._user = user
        self._signals = signals
        self._status: int | None = None
        self._started = False

    def __enter__(self) -> Self:
        gate, opener = os.pipe()
        report, reporter = os.pipe()
        try:
            self.pid = os.fork()
        except OSError as error:
            raise KernelError(
                f"cannot make a process: {error.strerror}", hint=limit_hint(str(error))
            ) from None
        if self.pid == 0:
            os.close(opener)
            _wait_and_become(self._argv, self._user, self._signals, gate=gate, report=reporter)
        os.close(gate)
        os.close(reporter)
        self._gate = os.fdopen(opener, "wb")
        self._report = os.fdopen(report, "rb")
        self.pidfd = pidfd_open(self.pid)
        return self

    def __exit__(self, *_: object) -> None:
        self._gate.close()
        self._report.close()
        os.close(self.pidfd)
        if not self._started and self._status is None:
            os.kill(self.pid, signal.SIGKILL)
            os.waitpid(self.pid, 0)

    @property
    def is_started(self) -> bool:
        """Whether COMMAND runs, or ran."""
        return self._started

    def release(self, environment: Mapping[str, str]) -> None:
        """Start COMMAND in the child, with this environment; returns when it runs.

        If COMMAND gets another user, that user's HOME, USER and LOGNAME are added. A COMMAND
        without a slash is looked for in the PATH of this environment, and a script without `#!` line is given
        to /bin/sh, as env(1) does. Raises CommandNotFoundError, CommandNotExecutableError, and KernelError
        when the user can't be changed. It is no error when a signal ended the child before: `poll` returns
        its status.
        """
        own = self._user.environment() if self._user else {}
        message = json.dumps({**environment, **own}).encode("ascii") + _END_OF_ENVIRONMENT
        with contextlib.suppress(BrokenPipeError), self._gate:
            self._gate.write(message)
        failure = self._report.read()
        if failure:
            raise _error(self._argv[0], self._user, *json.loads(failure))
        self._started = True

    def poll(self) -> int | None:
        """Return COMMAND's exit status as a shell counts it, 128 + n after signal n; None while it lives."""
        if self._status is None:
            wait_status = self._wait_status()
            if wait_status is not None:
                code = os.waitstatus_to_exitcode(wait_status)
                self._status = code if code >= 0 else 128 - code
        return self._status

    def wait(self, meanwhile: Callable[[], object]) -> int:
        """Wait for COMMAND's end and return its exit status; until then `meanwhile` is called every 10 ms."""
        while (status := self.poll()) is None:
            meanwhile()
            time.sleep(_PAUSE_S)
        return status

    def _wait_status(self) -> int | None:
        # While a debugger traces COMMAND, wait(2) may report its end late, or never; /proc shows it at once.
        has_ended = _is_readable(self.pidfd)
        pid, wait_status = os.waitpid(self.pid, os.WNOHANG)
        if pid:
            return wait_status
        return _shown_wait_status(self.pid) if has_ended else None


def _is_readable(descriptor: int) -> bool:
    poll = select.poll()
    poll.register(descriptor, select.POLLIN)
    return bool(poll.poll(0))


def _shown_wait_status(pid: int) -> int | None:
    """Return the status that wait(2) will return for a process that has ended; None if it may not be read."""
    try:
        Path(f"/proc/{pid}/exe").readlink()
    except PermissionError:  # /proc/PID/stat would show a 0, as after success
        return None
    except FileNotFoundError:  # a process that has ended has no executable any more
        pass
    # Field 52 (exit_code) of proc_pid_stat(5), counted from the third, behind the name.
    return int(Path(f"/proc/{pid}/stat").read_bytes().rpartition(b")")[2].split()[49])


def _wait_and_become(
    argv: Sequence[str], user: CommandUser | None, signals: SignalState, *, gate: int, report: int
) -> NoReturn:
    """Do all that the child does. No exception may escape: below this function is the parent's stack."""
    step = "user"
    try:
        environment = _receive_environment(gate)
        if environment is not None:
            _take_rights(user)
            step = "exec"
            signals.restore()
            _execute([os.fsencode(argument) for argument in argv], environment)
    except OSError as error:
        os.write(report, json.dumps([step, error.errno, os.fsdecode(error.filename or "")]).encode("ascii"))
    finally:
        os._exit(CommandNotExecutableError.exit_status)


def _receive_environment(gate: int) -> dict[str, str] | None:
    """Read COMMAND's environment from the gate; None when the gate was closed before all of it came."""
    with os.fdopen(gate, "rb") as stream:
        message = stream.read()
    if not message.endswith(_END_OF_ENVIRONMENT):
        return None
    environment: dict[str, str] = json.loads(message)
    return environment


def _take_rights(user: CommandUser | None) -> None:
    if user is not None:
        user.assume()
    if os.geteuid() != 0:
        requirements.drop_all()


def _execute(argv: list[bytes], environment: Mapping[str, str]) -> NoReturn:
    """Execute as execvp(3) does, but with the PATH of `environment`; raises OSError with the path tried."""
    failure: OSError = FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT), argv[0])
    for path in _candidates(argv[0], environment):
        try:
            _execute_file(path, argv, environment)
        except OSError as error:
            if error.errno not in _LOOK_FURTHER:
                raise
            if error.errno == errno.EACCES or os.path.lexists(path):
                failure = error
    raise failure


def _candidates(name: bytes, environment: Mapping[str, str]) -> Iterator[bytes]:
    if b"/" in name:
        yield name
    elif name:
        for directory in os.fsencode(environment.get("PATH", os.defpath)).split(b":"):
            yield directory + b"/" + name if directory else name


def _execute_file(path: bytes, argv: list[bytes], environment: Mapping[str, str]) -> NoReturn:
    try:
        os.execve(path, argv, environment)  # noqa: S606 - to run the user's command is the purpose
    except OSError as error:
        if error.errno != errno.ENOEXEC:
            raise
    os.execve(_SHELL, [_SHELL, path, *argv[1:]], environment)  # noqa: S606 - as above


def _error(name: str, user: CommandUser | None, step: str, code: int, path: str) -> CiEgressError:
    reason = os.strerror(code)
    if step == "user":
        return KernelError(
            f"COMMAND can't run as {user.name if user else 'this user'!r}: {reason}",
            hint="run ci-egress as root outside a user namespace, or choose with --user",
        )
    if code in _NOT_FOUND:
        return CommandNotFoundError(f"COMMAND not found: {name!r}", hint=_not_found_hint(name, path))
    what = f"COMMAND can't be executed: {path!r}: {reason}"
    return CommandNotExecutableError(what, hint=_refusal_hint(code, path))


def _not_found_hint(name: str, path: str) -> str:
    if os.path.lexists(path):
        return f"{path!r} exists, but the interpreter or link target that it names doesn't"
    if name.startswith("-"):
        return "options of ci-egress stand before `--`, which COMMAND follows"
    if _OF_A_SHELL.search(name):
        return "a command line is for a shell to read: `ci-egress run -- sh -c '…'`"
    if "/" in name:
        return "check the path"
    if "SUDO_UID" in os.environ:
        own_path = f'env "PATH=$PATH" {shlex.quote(name)}'
        return f"sudo replaced PATH, give COMMAND yours: `{as_root()} run -- {own_path} …`"
    return "no directory of PATH has it"


def _refusal_hint(code: int, path: str) -> str | None:
    if code != errno.EACCES:
        return None
    if Path(path).is_dir():
        return "it is a directory"
    return f"`chmod +x {path!r}`, and its directories and mount must let COMMAND's user execute it"
