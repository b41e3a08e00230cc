"""Baselines as files have them, for tests."""

from __future__ import annotations

from exporter.baseline.model import Baseline
from exporter.baseline.parse import parse_baseline
from tests.unit.document_errors import errors_of

NAME = "baseline.yaml"

EXAMPLE = """\
version: 1
entries:
  - pipeline: release
    task: build
    destination: registry.npm.example     # a name, *.name, or an address
    port: 443
    transport: tcp
    lineage: [[bash, npm, node]]          # chains seen, or `any`
    first_seen: 2026-11-02
    last_seen: 2026-11-24
    runs: 412
"""


def baseline(text: str) -> Baseline:
    """Of a whole file."""
    return parse_baseline(text.encode(), NAME)


def with_entries(*entries: str) -> Baseline:
    """Of entries in flow style, each without its braces, the first in line 3."""
    return baseline("version: 1\nentries:\n" + "".join(f"- {{{entry}}}\n" for entry in entries))


def errors(text: str | bytes) -> list[str]:
    """What is said of an invalid file, without its name."""
    return errors_of(parse_baseline, text, NAME)
