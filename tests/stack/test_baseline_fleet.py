"""A baseline of jobs whose runners kept nothing: Prometheus has it, by way of the collector."""

from __future__ import annotations

from datetime import UTC, datetime
from ipaddress import IPv4Address
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from exporter.baseline.conclude import conclude
from exporter.baseline.model import Entry, Task
from exporter.baseline.prometheus import read_history
from exporter.baseline.prometheus_api import Prometheus
from tests.launch import PLAIN_ENVIRONMENT, ci_egress
from tests.stack.builds import TASK, telemetry, variables
from tests.stack.conftest import wait_until

if TYPE_CHECKING:
    from demo.stack.servers import Stack

pytestmark = [pytest.mark.stack, pytest.mark.kernel, pytest.mark.timeout(900)]  # may wait for the builds

PIPELINE = "fleet/learnt"
ACTS = "echo x >/dev/udp/203.0.113.9/8125; echo x >/dev/udp/127.0.0.1/8125"


def test_jobs_on_two_runners_are_learnt_from_prometheus_with_their_chains(
    stack: Stack, tmp_path: Path
) -> None:
    before = datetime.now(UTC).date()
    for runner, command in enumerate((["bash", "-c", ACTS], ["sh", "-c", f"bash -c '{ACTS}'; true"])):
        environment = {
            **PLAIN_ENVIRONMENT,
            **variables(PIPELINE, str(runner)),
            **telemetry(stack),
            "STATE_DIRECTORY": str(tmp_path / f"state-{runner}"),
        }
        done = ci_egress("run", "--metric-lineage", "--", *command, cwd=tmp_path, env=environment)
        assert done.status == 0, done.stderr
    chains = frozenset({("bash",), ("dash", "bash")})
    wait_until(lambda: any(entry.lineages == chains for entry in learnt(stack)))
    (entry,) = learnt(stack)
    after = datetime.now(UTC).date()
    assert (entry.host, entry.port, entry.transport) == (IPv4Address("203.0.113.9"), 8125, "udp")
    assert entry.first_seen is not None
    assert entry.last_seen is not None
    assert before <= entry.first_seen <= entry.last_seen <= after


def learnt(stack: Stack) -> list[Entry]:
    """Of the jobs' pipeline: the servers are other tests', too."""
    today = datetime.now(UTC).date()
    baseline = conclude(read_history(Prometheus(stack.prometheus_url, {}), 2, today=today)).baseline
    return [*baseline.tasks.get(Task(PIPELINE, TASK), ())]
