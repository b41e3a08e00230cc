"""What was told as tampering, read back."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

from tests.kernel.tracing import logs

if TYPE_CHECKING:
    from pathlib import Path

_OF_ANY_JOB = frozenset({"bpf", "packet_socket", "xdp_socket", "frames"})
"""What jobs do to others as well: who tests on this machine in a root of its own waits for no test here."""


def told(otlp_dir: Path) -> list[str]:
    """What a watch that is over told as done to itself: the words of its log records, oldest first."""
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
    found = list[str]()
    for record in records:
        named = {one["key"]: one["value"].get("stringValue") for one in record["attributes"]}
        if named["egress.tamper.kind"] not in _OF_ANY_JOB:
            found.append(record["body"]["stringValue"])
    return found


def tampering(otlp_dir: Path) -> list[tuple[Any, str]]:
    """Kind and words of each."""
    return [
        (
            {pair["key"]: pair["value"] for pair in record["attributes"]}["egress.tamper.kind"][
                "stringValue"
            ],
            record["body"]["stringValue"],
        )
        for record in logs(otlp_dir)
        if record["eventName"] == "cicd.egress.tamper"
    ]
