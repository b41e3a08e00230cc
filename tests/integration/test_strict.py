"""`--strict`: what evidence that got lost means for the exit status, with `ci-egress` as a user runs it."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.integration.receivers import Answer, Collector, collector
from tests.launch import PLAIN_ENVIRONMENT, Done, ci_egress

pytestmark = pytest.mark.kernel

CONNECT = "exec 3<>/dev/tcp/127.0.0.1/1"


def run(receiver: Collector, tmp_path: Path, script: str, *options: str) -> Done:
    env = PLAIN_ENVIRONMENT | {
        "OTEL_EXPORTER_OTLP_ENDPOINT": receiver.url,
        "STATE_DIRECTORY": str(tmp_path / "state"),
    }
    return ci_egress("run", *options, "--", "bash", "-c", script, cwd=tmp_path, env=env)


@pytest.mark.parametrize(
    ("script", "options", "status"),
    [
        (f"{CONNECT} || true", ["--strict"], 92),
        (f"{CONNECT} || true", [], 0),
        (f"{CONNECT} || exit 3", ["--strict"], 3),
        (f"{CONNECT} || kill -TERM $$", ["--strict"], 143),
    ],
)
def test_evidence_that_a_collector_refuses_is_a_failure_if_asked_for(
    script: str, options: list[str], status: int, tmp_path: Path
) -> None:
    with collector(lambda _: Answer(400)) as receiver:
        done = run(receiver, tmp_path, script, *options)
    assert done.status == status, done.stderr
    assert "1 of 1 attempts were dropped (export: 400)" in done.stderr
    assert done.stderr.endswith("attempts 1 = exported 0 + aggregated 0 + dropped 1 + pending 0\n")


def test_evidence_that_arrives_or_waits_on_disk_is_not_lost(tmp_path: Path) -> None:
    is_away = True
    with collector(lambda _: Answer(503) if is_away else Answer()) as receiver:
        first = run(receiver, tmp_path, f"{CONNECT} || true", "--strict")
        is_away = False
        until_delivered = 'for _ in $(seq 1000); do [ -z "$(ls state/spool)" ] && break; sleep 0.05; done'
        second = run(receiver, tmp_path, f"{CONNECT} || true; {until_delivered}", "--strict")
        connects = [name for name in receiver.spans() if "127.0.0.1" in name]
    assert (first.status, second.status) == (0, 0)
    assert f"wait in {tmp_path}/state/spool for the next start" in first.stderr
    assert first.stderr.endswith("attempts 1 = exported 0 + aggregated 0 + dropped 0 + pending 1\n")
    assert f"1 attempt of earlier runs was delivered from {tmp_path}/state/spool" in second.stderr
    assert second.stderr.endswith("attempts 1 = exported 1 + aggregated 0 + dropped 0 + pending 0\n")
    assert len(connects) == 2
    assert list((tmp_path / "state" / "spool").iterdir()) == []
