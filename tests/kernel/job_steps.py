"""Steps of jobs of a watch that act whenever a test tells them to."""

from __future__ import annotations

import os
import shlex
import subprocess
import sys
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING

from tests.checkout import ROOT
from tests.kernel.lab import PORT, V4
from tests.kernel.running_exporter import instance_of, wait_for
from tests.kernel.tracing import environment
from tests.kernel.watching import Runner, Watch
from tests.unit.watched_host import gitlab

if TYPE_CHECKING:
    from collections.abc import Callable

    from tests.kernel.conftest import Programs
    from tests.kernel.lab import Lab


PATH = {"PATH": os.environ.get("PATH", os.defpath)}
PEER, EVIL = f"{V4.peer}:{PORT}", f"{V4.evil}:{PORT}"


def job(run: str, task: str, **more: str) -> dict[str, str]:
    """The variables of the job `task` of the run `run`; its pipeline is group/app."""
    return {**PATH, **gitlab(run=run, job=f"{task}-of-{run}", CI_JOB_NAME=task), **more}


def run_id(name: str) -> str:
    """One that no other test of this host has."""
    return f"{name}-{os.getpid()}"


class Steps:
    """Steps of jobs that act whenever they are told to."""

    def __init__(self, folder: Path, lab: Lab, programs: Programs, runner: Runner) -> None:
        self._folder, self._lab, self._programs, self._runner = folder, lab, programs, runner

    def act(self, address: str, *around: str) -> str:
        """The words of a connect to `address` on the build side, by the way of `around`."""
        command = [*around, *self._programs.act("connect", address, PORT)]
        return shlex.join([os.fsdecode(part) for part in self._lab.command(command)])

    @property
    def program(self) -> Path:
        """What acts."""
        return Path(os.fsdecode(self._programs.act("connect")[0]))

    def script(self, name: str, *rounds: str) -> str:
        """What does the next of `rounds` each time that `go` is called with `name`."""
        place = self._folder / name
        place.mkdir()
        lines = []
        for number, words in enumerate(rounds):
            over = f"test ! -e {self._folder}/over || exit"
            lines.append(f"until test -e {place}/go{number}; do {over}; sleep 0.02; done")
            lines.append(
                f"{{ {words}; }} > {place}/out{number} 2>&1; mv {place}/out{number} {place}/done{number}"
            )
        return "; ".join([*lines, "true"])

    def start(self, environ: dict[str, str], *rounds: str, around: str = "{}") -> str:
        """Start a step of `rounds`; `around` are words with a place for it. Returns its name."""
        name = f"{environ['CI_JOB_ID']}-{len(list(self._folder.iterdir()))}"
        words = around.format(f"sh -c {shlex.quote(self.script(name, *rounds))}")
        self._runner.start((environ, ["sh", "-c", f"{words}; true"]))
        return name

    def go(self, name: str, number: int = 0) -> str:
        """Let a step do its round `number`; what that printed."""
        self.begin(name, number)
        return self.done(name, number)

    def begin(self, name: str, number: int = 0) -> Callable[[], list[str]]:
        """Let it begin that; what tells the words that it printed so far."""
        (self._folder / name / f"go{number}").touch()
        return lambda: self._printed(name, number).split()

    def done(self, name: str, number: int = 0) -> str:
        """Wait until it has done that; what it printed."""
        done = self._folder / name / f"done{number}"
        wait_for(lambda: done.exists() and bool(done.read_text()))
        return done.read_text()

    def _printed(self, name: str, number: int) -> str:
        with suppress(FileNotFoundError):
            return (self._folder / name / f"out{number}").read_text()
        return ""


def policy(tmp_path: Path, text: str) -> Path:
    """A file of that policy."""
    path = tmp_path / "policy.yaml"
    path.write_text(f"version: 1\n{text}")
    return path


def known(watch: Watch, *runs: str) -> None:
    """Wait until the jobs have begun."""
    for run in runs:
        watch.wait_until_said(" began", run_id=run)


RESOLVE_AND_CONNECT = """
import errno, socket, sys
question, resolver, address, port = sys.argv[1:]
asking = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
asking.settimeout(60)
asking.sendto(bytes.fromhex(question), (resolver, 53))
asking.recv(4096)
code = socket.socket().connect_ex((address, int(port)))
print(errno.errorcode.get(code, "ok"))
"""


def enforce_on(watch: Watch, pattern: str) -> int:
    """`ci-egress enforce on`, for its jobs of that name; the status. Another watch may have the same jobs."""
    return switch_on("--instance", instance_of(watch.process.pid).name, "--job", pattern)


def switch_on(*selected: str) -> int:
    """`ci-egress enforce on`; the status."""
    command = [sys.executable, "-m", "exporter", "enforce", "on", *selected]
    return subprocess.run(command, env=environment(), cwd=ROOT, capture_output=True, check=False).returncode
