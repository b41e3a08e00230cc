"""The processes of other tools: commands that are waited for, and daemons that end with their block."""

from __future__ import annotations

import os
import subprocess
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path

from benchmarks.workshop import ROOT, BenchmarkError
from demo.stack.interrupts import uninterrupted

_LOOK_S = 0.002
_DEADLINE_S = 60
_ENDS_WITH_THIS_PROCESS = ("setpriv", "--pdeathsig", "TERM", "--")
"""A prefix for commands: their process gets SIGTERM when this one is killed, and can't end it."""
_ENVIRONMENT = {"DEBIAN_FRONTEND": "noninteractive", "LC_ALL": "C"}


@contextmanager
def daemon(
    command: Sequence[str],
    folder: Path,
    is_ready: Callable[[], bool],
    environment: Mapping[str, str] | None = None,
) -> Iterator[int]:
    """Start a tool, wait until it is ready, yield its pid, and end it by SIGTERM at the end of the block.

    Its messages go to a file of `folder`. Raises BenchmarkError, with them, if it ends, or isn't ready in
    time.
    """
    messages = folder / "messages"
    with ExitStack() as stack:
        with messages.open("wb") as stream, uninterrupted():
            process = subprocess.Popen(
                [*_ENDS_WITH_THIS_PROCESS, *command],
                stdin=subprocess.DEVNULL,
                stdout=stream,
                stderr=stream,
                cwd=ROOT,
                env=environment,
                start_new_session=True,  # Ctrl-C interrupts this process alone, which then ends the tool
            )
            stack.callback(_end, process)
        deadline_s = time.monotonic() + _DEADLINE_S
        while not is_ready():
            if process.poll() is not None or time.monotonic() > deadline_s:
                said = messages.read_text(errors="replace")
                raise BenchmarkError(f"{command} isn't ready, status {process.returncode}:\n{said}")
            time.sleep(_LOOK_S)
        yield process.pid


def _end(process: subprocess.Popen[bytes]) -> None:
    with uninterrupted():
        process.terminate()
        try:
            process.wait(_DEADLINE_S)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def says(file: Path, word: str) -> Callable[[], bool]:
    """Return a function that tells whether `word` is in the file already."""
    return lambda: file.exists() and word in file.read_text(errors="replace")


def first_line(*command: str) -> str:
    """Return the first line that a command printed. Raises BenchmarkError as `printed`."""
    return printed(*command).partition("\n")[0]


def undo(*command: str) -> None:
    """Run a command that takes back what another one did; signals wait meanwhile. Raises as `printed`."""
    with uninterrupted():
        printed(*command)


def printed(*command: str) -> str:
    """Return what a command printed. Raises BenchmarkError if it fails, or isn't there."""
    env = os.environ | _ENVIRONMENT
    try:
        done = subprocess.run(
            command, env=env, capture_output=True, text=True, check=False, start_new_session=True
        )
    except OSError as error:
        raise BenchmarkError(f"{command[0]}: {error.strerror}") from None
    if done.returncode != 0:
        raise BenchmarkError(f"{' '.join(command)} ended with status {done.returncode}:\n{done.stderr}")
    return done.stdout.strip()
