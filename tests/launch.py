"""Start `ci-egress` as its users do, and read what it wrote."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tests.checkout import ROOT

CI_EGRESS = (sys.executable, "-m", "exporter")
PLAIN_ENVIRONMENT = {"PATH": os.environ["PATH"], "PYTHONPATH": str(ROOT)}
"""Nothing of the CI system that runs these tests."""
DEADLINE_S = 100.0
"""Within what pytest lets a test take."""

SYSTEM_PYTHON = "/usr/bin/python3"
PYTHON_NAME = Path(SYSTEM_PYTHON).resolve().name
"""The name that the distribution's Python has in a lineage."""

_LEFT_BY_OTHERS = re.compile(r"^.*although its exporter is gone; .*\n", re.MULTILINE)
"""What a start says where a test beside this one has just killed an exporter that denied something."""

JsonObject = dict[str, Any]


@dataclass(frozen=True)
class Done:
    """A `ci-egress` that has ended."""

    status: int
    stdout: bytes
    stderr: str
    """Its own words."""


def ci_egress(
    *arguments: str,
    cwd: Path,
    env: Mapping[str, str] = PLAIN_ENVIRONMENT,
    under: Sequence[str] = (),
    within_s: float = DEADLINE_S,
) -> Done:
    """Run it with `arguments` in the folder `cwd`, started by the program `under`."""
    done = subprocess.run(
        [*under, *CI_EGRESS, *arguments],
        cwd=cwd,
        env=env,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        timeout=within_s,
        check=False,
    )
    return Done(done.returncode, done.stdout, own_words(done.stderr.decode()))


def own_words(stderr: str) -> str:
    """What it says itself, without what it tells of other tests' exporters."""
    return _LEFT_BY_OTHERS.sub("", stderr)


def whole_lines(path: Path) -> list[bytes]:
    """Those of a file that is still written; none while there is no file."""
    return path.read_bytes().split(b"\n")[:-1] if path.exists() else []


def spans_in(directory: Path) -> Iterator[JsonObject]:
    """The spans of an --otlp-dir, attributes as Python values, in the order in which they were written."""
    for line in (directory / "traces.jsonl").read_text().splitlines():
        for by_resource in json.loads(line)["resourceSpans"]:
            for by_scope in by_resource["scopeSpans"]:
                for span in by_scope["spans"]:
                    yield {**span, "attributes": plain(span.get("attributes", []))}


def plain(attributes: list[JsonObject]) -> JsonObject:
    """OTLP/JSON attributes as Python values."""
    return {attribute["key"]: _plain_value(attribute["value"]) for attribute in attributes}


def _plain_value(value: JsonObject) -> Any:
    ((kind, content),) = value.items()
    if kind == "arrayValue":
        return [_plain_value(member) for member in content.get("values", [])]
    return int(content) if kind == "intValue" else content
