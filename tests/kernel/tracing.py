"""`ci-egress run` as a process, and the OTLP files that it leaves, read back."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from collections import Counter
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from tests.checkout import ROOT
from tests.launch import whole_lines

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from .lab import Lab

CLIENT, INTERNAL = 3, 1
"""Kinds of span, as OTLP numbers them."""
_ERROR = 2
"""A status, likewise."""

RUN_LIMIT_S = 90.0
CROWD_LIMIT_S = 500.0
"""Of so many processes or acts that a busy machine takes minutes; where nobody else is, it takes seconds."""
crowd = pytest.mark.timeout(CROWD_LIMIT_S + 100)
"""For tests of such."""
_PATH = os.environ.get("PATH", os.defpath)

Value = str | int | bool | float | list[Any]


@dataclass(frozen=True)
class Span:
    """One span of a traces file."""

    name: str
    kind: int
    trace_id: str
    span_id: str
    parent_id: str
    """Empty for a root."""
    started_ns: int
    ended_ns: int
    attributes: dict[str, Value] = field(repr=False)
    resource: dict[str, Value] = field(repr=False)
    events: list[str] = field(repr=False)
    """Their names, in order."""
    is_error: bool
    """By its status."""

    def __getitem__(self, attribute: str) -> Value:
        """Give the value of an attribute that must be there."""
        return self.attributes[attribute]


@dataclass(frozen=True)
class Point:
    """The last value of one series of a metric."""

    attributes: dict[str, Value]
    value: int


@dataclass(frozen=True)
class Trace:
    """A run that is over: what it printed, and what it traced."""

    status: int
    stdout: str
    stderr: str
    spans: list[Span] = field(repr=False)
    metrics: dict[str, list[Point]] = field(repr=False)

    @property
    def account(self) -> str:
        """The summary's last line."""
        return self.stderr.splitlines()[-1]

    @cached_property
    def by_id(self) -> dict[str, Span]:
        """Every span by its id."""
        return {span.span_id: span for span in self.spans}

    @property
    def job(self) -> Span:
        """The job's span: neither a process nor an act, and the only such one."""
        (job,) = (span for span in self.spans if "process.pid" not in span.attributes)
        return job

    @property
    def egress(self) -> list[Span]:
        """What was done on sockets, in order."""
        return sorted((span for span in self.spans if span.kind == CLIENT), key=lambda span: span.started_ns)

    @property
    def processes(self) -> list[Span]:
        """Executed programs, in the order in which they began."""
        processes = (s for s in self.spans if s.kind == INTERNAL and "process.pid" in s.attributes)
        return sorted(processes, key=lambda span: span.started_ns)

    def above(self, span: Span) -> list[Span]:
        """Every span above this one, the job first."""
        chain: list[Span] = []
        while span.parent_id in self.by_id:
            span = self.by_id[span.parent_id]
            chain.insert(0, span)
        return chain

    def called(self, name: str) -> list[Span]:
        """The programs of this name, in the order in which they began."""
        return [span for span in self.processes if span.name == name]


def environment(more: Mapping[str, str] | None = None) -> dict[str, str]:
    """Just enough to run from the checkout: a CI job's own variables would be taken for the job's."""
    return {"PATH": _PATH, "PYTHONPATH": str(ROOT), "LC_ALL": "C.UTF-8", **(more or {})}


def copy_of_the_program(to: Path) -> dict[str, str]:
    """Copy exporter and bpf/, to be changed; give what makes Python take the copy."""
    for name in ("exporter", "bpf"):
        shutil.copytree(ROOT / name, to / name)
    return {"PYTHONPATH": str(to)}


def run_command(otlp_dir: Path, command: Sequence[str | bytes], *options: str) -> list[str | bytes]:
    """Give the command line of `ci-egress run`, files to `otlp_dir`."""
    run = [sys.executable, "-m", "exporter", "run", "--otlp-dir", str(otlp_dir), *options, "--"]
    return [*run, *command]


