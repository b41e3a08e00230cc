"""Alerts on what real runs said of their policy, and the last word by which a run that ended isn't missed."""

from __future__ import annotations

import subprocess
import time
from typing import TYPE_CHECKING

import pytest

from tests.launch import CI_EGRESS, ci_egress
from tests.stack.apis import Alertmanager, Prometheus
from tests.stack.builds import telemetry, variables
from tests.stack.conftest import wait_until

if TYPE_CHECKING:
    from pathlib import Path

    from demo.stack.servers import Stack

pytestmark = [pytest.mark.kernel, pytest.mark.timeout(900)]  # the first one may wait for the servers' build

SPRAY = "for last in 1 2 3 4 5; do (exec 3<>/dev/tcp/192.0.2.$last/443); done; true"


def run(stack: Stack, folder: Path, pipeline: str, *arguments: str) -> None:
    """Run a command as a job of the pipeline; it must succeed."""
    done = ci_egress("run", *arguments, cwd=folder, env=environ(stack, folder, pipeline))
    assert done.status == 0, done.stderr
    assert "+ dropped 0 + pending 0" in done.stderr


def environ(stack: Stack, folder: Path, pipeline: str) -> dict[str, str]:
    return variables(pipeline, "1") | telemetry(stack) | {"STATE_DIRECTORY": str(folder / "state")}


def wait_alert(stack: Stack, alert: str, pipeline: str) -> None:
    """Wait until Alertmanager has it."""
    matchers = (f'alertname="{alert}"', f'cicd_pipeline_name="{pipeline}"')
    wait_until(lambda: bool(Alertmanager(stack.alertmanager_url).alerts(*matchers)))


def jobs(stack: Stack, pipeline: str) -> list[float]:
    """What each exporter of the pipeline said last of its jobs."""
    query = f'last_over_time(cicd_egress_jobs{{cicd_pipeline_name="{pipeline}"}}[1h])'
    return list(Prometheus(stack.prometheus_url).now(query).values())


def test_a_run_that_does_not_enforce_after_one_that_did_is_a_downgrade(stack: Stack, tmp_path: Path) -> None:
    pipeline = "policy/downgraded"
    enforcing = f'cicd_pipeline:cicd_egress_enforcing_ratio:avg1h{{cicd_pipeline_name="{pipeline}"}} == 1'
    run(stack, tmp_path, pipeline, "--enforce", "--allowed-endpoints", "registry.example:443", "--", "true")
    wait_until(lambda: bool(Prometheus(stack.prometheus_url).now(enforcing)))

    run(stack, tmp_path, pipeline, "--", "true")
    wait_alert(stack, "CICDEgressEnforcementDowngraded", pipeline)


def test_five_denied_destinations_are_a_burst(stack: Stack, tmp_path: Path) -> None:
    pipeline = "policy/denied"
    enforce = ("--enforce", "--allowed-endpoints", "registry.example:443")
    run(stack, tmp_path, pipeline, *enforce, "--", "bash", "-c", SPRAY)
    wait_alert(stack, "CICDEgressDeniedBurst", pipeline)


def test_a_run_says_in_the_end_that_no_job_is_traced_and_one_that_is_killed_does_not(
    stack: Stack, tmp_path: Path
) -> None:
    run(stack, tmp_path, "policy/ended", "--", "true")
    wait_until(lambda: jobs(stack, "policy/ended") == [0])

    killed = "policy/killed"
    command = ("run", "--on-exporter-death", "open", "--", "setpriv", "--pdeathsig", "KILL", "sleep", "300")
    with subprocess.Popen(
        [*CI_EGRESS, *command], cwd=tmp_path, env=environ(stack, tmp_path, killed), stderr=subprocess.DEVNULL
    ) as exporter:
        try:
            wait_until(lambda: jobs(stack, killed) == [1])
        finally:
            exporter.kill()
    killed_s = time.time()
    later = f'timestamp(cicd_egress_jobs{{cicd_pipeline_name="{killed}"}}) > {killed_s + 2}'
    wait_until(lambda: bool(Prometheus(stack.prometheus_url).now(later)))
    assert jobs(stack, killed) == [1]
