"""Runs a job of a workflow by nektos/act on this machine, without containers: as an engine uses an action."""

from __future__ import annotations

import html
import re
import shutil
import signal
import subprocess
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import yaml

from tests.checkout import ROOT
from tests.kernel.running_exporter import wait_for
from tests.kernel.tamper_records import told

from . import limits
from .actions_runner import NODE

if TYPE_CHECKING:
    from collections.abc import Sequence

_KEEPER = """
import { cpSync } from 'node:fs';
cpSync(`${process.env.RUNNER_TEMP}/ci-egress`, process.env.INPUT_TO, { recursive: true });
"""
"""Used first, its post runs last: what is in the runner's folders is gone when the job is over."""
_ANNOTATION = re.compile(r"::(error|warning) title=ci-egress::(.*)")
_SUMMARY = re.compile(r"Summary - (.*?)^\[", re.DOTALL | re.MULTILINE)

USES = {"uses": "./", "id": "egress"}
"""The step that uses the action."""


@dataclass(frozen=True)
class Ran:
    """A job that is over."""

    status: int
    output: str = field(repr=False)
    kept: Path
    """What was in the action's folder at its end."""

    @property
    def summary(self) -> str:
        """The job's, as one reads it."""
        return "".join(html.unescape(re.sub("<[^>]*>", "", part)) for part in _SUMMARY.findall(self.output))

    @property
    def errors(self) -> list[str]:
        """What ci-egress is shown with next to the workflow."""
        return [text for level, text in _ANNOTATION.findall(self.output) if level == "error"]

    @property
    def tampering(self) -> list[str]:
        """What was told as such, and done to this job's ci-egress."""
        return told(self.kept / "otlp")

    @property
    def is_clean(self) -> bool:
        """Whether there was none, and the summary says so: of a job that ran alone on its machine."""
        return self.tampering == [] and "⛔" not in self.summary

    def is_good(self, step: str) -> bool:
        """Whether a step of that title ended well."""
        return f"Success - {step} [" in self.output


class Act:
    """The engine, with the action of this checkout in a repository of its own."""

    def __init__(self, program: Path, folder: Path, path: str, under: Sequence[str] = ()) -> None:
        """`path` is where steps find programs; `under` is a command that becomes what it is given: a user."""
        self.folder = folder
        self._program, self._under = program, under
        self._env = {"HOME": str(folder), "LANG": "C.UTF-8", "PATH": f"{NODE.parent}:{path}"}
        self.repository, self._kept = folder / "repository", folder / "kept"

    def start(self, *steps: dict[str, Any], **files: str) -> subprocess.Popen[bytes]:
        """Begin a job of these steps, in a checkout with `files`."""
        self._check_out(steps, files)
        command = [*self._under, str(self._program), "push", "-P", "ubuntu-latest=-self-hosted"]
        with self._log.open("wb") as log:
            return subprocess.Popen(
                [*command, "--no-cache-server", "--rm"],
                cwd=self.repository,
                env=self._env,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )

    def end(self, process: subprocess.Popen[bytes]) -> Ran:
        """Wait for its end."""
        try:
            status = process.wait(limits.COMMAND_S)
        finally:
            if process.poll() is None:
                process.kill()
        return Ran(status, self.output(), self._kept)

    def run(self, *steps: dict[str, Any], **files: str) -> Ran:
        """Run a job to its end."""
        return self.end(self.start(*steps, **files))

    def cancel(self, process: subprocess.Popen[bytes], at: str) -> Ran:
        """Cancel it when it has printed `at`."""
        wait_for(lambda: at in self.output() or process.poll() is not None, limits.COMMAND_S)
        process.send_signal(signal.SIGINT)
        return self.end(process)

    def output(self) -> str:
        """What it printed so far."""
        return self._log.read_text(errors="backslashreplace")

    @property
    def _log(self) -> Path:
        return self.folder / "act.log"

    def _check_out(self, steps: Sequence[dict[str, Any]], files: dict[str, str]) -> None:
        place = self.repository
        for name in ("action", "stop"):
            shutil.copytree(ROOT / name, place / name)
        shutil.copy(ROOT / "action.yml", place)
        keeper = {"name": "keeper", "description": "-", "inputs": {"to": {"description": "-"}}}
        runs = {"using": "node24", "main": "main.mjs", "post": "post.mjs", "post-if": "always()"}
        keeping = {"uses": "./keeper", "with": {"to": str(self._kept)}}
        job = {"runs-on": "ubuntu-latest", "steps": [{"uses": "actions/checkout@v4"}, keeping, *steps]}
        texts = {
            ".github/workflows/lab.yml": yaml.safe_dump({"on": "push", "jobs": {"build": job}}),
            "keeper/action.yml": yaml.safe_dump({**keeper, "runs": runs}),
            "keeper/main.mjs": "",
            "keeper/post.mjs": _KEEPER,
            **files,
        }
        for name, text in texts.items():
            (place / name).parent.mkdir(parents=True, exist_ok=True)
            (place / name).write_text(text)
        owner = ["-c", "user.name=lab", "-c", "user.email=lab@example"]
        for command in (["init", "--quiet"], ["add", "--all"], [*owner, "commit", "--quiet", "-m", "lab"]):
            subprocess.run(["git", *command], cwd=place, env=self._env, check=True)
        if self._under:
            user = self.folder.stat()
            subprocess.run(["chown", "-R", f"{user.st_uid}:{user.st_gid}", place], check=True)