def trace(
    lab: Lab | None,
    command: Sequence[str | bytes],
    otlp_dir: Path,
    *options: str,
    under: Sequence[str] = (),
    env: Mapping[str, str] | None = None,
    cwd: Path = ROOT,
    limit_s: float = RUN_LIMIT_S,
) -> Trace:
    """Run COMMAND, on the lab's build side if one is given, traced by ci-egress, to its end.

    `under` is a command that starts ci-egress itself (setpriv, unshare), `env` what its environment gains.
    """
    inside = lab.command(command) if lab else command
    done = subprocess.run(
        [*under, *run_command(otlp_dir, inside, *options)],
        capture_output=True,
        text=True,
        errors="backslashreplace",
        timeout=limit_s,
        env=environment(env),
        cwd=cwd,
        check=False,
    )
    return read(done, otlp_dir)


def read(done: subprocess.CompletedProcess[str], otlp_dir: Path) -> Trace:
    """What a run that is over wrote; nothing when it wrote no files."""
    return Trace(
        done.returncode,
        done.stdout,
        done.stderr,
        spans(otlp_dir / "traces.jsonl"),
        metrics(otlp_dir / "metrics.jsonl"),
    )


def spans(path: Path) -> list[Span]:
    """Every span of a file of OTLP JSON lines."""
    return [
        _span(span, _attributes(per_resource["resource"]))
        for request in _requests(path)
        for per_resource in request["resourceSpans"]
        for per_scope in per_resource["scopeSpans"]
        for span in per_scope["spans"]
    ]


def metrics(path: Path) -> dict[str, list[Point]]:
    """The last points of each metric; they are cumulative."""
    return {name: points for export in exports(path) for name, points in export.items()}


def exports(path: Path) -> list[dict[str, list[Point]]]:
    """The points of each metric, export by export."""
    return [
        {
            metric["name"]: [_point(point) for point in _data(metric)["dataPoints"]]
            for per_resource in request["resourceMetrics"]
            for per_scope in per_resource["scopeMetrics"]
            for metric in per_scope["metrics"]
        }
        for request in _requests(path)
    ]


def _data(metric: dict[str, Any]) -> dict[str, Any]:
    ((_, data),) = ((kind, value) for kind, value in metric.items() if kind in ("sum", "gauge", "histogram"))
    found: dict[str, Any] = data
    return found


def _requests(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in whole_lines(path)]


def _span(raw: dict[str, Any], resource: dict[str, Value]) -> Span:
    return Span(
        raw["name"],
        raw["kind"],
        raw["traceId"],
        raw["spanId"],
        raw.get("parentSpanId", ""),
        int(raw["startTimeUnixNano"]),
        int(raw["endTimeUnixNano"]),
        _attributes(raw),
        resource,
        [event["name"] for event in raw.get("events", ())],
        raw.get("status", {}).get("code", 0) == _ERROR,
    )


def _point(raw: dict[str, Any]) -> Point:
    """Of a histogram, how many were measured."""
    return Point(_attributes(raw), int(raw["asInt"] if "asInt" in raw else raw["count"]))


def _attributes(raw: dict[str, Any]) -> dict[str, Value]:
    return {pair["key"]: _value(pair["value"]) for pair in raw.get("attributes", ())}


def _value(raw: dict[str, Any]) -> Value:
    ((kind, value),) = raw.items()
    if kind == "arrayValue":
        return [_value(item) for item in value.get("values", ())]
    scalar: Value = int(value) if kind == "intValue" else value
    return scalar


def announced(command: Sequence[str]) -> list[str]:
    """COMMAND, behind a line with its pid and its parent's, in the same process."""
    return ["sh", "-c", 'echo $$ $PPID; exec "$@"', "sh", *command]


def names(found: Sequence[Span]) -> Counter[str]:
    """How often each name occurs."""
    return Counter(span.name for span in found)


def logs(otlp_dir: Path) -> list[dict[str, Any]]:
    lines = (otlp_dir / "logs.jsonl").read_text().splitlines()
    return [
        record
        for line in lines
        for per_resource in json.loads(line)["resourceLogs"]
        for per_scope in per_resource["scopeLogs"]
        for record in per_scope["logRecords"]
    ]


def copy_with(directory: Path, **entries: int) -> dict[str, str]:
    """A copy of the program, some of whose maps have another size; the environment that runs it."""
    env = copy_of_the_program(directory)
    path = directory / f"bpf/objects/{os.uname().machine}.json"
    kept = json.loads(path.read_text())
    maps = {each["name"]: each for each in kept["maps"]}
    for name, size in entries.items():
        assert size < maps[name]["max_entries"], name
        maps[name]["max_entries"] = size
    path.write_text(json.dumps(kept))
    return env
