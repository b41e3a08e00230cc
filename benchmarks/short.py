"""Whether processes that nobody could look at in time are reported exactly.

What: of 10,000 processes that are executed with a number of their own as argument, connect, and end within a
millisecond, those that don't have exactly one span with their argv, their lineage, and their job.

How: load.c starts them one after the other under `ci-egress run`; the spans are read from its files.
"""

from __future__ import annotations

import json
import shutil
from collections import Counter
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

from benchmarks.figures import LIMITS, Figure
from benchmarks.workshop import Workshop

_PROCESSES = 10_000
_PROCESSES_QUICKLY = 500
_JOB = {"GITLAB_CI": "true", "CI_PROJECT_PATH": "group/app", "CI_PIPELINE_ID": "987", "CI_JOB_ID": "4321"}
_LINEAGE = ["load", "load"]

Attributes = dict[str, Any]


def measure(shop: Workshop) -> Iterator[Figure]:
    """Yield the number of processes that are missing or wrong."""
    processes = _PROCESSES_QUICKLY if shop.is_quick else _PROCESSES
    shop = replace(shop, environment={**shop.environment, **_JOB})
    shutil.rmtree(shop.otlp, ignore_errors=True)
    with shop.traced("hits") as load:
        took_ns = load.do(processes)
    times = Counter(told["process.command_args"][-1] for told in _told(shop) if _is_exact(told))
    wrong = sum(times[str(number)] != 1 for number in range(processes))
    note = f"of {processes:,}; {took_ns / processes / 1000:.0f} µs from one to the next"
    yield Figure("short processes not told exactly", wrong, "", note, LIMITS.untold)


def _is_exact(told: Attributes) -> bool:
    return (
        told["process.command_args"][:-1] == ["/proc/self/exe", "hit"]
        and told["egress.lineage"] == _LINEAGE
        and len(told["egress.ancestors"]) == 1
        and told["cicd.pipeline.run.id"] == _JOB["CI_PIPELINE_ID"]
    )


def _told(shop: Workshop) -> Iterator[Attributes]:
    """Yield the attributes of every connect's span."""
    with (shop.otlp / "traces.jsonl").open() as lines:
        for line in lines:
            for of_resource in json.loads(line)["resourceSpans"]:
                for span in of_resource["scopeSpans"][0]["spans"]:
                    if span["name"].startswith("connect "):
                        yield {one["key"]: _value(one["value"]) for one in span["attributes"]}


def _value(value: dict[str, Any]) -> Any:
    ((kind, told),) = value.items()
    return [_value(one) for one in told["values"]] if kind == "arrayValue" else told
