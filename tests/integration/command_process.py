"""What `ci-egress run` does with COMMAND, without tracing, and what tests need to start and watch it."""

from __future__ import annotations

import argparse
import contextlib
import os
import select
import signal
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, TypeVar

ROOT = Path(__file__).resolve().parents[2]
"""Not from tests.checkout: this file is also run as a script, to which `tests` is no package."""
DEADLINE_S = 60.0
"""For what a machine does at once, unless it is busy with other things."""
APART_S = 0.15
"""Further apart than signals that count as one act."""
QUIET_S = 0.4
"""For so long a second copy of a signal is waited for."""

Process = TypeVar("Process", bound="subprocess.Popen[Any]")

RECORDER = """
import os, signal, sys
signals = set(signal.Signals) - {signal.SIGCONT, signal.SIGCHLD}
signal.pthread_sigmask(signal.SIG_BLOCK, signals)
print("ready", os.getpid(), flush=True)
for act in sys.argv[1:]:
    os.kill(os.getppid() if act == "parent" else 0, signal.SIGTERM)
while (info := signal.sigtimedwait(signals, 100)) and info.si_signo != signal.SIGWINCH:
    print(signal.Signals(info.si_signo).name, flush=True)
"""
"""A COMMAND that prints each signal it gets, having sent one to what its arguments say; SIGWINCH ends it."""

SEIZE_PARENT = """
import ctypes, os, time
parent, (said, say) = os.getppid(), os.pipe()
if os.fork() == 0:
    if os.fork() == 0:
        PTRACE_SEIZE = 0x4206
        if ctypes.CDLL(None, use_errno=True).ptrace(PTRACE_SEIZE, parent, None, None) == 0:
            os.write(say, b"seized")
        os.closerange(0, 3)
        os.close(say)
        time.sleep(3)
    os._exit(0)
os.close(say)
assert os.read(said, 6) == b"seized"
"""
"""A debugger of the shell that started it, one that never waits for its end and goes away after 3 s."""


def recorder(*acts: str) -> list[str]:
    """Give the argv of the recorder."""
    return [sys.executable, "-c", RECORDER, *acts]


def driver(
    *command: str, user: str | None = None, hold: Path | None = None, in_turns: bool = False
) -> list[str]:
    """Give the argv that runs `command`; held until the file `hold` exists, when one is given.

    `in_turns`, it looks for signals once for each byte of its stdin, which it sends back then.
    """
    options = [f"--user={user}"] if user is not None else []
    options += [f"--hold={hold}"] if hold is not None else []
    options += ["--in-turns"] if in_turns else []
    return [sys.executable, __file__, *options, "--", *command]


def start(
    argv: Sequence[str], env: Mapping[str, str] | None = None, stdin: int | None = subprocess.DEVNULL
) -> subprocess.Popen[str]:
    """Start a driver in a process group of its own, output to pipes."""
    pipe = subprocess.PIPE
    return remember(
        subprocess.Popen(
            argv,
            env=env,
            stdin=stdin,
            stdout=pipe,
            stderr=pipe,
            text=True,
            errors="surrogateescape",
            process_group=0,
        )
    )


_started: list[subprocess.Popen[Any]] = []


def remember(process: Process) -> Process:
    """Have it ended by `end_started`."""
    _started.append(process)
    return process


def end_started() -> None:
    """End what is left of what a test started, which is nothing unless it failed."""
    while _started:
        process = _started.pop()
        if process.poll() is None:
            with contextlib.suppress(ProcessLookupError):  # it needn't lead a group
                os.killpg(process.pid, signal.SIGKILL)
            process.kill()
            process.wait()
        for stream in (process.stdin, process.stdout, process.stderr):
            if stream is not None:
                stream.close()


def run(argv: Sequence[str | bytes], **how: object) -> subprocess.CompletedProcess[bytes]:
    """Run a driver to its end."""
    settings: dict[str, object] = {"capture_output": True, "timeout": DEADLINE_S, **how}
    return subprocess.run(argv, check=False, **settings)  # type: ignore[call-overload,no-any-return]


