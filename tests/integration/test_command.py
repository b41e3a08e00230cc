"""COMMAND runs as if ci-egress were not there: status, streams, environment, descriptors, limits."""

from __future__ import annotations

import contextlib
import os
import pty
import resource
import shlex
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from exporter.common.errors import CommandNotExecutableError
from exporter.session.command import HeldCommand
from exporter.session.signals import SignalRelay
from tests.integration.command_process import (
    DEADLINE_S,
    SEIZE_PARENT,
    bit,
    driver,
    is_gone,
    masks,
    run,
    start,
    wait_for_children,
    wait_for_state,
)
from tests.integration.receivers import wait_until

pytestmark = pytest.mark.integration

MINIMAL_ENVIRONMENT = {"PATH": "/usr/bin:/bin"}

EXEC_WITH_ENVIRONMENT = """
import ctypes, os, sys
def vector(texts):
    return (ctypes.c_char_p * (len(texts) + 1))(*map(os.fsencode, texts))
behind = sys.argv.index("--") + 1
environment, argv = sys.argv[1 : behind - 1], sys.argv[behind:]
ctypes.CDLL(None).execve(os.fsencode(argv[0]), vector(argv), vector(environment))
"""
"""Executes what stands behind `--` with the environment before it, which os.execve takes as a dict only."""


@pytest.mark.parametrize("status", [0, 1, 2, 91, 126, 127, 255])
def test_the_exit_status_is_commands_own(status: int) -> None:
    assert run(driver("sh", "-c", f"exit {status}")).returncode == status


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM, signal.SIGSEGV, signal.SIGPIPE])
def test_a_command_ended_by_a_signal_gives_128_and_its_number(number: signal.Signals) -> None:
    assert run(driver("sh", "-c", f"kill -{int(number)} $$")).returncode == 128 + number


@pytest.mark.parametrize(("ending", "status"), [("exit 7", 7), ("kill -9 $$", 137)])
def test_the_status_is_commands_own_also_when_a_debugger_holds_its_end(ending: str, status: int) -> None:
    result = run(driver("sh", "-c", f"{shlex.join([sys.executable, '-c', SEIZE_PARENT])}; {ending}"))
    assert result.returncode == status


@pytest.mark.parametrize("name", ["no-such-command", "./no-such-file", "/etc/passwd/below", ""])
def test_a_command_that_does_not_exist_is_127_and_one_line(name: str) -> None:
    result = run(driver(name))
    assert result.returncode == 127
    assert result.stderr.decode().startswith(f"COMMAND not found: {name!r}; ")
    assert result.stderr.count(b"\n") == 1


def test_a_directory_is_126(tmp_path: Path) -> None:
    result = run(driver(str(tmp_path)))
    assert result.returncode == 126
    assert result.stderr.endswith(b"it is a directory\n")


def test_a_file_without_the_x_bit_is_126_also_when_found_in_path(tmp_path: Path) -> None:
    (tmp_path / "tool").write_text("#!/bin/sh\n")
    by_path = run(driver(str(tmp_path / "tool")))
    by_name = run(driver("tool"), env={"PATH": f"{tmp_path}:/usr/bin:/bin"})
    assert (by_path.returncode, by_name.returncode) == (126, 126)
    assert b"chmod +x" in by_path.stderr
    assert by_path.stderr == by_name.stderr


def test_a_file_without_the_x_bit_does_not_hide_a_later_one_in_path(tmp_path: Path) -> None:
    (tmp_path / "true").write_text("not a program")
    assert run(driver("true"), env={"PATH": f"{tmp_path}:/usr/bin:/bin"}).returncode == 0


def test_a_script_whose_interpreter_is_missing_says_so(tmp_path: Path) -> None:
    script = _script(tmp_path / "script", "#!/no/such/interpreter\n")
    result = run(driver(str(script)))
    assert result.returncode == 127
    assert b"interpreter" in result.stderr


def test_a_script_without_shebang_is_given_to_the_shell_as_env_does(tmp_path: Path) -> None:
    script = _script(tmp_path / "script", 'printf "%s|" "$0" "$@"\n')
    argv = [str(script), "a b", "", "-x"]
    wrapped, plain = run(driver(*argv)), run(["env", *argv])
    assert wrapped.stdout == f"{script}|a b||-x|".encode()
    assert (wrapped.returncode, wrapped.stdout) == (plain.returncode, plain.stdout)


def test_an_environment_too_large_for_the_kernel_is_126() -> None:
    environment = {"PATH": "/bin", "LARGE": "x" * (1 << 20)}
    with (
        SignalRelay() as relay,
        HeldCommand(["true"], user=None, signals=relay.inherited) as command,
        pytest.raises(CommandNotExecutableError, match="Argument list too long"),
    ):
        command.release(environment)


