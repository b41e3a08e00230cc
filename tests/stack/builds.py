"""Jobs of pipelines with a name each, traced for real, and what `ci-egress` makes of their files."""

from __future__ import annotations

import threading
from contextlib import contextmanager
from typing import TYPE_CHECKING

from demo.relay import relay
from tests.kernel.lab import PORT, V4, V6
from tests.kernel.tracing import trace
from tests.launch import ci_egress
from tests.unit.watched_host import gitlab

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from demo.stack.servers import Stack
    from tests.kernel.lab import Lab

INTERVAL_S = 1.0
"""Of exports, scrapes and evaluations alike."""
TASK = "build"
KNOWN = (V4.peer, V6.peer)
"""What jobs of `connecting` connect to as ever."""


def variables(pipeline: str, run: str) -> dict[str, str]:
    """What the CI system gives a job of the pipeline."""
    return gitlab(run=run, job=f"job-of-{run}", CI_JOB_NAME=TASK, CI_PROJECT_PATH=pipeline)


def telemetry(stack: Stack, *, port: int | None = None) -> dict[str, str]:
    """What leads an exporter's telemetry to the servers, at another port of loopback if one is given."""
    endpoint = stack.otlp_http_url if port is None else f"http://127.0.0.1:{port}"
    return {
        "OTEL_EXPORTER_OTLP_ENDPOINT": endpoint,
        "OTEL_METRIC_EXPORT_INTERVAL": f"{INTERVAL_S * 1000:.0f}",
    }


@contextmanager
def way_out(lab: Lab, port: int) -> Iterator[int]:
    """Lead from a port of loopback, which is given, on the lab's build side to `port` of this host's."""
    with lab.build.call(relay, "127.0.0.1", 0, port).result() as relaying:
        thread = threading.Thread(target=relaying.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        try:
            yield relaying.server_address[1]
        finally:
            relaying.shutdown()
            thread.join()


def connecting(*addresses: str, then: str = "") -> list[str]:
    """A job that connects to each address, and does something then."""
    connects = [f"(exec 3<>/dev/tcp/{address}/{PORT})" for address in addresses]
    return ["bash", "-c", "; ".join([*connects, then or "true"])]


def ran(folder: Path, *arguments: str | Path) -> str:
    """What a command of `ci-egress` printed, which must have gone well."""
    done = ci_egress(*map(str, arguments), cwd=folder)
    assert done.status == 0, done.stderr
    return done.stdout.decode()


def learnt(folder: Path, *otlp_dirs: Path) -> Path:
    """The baseline of what these runs did."""
    baseline = folder / "baseline.yaml"
    ran(folder, "baseline", "learn", *otlp_dirs, "--output", baseline)
    return baseline


def baseline_of(lab: Lab, folder: Path, *pipelines: str) -> Path:
    """The baseline of pipelines that connected to what is known, twice."""
    first = [folder / f"{pipeline}-learnt-{number}" for pipeline in pipelines for number in range(2)]
    for number, otlp in enumerate(first):
        pipeline = pipelines[number // 2]
        done = trace(lab, connecting(*KNOWN), otlp, env=variables(pipeline, f"{pipeline}-learnt-{number}"))
        assert done.status == 0, done.stderr
    return learnt(folder, *first)