def next_line(process: subprocess.Popen[str]) -> str:
    """Wait for COMMAND's next line of output; empty when there is none any more."""
    assert process.stdout is not None
    line = b""
    while not line.endswith(b"\n"):  # bytewise: what a buffer took, `communicate` would miss
        line += os.read(process.stdout.fileno(), 1) or b"\n"
    return line.decode().rstrip("\n")


def wait_until_ready(process: subprocess.Popen[str]) -> int:
    """Wait for the recorder's first line; its pid."""
    word, pid = next_line(process).split()
    assert word == "ready"
    return int(pid)


def end_recorder(process: subprocess.Popen[str], recorder_pid: int, expected: Sequence[str]) -> None:
    """Wait for the recorder to print these signals, and end it when it had time to get one twice."""
    assert [next_line(process) for _ in expected] == [*expected]
    time.sleep(QUIET_S)
    os.kill(recorder_pid, signal.SIGWINCH)


def children_of(pid: int) -> list[int]:
    """Pids of the live children of a process with one thread."""
    return [int(child) for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]


def wait_for_children(pid: int, count: int) -> list[int]:
    """Wait until a process has so many children; they."""
    deadline_s = time.monotonic() + DEADLINE_S
    while len(children := children_of(pid)) < count:
        assert time.monotonic() < deadline_s, f"{children} of {count} children"
        time.sleep(0.01)
    return children


def is_gone(pid: int) -> bool:
    """Whether a process has ended, once it had the time to; a zombie has."""
    deadline_s = time.monotonic() + DEADLINE_S
    while time.monotonic() < deadline_s:
        if state_of(pid) in {"", "Z", "X"}:
            return True
        time.sleep(0.01)
    return False


def state_of(pid: int) -> str:
    """The state letter of /proc/PID/stat; empty when there is no such process."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except (FileNotFoundError, ProcessLookupError):
        return ""


def wait_for_state(pid: int, wanted: str) -> None:
    """Wait until the state of a process is one of `wanted`'s letters."""
    deadline_s = time.monotonic() + DEADLINE_S
    while state_of(pid) not in wanted:
        assert time.monotonic() < deadline_s, f"{pid} is {state_of(pid)!r}, not {wanted!r}"
        time.sleep(0.01)


def masks(status: str) -> dict[str, int]:
    """The hexadecimal fields of a /proc/PID/status: signals and capabilities."""
    fields = (line.split() for line in status.splitlines() if line.startswith(("Sig", "Shd", "Cap")))
    return {name.rstrip(":"): int(value, 16) for name, value in fields if "/" not in value}


def bit(signal_number: signal.Signals) -> int:
    """The signal's bit in a field of /proc/PID/status."""
    return 1 << (signal_number - 1)


def main() -> int:
    """Run COMMAND as `ci-egress run` would."""
    sys.path.insert(0, str(ROOT))
    from exporter.common.errors import CiEgressError
    from exporter.session.command import inherited_environment

    parser = argparse.ArgumentParser()
    parser.add_argument("--user")
    parser.add_argument("--hold", type=Path)
    parser.add_argument("--in-turns", action="store_true")
    parser.add_argument("command", nargs="+")
    arguments = parser.parse_args()
    try:
        return _drive(arguments, inherited_environment())
    except CiEgressError as error:
        sys.stderr.write(f"{error}\n")
        return error.exit_status


def _drive(arguments: argparse.Namespace, environment: dict[str, str]) -> int:
    from exporter.session.command import HeldCommand
    from exporter.session.signals import SignalRelay
    from exporter.session.users import command_user

    user = command_user(arguments.user, environment, euid=os.geteuid())
    with (
        SignalRelay() as relay,
        HeldCommand(arguments.command, user=user, signals=relay.inherited) as command,
    ):
        while arguments.hold and not arguments.hold.exists():
            time.sleep(0.01)
        if arguments.hold and arguments.hold.read_text() == "give up":
            return 91
        command.release(environment)
        while (status := command.poll()) is None:
            turn = arguments.in_turns and os.read(0, 1)
            relay.pump(command)
            if turn:
                os.write(0, turn)
            else:
                select.select([command.pidfd], [], [], 0.01)
        return status


if __name__ == "__main__":
    sys.exit(main())