def test_the_path_is_that_of_the_environment_and_its_empty_part_the_working_directory(tmp_path: Path) -> None:
    _script(tmp_path / "tool", "#!/bin/sh\necho here\n")
    assert run(driver("tool"), env={"PATH": ":/usr/bin"}, cwd=tmp_path).stdout == b"here\n"
    assert run(driver("tool"), env={"PATH": "/usr/bin"}, cwd=tmp_path).returncode == 127


def test_arguments_arrive_byte_for_byte() -> None:
    arguments = [b"", b"a b", b"\xff\xfe", "ü".encode(), b"\x1b[31m", b"-x", b"--", b"*"]
    argv = [*map(os.fsencode, driver("printf", r"%s\0")), *arguments]
    assert run(argv, env=MINIMAL_ENVIRONMENT).stdout.split(b"\0")[:-1] == arguments


def test_the_environment_arrives_byte_for_byte_and_nothing_is_added() -> None:
    environment = {
        b"PATH": b"/usr/bin:/bin",
        b"NOT_UTF8": bytes(range(1, 256)),
        b"\xffNAME": b"x",
        b"EMPTY": b"",
        b"EQUALS": b"a=b=c",
        **{b"LARGE%d" % number: b"x" * 120_000 for number in range(8)},
    }
    given = run(driver("env", "-0"), env=environment).stdout
    assert dict(entry.split(b"=", 1) for entry in given.split(b"\0")[:-1]) == environment


def test_of_entries_with_one_name_the_first_counts_as_for_getenv() -> None:
    entries = ["PATH=/usr/bin:/bin", "NAME=first", "NAME=second"]
    result = run([sys.executable, "-c", EXEC_WITH_ENVIRONMENT, *entries, "--", *driver("printenv", "NAME")])
    assert result.stdout == b"first\n"


def test_stdin_is_commands_alone_and_stdout_is_byte_exact() -> None:
    data = os.urandom(1 << 20)
    result = run(driver("sh", "-c", "cat; echo error >&2"), input=data)
    assert (result.stdout, result.stderr) == (data, b"error\n")


def test_what_command_does_not_read_of_stdin_is_left_to_the_next() -> None:
    wrapped = shlex.join(driver("sh", "-c", "read line; echo got $line"))
    result = run(["sh", "-c", f"{wrapped}; cat"], input=b"one\ntwo\n")
    assert result.stdout == b"got one\ntwo\n"


@pytest.mark.parametrize("redirection", ["<&-", ">&-", "2>&-", "<&- >&- 2>&-"])
def test_a_closed_stream_stays_closed(redirection: str, tmp_path: Path) -> None:
    listing = tmp_path / "descriptors"
    command = ["sh", "-c", f"ls /proc/$$/fd > {listing}.wrapped"]
    run(["sh", "-c", f"{shlex.join(driver(*command))} {redirection}"])
    command = ["sh", "-c", f"ls /proc/$$/fd > {listing}.plain"]
    run(["sh", "-c", f"{shlex.join(['env', *command])} {redirection}"])
    assert Path(f"{listing}.wrapped").read_text() == Path(f"{listing}.plain").read_text()


def test_inherited_descriptors_stay_open_and_none_is_added() -> None:
    reader, writer = os.pipe()
    listing = ["bash", "-c", f"echo kept >&{writer}; ls -x /proc/$$/fd"]
    try:
        wrapped, plain = (run(argv, pass_fds=[writer]) for argv in (driver(*listing), ["env", *listing]))
        assert os.read(reader, 100) == b"kept\nkept\n"
        assert wrapped.stdout == plain.stdout
    finally:
        os.close(reader)
        os.close(writer)


def test_umask_directory_limits_group_and_session_are_the_callers(tmp_path: Path) -> None:
    shown = "umask; pwd; ulimit -a; ps -o pgid=,sid=,tpgid=,nice= $$ | sed s/$(ps -o pgid= $$ | tr -d ' ')/G/"
    how = {"cwd": tmp_path, "umask": 0o027, "process_group": 0, "preexec_fn": _lower_limits}
    wrapped, plain = (run(argv, **how) for argv in (driver("sh", "-c", shown), ["sh", "-c", shown]))
    assert wrapped.stdout == plain.stdout
    assert wrapped.stdout.startswith(f"0027\n{tmp_path}\n".encode())


def test_signals_are_as_the_caller_left_them() -> None:
    caller = ["env", "--block-signal=USR1,WINCH", "--ignore-signal=HUP,CHLD,QUIT"]
    show = ["cat", "/proc/self/status"]
    wrapped, plain = (masks(run([*caller, *argv]).stdout.decode()) for argv in (driver(*show), show))
    blocked = bit(signal.SIGUSR1) | bit(signal.SIGWINCH)
    ignored = bit(signal.SIGHUP) | bit(signal.SIGCHLD) | bit(signal.SIGQUIT)
    assert (plain["SigBlk"] & blocked, plain["SigIgn"] & ignored) == (blocked, ignored)
    assert (wrapped["SigBlk"], wrapped["SigIgn"]) == (plain["SigBlk"], plain["SigIgn"])


