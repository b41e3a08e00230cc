"""The sample pipeline, run as often as it takes: each time by another run of the job, in a new network."""

from __future__ import annotations

import shutil
import subprocess
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, NamedTuple

from demo import names
from demo.job import CI_EGRESS, FIRST_RUN, Run, trace_job
from demo.network import network
from demo.sites import Beacon
from demo.trace import Span, read_spans
from exporter.baseline.parse import load_baseline
from exporter.common.errors import CiEgressError
from exporter.common.net.addresses import endpoint

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

    from demo.sites import Request

RUNS = (1, 2, 3, 4)
_METRIC_INTERVAL_MS = 1000


class Destination(NamedTuple):
    """Where to, as metrics and baselines have it."""

    host: str
    port: int
    transport: str

    def __str__(self) -> str:
        """As one would say it."""
        return f"{endpoint(self.host, self.port)} ({self.transport})"


def destination(told: Mapping[str, Any]) -> Destination:
    """That of a span, by its attributes."""
    return Destination(told["server.address"], told["server.port"], told["network.transport"])


class Novel(NamedTuple):
    """What a baseline doesn't have."""

    destination: Destination
    span: Span
    """The first one."""
    is_known_otherwise: bool
    """Whether the baseline has it, from other chains of processes."""

    @property
    def is_lookup(self) -> bool:
        """Whether it is what comes before a connect, and is inhibited by that one's alert."""
        return self.is_known_otherwise and self.destination.port == names.DNS_PORT


@dataclass(frozen=True)
class Pipeline:
    """The pipeline whose runs tell a collector, and a folder each."""

    folder: Path
    scratch: Path
    """For what nobody wants afterwards."""
    collector_port: int
    """Of this machine's loopback, for OTLP over HTTP."""

    @property
    def baseline(self) -> Path:
        """What `learn` writes."""
        return self.folder / "baseline.yaml"

    @property
    def policy(self) -> Path:
        """What `export` writes."""
        return self.folder / "policy.yaml"

    def otlp_dir(self, number: int) -> Path:
        """Where run `number` leaves what it tells the collector, too."""
        return self.folder / f"run-{number}"

    def clear(self) -> None:
        """Remove what an earlier demo left."""
        for number in RUNS:
            shutil.rmtree(self.otlp_dir(number), ignore_errors=True)
        self.baseline.unlink(missing_ok=True)
        self.policy.unlink(missing_ok=True)

    def run(self, number: int, *options: str | Path, beacon: Beacon | None) -> Sequence[Request]:
        """Run it once, under `ci-egress run` with these options; without a beacon nothing is poisoned.

        Returns what the beacon got. Raises CiEgressError when the run fails.
        """
        run = Run(FIRST_RUN.pipeline_id + number - 1, FIRST_RUN.job_id + number - 1)
        scratch = self.scratch / f"run-{number}"
        scratch.mkdir()
        settings = {
            "OTEL_EXPORTER_OTLP_ENDPOINT": f"http://collector.example:{names.OTLP_PORT}",
            "OTEL_METRIC_EXPORT_INTERVAL": str(_METRIC_INTERVAL_MS),
            "STATE_DIRECTORY": str(scratch / "state"),
        }
        with network(beacon, scratch, collector_port=self.collector_port) as build:
            status = trace_job(build, scratch, *options, run=run, settings=settings)
        if status:
            raise CiEgressError(f"run {number} ended with status {status}")
        return beacon.requests if beacon else ()

    def have_baseline(self, command: str, *arguments: str | Path) -> None:
        """`ci-egress baseline COMMAND`. Raises CiEgressError when it fails."""
        done = subprocess.run([CI_EGRESS, "baseline", command, *arguments], check=False)
        if done.returncode:
            raise CiEgressError(f"`ci-egress baseline {command}` ended with status {done.returncode}")

    def spans(self, number: int) -> list[Span]:
        """The egress spans of a run."""
        return [span for span in read_spans(self.otlp_dir(number) / "traces.jsonl") if span.is_egress]

    def denied(self, number: int) -> list[Span]:
        """What a policy denied a run, in the order of its spans."""
        return [span for span in self.spans(number) if span.attributes["egress.verdict"] == "deny"]

    def novel(self, number: int) -> list[Novel]:
        """What a run connected to and the baseline doesn't have: new destinations, then new chains."""
        known = {
            (str(entry.host), entry.port, entry.transport) for entry in load_baseline(self.baseline).entries
        }
        first: dict[Destination, Novel] = {}
        for span in self.spans(number):
            told = span.attributes
            if told.get("egress.novel"):
                where = destination(told)
                first.setdefault(where, Novel(where, span, is_known_otherwise=where in known))
        return sorted(first.values(), key=lambda each: each.is_known_otherwise)
