"""What was told as tampering, read back."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from tests.kernel.tracing import logs

if TYPE_CHECKING:
    from pathlib import Path

_OF_ANY_JOB = frozenset({"bpf", "packet_socket", "xdp_socket", "vsock_socket", "other_memory", "frames"})
"""What jobs do to others as well: who tests on this machine in a root of its own waits for no test here."""


def told(otlp_dir: Path) -> list[str]:
    """What a watch that is over told as done to itself: the words of its log records, oldest first."""
    if not (otlp_dir / "logs.jsonl").exists():
        return []
    return [words for kind, words in tampering(otlp_dir) if kind not in _OF_ANY_JOB]


def tampering(otlp_dir: Path) -> list[tuple[str, str]]:
    """Kind and words of each record of tampering."""
    records = [record for record in logs(otlp_dir) if record["eventName"] == "cicd.egress.tamper"]
    return [(_kind(record), record["body"]["stringValue"]) for record in records]


def _kind(record: dict[str, Any]) -> str:
    (kind,) = [one["value"] for one in record["attributes"] if one["key"] == "egress.tamper.kind"]
    return str(kind["stringValue"])
