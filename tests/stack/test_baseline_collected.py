"""A baseline from the file of a real collector, in which other producers' spans stand between the job's."""

from __future__ import annotations

from pathlib import Path

import pytest
import urllib3

from tests.stack.conftest import Collector, wait_until
from tests.unit.baseline.spans import learnt, learnt_from, line, span

pytestmark = [pytest.mark.stack, pytest.mark.timeout(900)]  # the first one may wait for the builds


def test_what_a_collector_wrote_is_learnt_without_other_producers_spans(
    collector: Collector, tmp_path: Path
) -> None:
    spans = [*(span(run=run) for run in range(1, 4)), span("b.example", run=2, chain=("bash", "é>"))]
    url = f"{collector.environ('http/protobuf')['OTEL_EXPORTER_OTLP_ENDPOINT']}/v1/traces"
    for each in spans:
        for body in (line([span("noise.example")], scope="urllib3"), line([each])):
            answer = urllib3.request(
                "POST", url, body=body, headers={"Content-Type": "application/json"}, retries=False
            )
            assert answer.status == 200, answer.data
    written = tmp_path / "traces.jsonl"
    wait_until(lambda: written.exists() and has_all(written.read_bytes(), len(spans)))
    assert learnt_from(written) == learnt(spans)


def has_all(data: bytes, number: int) -> bool:
    """Whether so many of both were written, and the last line to its end."""
    counts = {data.count(scope) for scope in (b'"urllib3"', b'"ci_egress"')}
    return counts == {number} and data.endswith(b"\n")
