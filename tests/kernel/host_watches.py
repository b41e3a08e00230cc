"""Watches of a whole host, and of jobs that end."""

from __future__ import annotations

import html
import os
import re
import secrets
import shlex
import shutil
import signal
import sys
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path
from typing import TYPE_CHECKING

from tests.integration.command_process import is_gone
from tests.kernel.running_exporter import nothing_left
from tests.kernel.tamper_records import told
from tests.kernel.tracing import RUN_LIMIT_S, environment
from tests.kernel.watching import Watch, watching

if TYPE_CHECKING:
    from collections.abc import Iterator


DENIED = "203.0.113.77"
ALL_BUT_THAT = f'mode: enforce\nallow: ["any://0.0.0.0/0", "any://[::/0]"]\ndeny: ["{DENIED}"]\n'
FILE = f"version: 1\n{ALL_BUT_THAT}"
"""Strangers' containers go on meanwhile."""


HOST = {"PATH": os.environ.get("PATH", os.defpath)}
"""The environment of what is of no job."""
CI_EGRESS = str(Path(sys.executable).with_name("ci-egress"))
WORKFLOW = f"ends-{os.getpid()}"
WORKER = "Runner.Worker"
"""The agent of a GitHub job."""


def step(name: str) -> dict[str, str]:
    """The variables of a step of a job of GitHub's."""
    ids = {"GITHUB_RUN_ID": f"end-{os.getpid()}", "GITHUB_RUN_ATTEMPT": "1", "GITHUB_JOB": "build"}
    return {**HOST, "GITHUB_ACTIONS": "true", **ids, "GITHUB_WORKFLOW": WORKFLOW, "GITHUB_ACTION": name}


@dataclass(frozen=True)
class JobsWatch:
    """A watch of all that a machine's only job does."""

    watch: Watch
    folder: Path
    secret: str
    token: str

    def kill(self, signal: str) -> list[str]:
        """A command that sends it a signal."""
        return ["sh", "-c", f"kill -s {signal} {self.watch.process.pid}"]

    def ask(self, name: str = "") -> list[str]:
        """A command that asks for the end: with the token, if no other name is given."""
        return ["touch", str(self.folder / "end" / (name or self.token))]

    def ended(self) -> str:
        """Wait for a regular end; returns the summary, as one reads it."""
        assert self.watch.process.wait(RUN_LIMIT_S) == 0, self.watch.said()
        return html.unescape(re.sub("<[^>]*>", "", (self.folder / "summary.md").read_text()))

    def told(self) -> list[str]:
        """What was told as tampering with it, oldest first."""
        return told(self.watch.otlp_dir)

    def is_clean(self, summary: str) -> bool:
        """Whether there was none, and `summary` says so: of a job that ran alone on its machine."""
        return self.told() == [] and "⛔" not in summary


@contextmanager
def watching_a_job(folder: Path, *options: str) -> Iterator[JobsWatch]:
    """One that a token ends."""
    secret = secrets.token_hex(32)
    token = sha256(secret.encode()).hexdigest()
    (folder / "end").mkdir()
    digest = sha256(token.encode()).hexdigest()
    ending = ["--end-folder", str(folder / "end"), "--end-digest", digest]
    given = ["--host", "--summary", str(folder / "summary.md"), *ending, *options]
    with watching(folder, *given, env=step("egress")) as watch:
        yield JobsWatch(watch, folder, secret, token)


def called(name: str, folder: Path) -> str:
    """A Python whose executable has that name."""
    shutil.copy(Path(sys.executable).resolve(), folder / name)
    return str(folder / name)


def watch_command(folder: Path, *options: str) -> list[str]:
    """A watch of the job that `step` is of; what it writes is in `folder`."""
    (folder / "end").mkdir()
    places = [f"--{name}={folder / name}" for name in ("otlp-dir", "report", "summary", "pid-file")]
    command = [sys.executable, "-m", "exporter", "watch", "--host", "--json-log", *places, *options]
    return ["sh", "-c", f"echo $$ > {folder}/pid; exec {shlex.join(command)} 2> {folder}/log"]


def watch_environment(folder: Path) -> dict[str, str]:
    """What that is started with."""
    return environment({**step("egress"), "STATE_DIRECTORY": str(folder / "state")})


def is_ready(folder: Path) -> bool:
    """Whether nothing is missed any more."""
    return (folder / "pid-file").exists()


@contextmanager
def ended(folder: Path) -> Iterator[None]:
    """After the block it doesn't run any more. Killed, as a runner does it, it would stay attached."""
    with nothing_left():
        try:
            yield
        finally:
            pid = int((folder / "pid").read_text())
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGTERM)
            assert is_gone(pid)


def leaves(folder: Path) -> str:
    """A shell's text that leaves a process behind; its pid is in the file `left`."""
    left = f"/proc/$(cat {folder}/left)/comm"
    waits = f'until test -s {folder}/left && test "$(cat {left})" = sleep; do :; done'
    return f"setsid sh -c 'echo $$ >{folder}/left; exec sleep 600' & {waits}"


def fails_with(code: int, command: list[str]) -> list[str]:
    """A step that ends well where that is what becomes of the command."""
    return ["sh", "-c", f"{shlex.join(command)}; test $? = {code}"]
