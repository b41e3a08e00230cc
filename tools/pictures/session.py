"""Record what a command writes on a terminal of a certain size."""

from __future__ import annotations

import fcntl
import os
import pty
import signal
import struct
import subprocess
import termios
from collections.abc import Mapping, Sequence
from pathlib import Path

_LINES = 50
_READ_BYTES = 1 << 16


def session(
    command: Sequence[str | Path], *, columns: int, environment: Mapping[str, str], cwd: Path
) -> tuple[int, str]:
    """Run `command` to its end; returns its exit status, and all that it wrote, colours included."""
    ours, theirs = pty.openpty()
    try:
        fcntl.ioctl(theirs, termios.TIOCSWINSZ, struct.pack("HHHH", _LINES, columns, 0, 0))
        with subprocess.Popen(  # noqa: S603 - a command of the tests' own
            command,
            cwd=cwd,
            env={**environment, "TERM": "xterm-256color", "COLUMNS": str(columns)},
            stdin=theirs,
            stdout=theirs,
            stderr=theirs,
            start_new_session=True,
        ) as process:
            os.close(theirs)
            try:
                written = _everything(ours)
            except BaseException:  # nobody reads any more, so it might never end
                os.killpg(process.pid, signal.SIGKILL)
                raise
        return process.returncode, written.decode(errors="replace").replace("\r\n", "\n")
    finally:
        os.close(ours)


def _everything(descriptor: int) -> bytes:
    pieces = []
    while True:
        try:
            piece = os.read(descriptor, _READ_BYTES)
        except OSError:  # EIO: nobody has the other end any more
            break
        if not piece:
            break
        pieces.append(piece)
    return b"".join(pieces)