def test_no_signal_is_ignored_or_blocked_that_the_caller_did_not() -> None:
    show = ["cat", "/proc/self/status"]
    wrapped, plain = (masks(run(argv).stdout.decode()) for argv in (driver(*show), show))
    assert {name: wrapped[name] for name in ("SigBlk", "SigIgn", "ShdPnd")} == {
        name: plain[name] for name in ("SigBlk", "SigIgn", "ShdPnd")
    }


def test_the_status_is_known_also_when_the_caller_ignores_sigchld() -> None:
    assert run(["env", "--ignore-signal=CHLD", *driver("sh", "-c", "exit 7")]).returncode == 7


def test_command_is_on_the_terminal() -> None:
    master, slave = pty.openpty()
    try:
        streams = {"stdin": slave, "stdout": slave, "stderr": slave, "capture_output": False}
        shown = run(
            ["setsid", "--ctty", *driver("sh", "-c", "test -t 0 -a -t 1 -a -t 2 && tty </dev/tty")], **streams
        )
        assert shown.returncode == 0
        assert os.read(master, 100).strip() == b"/dev/tty"
    finally:
        os.close(master)
        os.close(slave)


def test_a_gate_that_is_never_opened_means_that_command_never_runs(tmp_path: Path) -> None:
    marker, hold = tmp_path / "marker", tmp_path / "hold"
    process = start(driver("touch", str(marker), hold=hold))
    children = wait_for_children(process.pid, 2)
    _write_whole(hold, "give up")
    assert process.wait(timeout=DEADLINE_S) == 91
    assert not any(Path(f"/proc/{child}").exists() for child in children)
    assert process.communicate() == ("", "")
    assert not marker.exists()


def test_command_never_runs_and_nothing_stays_when_ci_egress_is_killed_before(tmp_path: Path) -> None:
    marker, hold = tmp_path / "marker", tmp_path / "hold"
    process = start(driver("touch", str(marker), hold=hold))
    children = wait_for_children(process.pid, 2)
    process.kill()
    assert process.communicate(timeout=DEADLINE_S) == ("", "")
    assert all(is_gone(child) for child in children)
    assert not marker.exists()


def test_nothing_but_command_stays_when_ci_egress_is_killed_later() -> None:
    process = start(driver("sh", "-c", "exec >&- 2>&-; exec sleep 1000"))
    command, canary = _command_and_canary(process.pid, "sleep")
    process.kill()
    try:
        assert process.communicate(timeout=DEADLINE_S) == ("", "")
        assert is_gone(canary)
        wait_for_state(command, "S")
    finally:
        os.kill(command, signal.SIGKILL)


def test_no_process_but_command_holds_the_callers_output_open() -> None:
    process = start(driver("sh", "-c", "exec >&- 2>&-; read word; exit 3"), stdin=subprocess.PIPE)
    children = wait_for_children(process.pid, 2)
    assert process.communicate("go\n", timeout=DEADLINE_S) == ("", "")
    assert process.returncode == 3
    assert all(is_gone(child) for child in children)


def test_the_canary_holds_no_descriptor_but_its_own() -> None:
    process = start(driver("sleep", "1000"))
    command, canary = _command_and_canary(process.pid, "sleep")
    try:
        wait_until(lambda: len(opened := _opened_by(canary)) == 1 and opened[0].startswith("pipe:"))
    finally:
        os.kill(command, signal.SIGKILL)
        assert process.wait(timeout=DEADLINE_S) == 128 + signal.SIGKILL
        process.communicate()


def test_what_command_leaves_behind_does_not_delay_the_end() -> None:
    result = run(driver("sh", "-c", "sleep 1000 >/dev/null 2>&1 & echo $!"))
    os.kill(int(result.stdout), signal.SIGKILL)
    assert result.returncode == 0


def _script(path: Path, text: str) -> Path:
    path.write_text(text)
    path.chmod(0o755)
    return path


def _write_whole(path: Path, text: str) -> None:
    temporary = path.with_suffix(".new")
    temporary.write_text(text)
    temporary.rename(path)


def _command_and_canary(driver_pid: int, name: str) -> tuple[int, int]:
    """Wait until one of its two children is a program of that name; that one, and the other."""
    children = wait_for_children(driver_pid, 2)
    deadline_s = time.monotonic() + DEADLINE_S
    while (names := [Path(f"/proc/{pid}/comm").read_text() for pid in children]).count(f"{name}\n") != 1:
        assert time.monotonic() < deadline_s, names
        time.sleep(0.01)
    command = children.pop(names.index(f"{name}\n"))
    return command, children.pop()


def _opened_by(pid: int) -> list[str]:
    """What a process has open, as far as it doesn't close it meanwhile."""
    opened = []
    for link in Path(f"/proc/{pid}/fd").iterdir():
        with contextlib.suppress(FileNotFoundError):
            opened.append(link.readlink().name)
    return opened


def _lower_limits() -> None:
    resource.setrlimit(resource.RLIMIT_NOFILE, (200, 300))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    os.nice(3)
