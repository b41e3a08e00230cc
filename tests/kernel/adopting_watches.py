"""Watches that are killed, and others that go on in their place."""

from __future__ import annotations

import signal
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from tests.kernel.job_steps import PEER
from tests.kernel.steered_runs import Host
from tests.kernel.watching import Watch, watching

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.kernel.tracing import Span


class Watches:
    """One watch after the other on the same host."""

    def __init__(self, host: Host, folder: Path, *options: str) -> None:
        self._host, self._folder, self._options = host, folder, options
        self._all: list[Watch] = []

    @contextmanager
    def watching(self, *options: str, until_ready: bool = True) -> Iterator[Watch]:
        """The next one, with files of its own."""
        folder = self._folder / f"watch{len(self._all)}"
        folder.mkdir()
        options = (*self._options, *options)
        with watching(folder, *options, under=self._host.under, until_ready=until_ready) as watch:
            self._all.append(watch)
            yield watch

    def egress(self, run: str) -> list[Span]:
        """What all of them told of what was done in a run."""
        return [span for watch in self._all for span in watch.egress(run)]

    def lost(self) -> int:
        """How many attempts they said were lost: each with others at its begin, the last one by its end."""
        *earlier, last = self._all
        lines = (line for watch in earlier for line in watch.said())
        dropped: dict[str, int] = last.said()[-1]["account"]["dropped"]
        return sum(int(line["lost"]) for line in lines if "lost" in line) + sum(dropped.values())


def kill(watch: Watch) -> None:
    """As the kernel does when memory runs out."""
    watch.process.send_signal(signal.SIGKILL)
    watch.process.wait()


HELD = f"""
trust_names: true
jobs:
  "*/held": {{mode: enforce, allow: ["{PEER}"]}}
"""
SEND_FRAME = """
import errno, socket, sys
try:
    sending = socket.socket(socket.AF_PACKET, socket.SOCK_RAW)
    sending.bind(("build0", 0))
    sending.send(bytes.fromhex(sys.argv[1]))
except OSError as error:
    print(errno.errorcode[error.errno])
else:
    print("ok")
"""
