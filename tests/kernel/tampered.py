"""What was told as tampering, read back."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from pathlib import Path

_OF_ANY_JOB = frozenset({"bpf", "packet_socket", "xdp_socket", "frames"})
"""What jobs do to others as well: who tests on this machine in a root of its own waits for no test here."""


class Told(NamedTuple):
    """Log records' words, oldest first."""

    here: list[str]
    """What was done to this very ci-egress."""
    elsewhere: list[str]


def told(otlp_dir: Path) -> Told:
    """What was told by a watch that is over."""
    path = otlp_dir / "logs.jsonl"
    lines = path.read_text().splitlines() if path.exists() else []
    records = [
        record
        for line in lines
        for resource in json.loads(line)["resourceLogs"]
        for scope in resource["scopeLogs"]
        for record in scope["logRecords"]
        if record["eventName"] == "cicd.egress.tamper"
    ]
    found = Told([], [])
    for record in records:
        named = {one["key"]: one["value"].get("stringValue") for one in record["attributes"]}
        words = found.elsewhere if named["egress.tamper.kind"] in _OF_ANY_JOB else found.here
        words.append(record["body"]["stringValue"])
    return found
