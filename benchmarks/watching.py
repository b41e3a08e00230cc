"""Run `ci-egress watch` beside a measurement."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

from benchmarks.workshop import ROOT, BenchmarkError, Workshop

_LOOK_S = 0.1
_DEADLINE_S = 120


class Watch(NamedTuple):
    """A watch that runs."""

    process: subprocess.Popen[bytes]
    log: Path

    def said(self) -> Sequence[dict[str, Any]]:
        """Return its log records so far."""
        lines = self.log.read_text().splitlines(keepends=True)
        return [json.loads(line) for line in lines if line.endswith("\n")]

    def wait(self, is_so: Callable[[], bool], otherwise: str) -> None:
        """Wait until `is_so()` is true. Raises BenchmarkError, which says `otherwise`, after two minutes."""
        deadline_s = time.monotonic() + _DEADLINE_S
        while not is_so():
            if time.monotonic() > deadline_s:
                raise BenchmarkError(f"ci-egress watch: {otherwise}")
            time.sleep(_LOOK_S)


@contextmanager
def watching(shop: Workshop, folder: Path, *options: str) -> Iterator[Watch]:
    """Run a watch of this machine that writes into `folder`; it gets SIGTERM at the end of the block."""
    folder.mkdir()
    command = [sys.executable, "-m", "exporter", "watch", "--json-log", f"--otlp-dir={folder}", *options]
    log = folder.with_suffix(".log")
    with (
        log.open("wb") as stream,
        subprocess.Popen(command, stderr=stream, cwd=ROOT, env=shop.environment) as process,
    ):
        watch = Watch(process, log)
        try:
            watch.wait(
                lambda: any("watching" in line["message"] for line in watch.said()), "it doesn't start"
            )
            yield watch
        finally:
            process.send_signal(signal.SIGTERM)


def _is_ready(watch: Watch) -> bool:
    return any("watching" in line["message"] for line in watch.said())
