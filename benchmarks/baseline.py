"""What it takes to learn a fleet's baseline.

What: the time that `ci-egress baseline learn` takes, from its start to the file it writes, for 100 pipelines
of 1,000 runs each: 100 files, each line a request as ci-egress wrote it.

How: one run of the demo is traced for real. Its lines are the model of all others, process spans and command
lines included; only the pipeline, the run, the times, and one host, which varies from run to run, differ. The
files are in the page cache when they are read. Another figure compares the time with `json.loads` of the same
lines, by one process that does nothing else with them, for a sample of the files.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from statistics import median
from typing import NamedTuple

from benchmarks.figures import LIMITS, Figure
from benchmarks.workshop import ROOT, BenchmarkError, Workshop
from exporter.baseline.model import Baseline
from exporter.baseline.parse import load_baseline

_PIPELINES, _RUNS = 100, 1_000
_QUICK_PIPELINES, _QUICK_RUNS = 4, 50
_ROUNDS = 3
_SAMPLE = 3
"""The number of files that are read with json.loads."""
_DAY_NS = 86_400 * 10**9
_VARIES = "mirror.example"
_VARYING = 9
"""The number of names that runs have in place of _VARIES, in turn."""
_PLACES = re.compile(
    rf'(?P<time>(?<=")1[0-9]{{18}}(?="))|(?P<run>(?<=")1207(?="))|(?P<pipeline>(?<=")release(?="))|(?P<host>{_VARIES})'
)
_ROOM = 1.5
"""The free space that the disk must have, as a multiple of the size of the files."""


class Taken(NamedTuple):
    """The costs of learning once."""

    wall_s: float
    cpu_s: float
    largest_mb: float
    """The resident set of its largest process, in 10⁶ bytes."""


def measure(shop: Workshop) -> Iterator[Figure]:
    """Yield the time of learning, its ratio to json.loads, and the memory."""
    pipelines, runs = (_QUICK_PIPELINES, _QUICK_RUNS) if shop.is_quick else (_PIPELINES, _RUNS)
    files = _fleet(shop, pipelines, runs)
    size = sum(file.stat().st_size for file in files)
    try:
        taken = [_learn(shop, files[0].parent) for _ in range(shop.rounds(_ROUNDS))]
        _check(load_baseline(shop.folder / "baseline.yaml"), pipelines, runs)
        plain_s = _plain_s(files[:: max(len(files) // _SAMPLE, 1)][:_SAMPLE]) * size
    finally:
        shutil.rmtree(files[0].parent)
    wall_s = median(each.wall_s for each in taken)
    name = f"baseline, learning {pipelines} pipelines × {runs:,} runs"
    rounds = f"{min(taken).wall_s:.1f} to {max(taken).wall_s:.1f} s in {len(taken)}"
    note = f"{rounds}; {size / 1e9:.1f} GB; {median(each.cpu_s for each in taken):.1f} s of CPU time"
    yield Figure(name, wall_s, "s", note, LIMITS.learn_s)
    yield Figure(
        "baseline, learning ÷ json.loads of the same lines",
        wall_s / plain_s,
        "×",
        f"{plain_s:.1f} s, from {min(_SAMPLE, len(files))} of {len(files)} files",
    )
    largest_mb = max(each.largest_mb for each in taken)
    yield Figure("baseline, learning, memory", largest_mb, "MB", "of the largest process", LIMITS.learn_mb)


def _fleet(shop: Workshop, pipelines: int, runs: int) -> list[Path]:
    """Write the files. Raises BenchmarkError where the disk has no room for them."""
    model = _model(shop)
    folder = shop.folder / "fleet"
    folder.mkdir()
    needed = len(model) * pipelines * runs
    if shutil.disk_usage(folder).free < _ROOM * needed:
        raise BenchmarkError(f"{folder} has no room for {needed / 1e9:.1f} GB")
    files = [folder / f"traces-{pipeline:03}.jsonl" for pipeline in range(pipelines)]
    for pipeline, file in enumerate(files):
        with file.open("w") as written:
            written.writelines(runs_like(model, pipeline, runs))
    return files


def _model(shop: Workshop) -> str:
    """Return the lines of one run of the demo, traced for real."""
    folder = shop.folder / "demo"
    command: list[str | Path] = [sys.executable, "-m", "demo", "--otlp-dir", folder]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    if done.returncode:
        raise BenchmarkError(f"the demo ended with status {done.returncode}:\n{done.stderr}")
    return (folder / "traces.jsonl").read_text()


def runs_like(model: str, pipeline: int, runs: int) -> Iterator[str]:
    """Yield the lines of each of `runs` runs of a pipeline, one a day; `model` are the lines to imitate."""
    pieces: list[str] = []
    kinds: list[tuple[str, str]] = []
    end = 0
    for found in _PLACES.finditer(model):
        pieces.append(model[end : found.start()])
        kinds.append((found.lastgroup or "", found[0]))
        end = found.end()
    tail = model[end:]
    for run in range(runs):
        new = {"run": str(run), "pipeline": f"pipeline-{pipeline:03}", "host": f"m{run % _VARYING}.{_VARIES}"}
        shift_ns = run * _DAY_NS
        values = (str(int(old) + shift_ns) if kind == "time" else new[kind] for kind, old in kinds)
        yield "".join(text for pair in zip(pieces, values, strict=True) for text in pair) + tail


def _learn(shop: Workshop, folder: Path) -> Taken:
    command: list[str | Path] = [sys.executable, "-m", "exporter", "baseline", "learn", folder]
    command += ["--output", "baseline.yaml"]
    environment = {**shop.environment, "PYTHONPATH": str(ROOT)}
    began_s = time.perf_counter()
    process = subprocess.Popen(command, cwd=shop.folder, env=environment, stderr=subprocess.PIPE, text=True)
    assert process.stderr is not None
    said = process.stderr.read()
    _, status, used = os.wait4(process.pid, 0)
    wall_s = time.perf_counter() - began_s
    process.returncode = os.waitstatus_to_exitcode(status)
    process.stderr.close()
    if process.returncode:
        raise BenchmarkError(f"baseline learn ended with status {process.returncode}:\n{said}")
    return Taken(wall_s, used.ru_utime + used.ru_stime, used.ru_maxrss * 1024 / 1e6)


def _check(baseline: Baseline, pipelines: int, runs: int) -> None:
    """Raise BenchmarkError unless `baseline` has what the fleet did."""
    histories = baseline.histories.values()
    if len(histories) != pipelines or any(history.runs != runs for history in histories):
        raise BenchmarkError(f"{len(histories)} pipelines were learnt, or not all of their runs")
    folded = [entry for entry in baseline.entries if str(entry.host) == f"*.{_VARIES}"]
    if len(folded) != pipelines or any(entry.runs != runs for entry in folded):
        raise BenchmarkError(f"{len(folded)} of {pipelines} wildcards were learnt")


def _plain_s(files: list[Path]) -> float:
    """Return the seconds for a byte of `files` with json.loads."""
    size = 0
    began_s = time.perf_counter()
    for file in files:
        with file.open("rb") as lines:
            for line in lines:
                size += len(line)
                json.loads(line)
    return (time.perf_counter() - began_s) / size
