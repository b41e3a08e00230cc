"""`--live` on a terminal: what a traced job connects to is shown as it comes, and costs it nothing else."""

from __future__ import annotations

import os
import shlex
import signal
import subprocess
import sys
import termios
import time
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from tests.checkout import ROOT
from tests.kernel.lab import PORT, V4
from tests.kernel.running_exporter import wait_for
from tests.kernel.tracing import RUN_LIMIT_S, environment, run_command
from tests.kernel.watching import Runner
from tests.unit.report.terminal.terminals import Picture, pseudo_terminal

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.kernel.conftest import Programs
    from tests.kernel.lab import Lab
    from tests.unit.report.terminal.terminals import Pty

pytestmark = pytest.mark.kernel

COLUMNS, LINES = 160, 40
TERM = {"TERM": "xterm-256color"}
PEER, EVIL = f"{V4.peer}:{PORT}", f"{V4.evil}:{PORT}"


class OnTerminal:
    """A process whose terminal it is."""

    def __init__(self, process: subprocess.Popen[bytes], pty: Pty) -> None:
        self.process, self.pty = process, pty
        self.shown = ""

    def shows(self, words: str) -> bool:
        """Whether it did so far."""
        self.shown += self.pty.read()
        return words in self.shown

    def wait_until_shown(self, words: str) -> None:
        """Wait until it shows them."""
        wait_for(lambda: self.shows(words))

    def end(self) -> int:
        """Wait for its end; its status. All that it showed is in `shown`."""
        while self.process.poll() is None:
            self.shown += self.pty.read()
            time.sleep(0.01)
        self.shown += self.pty.read()
        return self.process.returncode

    @property
    def rows(self) -> list[str]:
        """What stands on a very long terminal in the end."""
        picture = Picture(COLUMNS, 5000)
        picture.show(self.shown)
        return picture.rows


@contextmanager
def on_terminal(command: list[str], folder: Path, **more: str) -> Iterator[OnTerminal]:
    """Run `command` in a session of its own on a new terminal, which is its stderr and stdout, too."""
    env = environment({**TERM, "STATE_DIRECTORY": str(folder / "state"), **more})
    with pseudo_terminal(COLUMNS, LINES) as pty:
        own = ["setsid", "--ctty", *command]
        with subprocess.Popen(
            own, stdin=pty.theirs, stdout=pty.theirs, stderr=pty.theirs, env=env, cwd=ROOT
        ) as process:
            try:
                yield OnTerminal(process, pty)
            finally:
                if process.poll() is None:
                    process.terminate()
                    process.send_signal(signal.SIGCONT)
                    process.wait(RUN_LIMIT_S)


def run_of(folder: Path, command: list[str | bytes], *options: str) -> list[str]:
    """The command line of a `run --live`."""
    return [os.fsdecode(word) for word in run_command(folder / "otlp", command, "--live", *options)]


def script(lab: Lab, *lines: str) -> list[str | bytes]:
    """A COMMAND of those lines."""
    return lab.command(["sh", "-c", "\n".join(lines)])


def test_what_a_command_connects_to_is_shown_while_it_runs(
    lab: Lab, programs: Programs, tmp_path: Path
) -> None:
    peer, evil = (shlex.join(programs.act("connect", address, PORT)) for address in (V4.peer, V4.evil))
    command = script(lab, "printf 'half a line'", f"{peer} >&-", "read go", f"{evil} >&-; {peer} >&-", "true")
    options = ["--allowed-endpoints", PEER, "--enforce"]
    with on_terminal(run_of(tmp_path, command, *options), tmp_path) as seen:
        seen.wait_until_shown(PEER)
        os.write(seen.pty.ours, b"go\n")
        assert seen.end() == 0
    rows = seen.rows
    began = rows.index("half a line")
    assert rows[began + 1] == f"ci-egress: → {PEER}  dash > act"
    assert f"ci-egress: → {EVIL} denied by default  dash > act" in rows
    assert sum(f"→ {PEER}  dash" in row for row in rows) == 1
    assert not any("blocked: " in row for row in rows)  # it is shown, and in the summary
    assert rows[-1] == "attempts 3 = exported 3 + aggregated 0 + dropped 0 + pending 0"


def test_a_scan_is_shown_in_part_and_counted_whole(tmp_path: Path) -> None:
    scan = (
        "import socket\n"
        "for number in range(200):\n"
        "    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as udp:\n"
        "        try:\n            udp.sendto(b'x', (f'198.18.77.{number}', 9))\n"
        "        except OSError:\n            pass\n"
    )
    with on_terminal(run_of(tmp_path, [sys.executable, "-c", scan]), tmp_path) as seen:
        assert seen.end() == 0
    lines = [row for row in seen.rows if row.startswith("ci-egress: → 198.18.77.")]
    more = [row.split()[3] for row in seen.rows if row.startswith("ci-egress: … and ")]
    assert 0 < len(lines) < 150
    assert len(lines) + sum(map(int, more)) == 200


@pytest.mark.parametrize(
    ("options", "env", "why"),
    [
        ([], {}, "stderr is no terminal"),
        (["--json-log"], TERM, "what is said is for programs"),
        ([], {"TERM": "dumb"}, "the terminal can't"),
    ],
    ids=["no-terminal", "json", "dumb"],
)
def test_where_nothing_can_be_shown_that_is_said(
    tmp_path: Path, options: list[str], env: dict[str, str], why: str
) -> None:
    done = subprocess.run(
        run_of(tmp_path, ["true"], *options),
        capture_output=True,
        text=True,
        env=environment({"TERM": "xterm", **env}),
        cwd=ROOT,
        check=False,
    )
    assert done.returncode == 0
    assert f"--live: nothing is shown as it comes: {why}" in done.stderr
    assert "\x1b" not in done.stderr


def watch_of(folder: Path) -> list[str]:
    """The command line of a `watch --live`."""
    return [sys.executable, "-m", "exporter", "watch", "--live", "--otlp-dir", str(folder / "otlp")]


LEFT = {"1049": False, "25": True, "7": True}
"""The terminal's own screen, with a cursor, and lines that wrap."""


def modes(shown: str) -> dict[str, bool]:
    """Those in which a terminal is after that."""
    picture = Picture(COLUMNS, 5000)
    picture.show(shown)
    return picture.modes


@pytest.mark.parametrize("how", [signal.SIGTERM, signal.SIGINT])
def test_a_watch_shows_its_jobs_until_it_ends(
    lab: Lab, programs: Programs, tmp_path: Path, how: signal.Signals
) -> None:
    run = f"live-{os.getpid()}-{how.name}"
    job = {"GITHUB_ACTIONS": "true", "GITHUB_RUN_ID": run, "GITHUB_WORKFLOW": "wf", "GITHUB_JOB": "b"}
    act = [str(part) for part in lab.command(programs.act("connect", V4.peer, PORT))]
    with Runner() as runner, on_terminal(watch_of(tmp_path), tmp_path) as seen:
        seen.wait_until_shown("^C ends it")
        before = termios.tcgetattr(seen.pty.theirs)
        runner.run(({"PATH": os.environ["PATH"], **job}, act))
        seen.wait_until_shown("wf/b")
        seen.wait_until_shown(PEER)
        seen.pty.resize(COLUMNS, LINES // 2)
        seen.wait_until_shown("\x1b[2J\x1b[H")
        seen.process.send_signal(how)
        assert seen.end() == 0
        assert termios.tcgetattr(seen.pty.theirs) == before
    assert modes(seen.shown) == LEFT
    after = seen.shown.split("\x1b[?1049l")[1]
    assert "ci-egress: job b of wf began" in after  # said while the screen was there
    assert "ci-egress: job b of wf ended: 1 attempt, 1 destination" in after
    assert " + dropped 0 + pending 0" in after


def test_a_watch_that_is_stopped_leaves_the_terminal_to_others(tmp_path: Path) -> None:
    with on_terminal(watch_of(tmp_path), tmp_path) as seen:
        seen.wait_until_shown("^C ends it")
        (child,) = children(seen.process.pid) or [seen.process.pid]
        os.kill(child, signal.SIGTSTP)
        wait_for(lambda: state_of(child) == "T")
        seen.shown += seen.pty.read()
        assert modes(seen.shown) == LEFT
        shown, seen.shown = seen.shown, ""
        os.kill(child, signal.SIGCONT)
        seen.wait_until_shown("^C ends it")
        assert modes(shown + seen.shown) == {"1049": True, "25": False, "7": False}


def children(pid: int) -> list[int]:
    """Those of a process; setsid(1) has one where it had to fork."""
    return [int(child) for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]


def state_of(pid: int) -> str:
    """The letter of /proc/PID/stat."""
    return Path(f"/proc/{pid}/stat").read_text(errors="replace").rsplit(")", 1)[1].split()[0]
