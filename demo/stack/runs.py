"""The sample pipeline, which can run several times: each run has ids of its own and a new network."""

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
    """A destination, as metrics and baselines have it."""

    host: str
    port: int
    transport: str

    def __str__(self) -> str:
        """Return it as a text for people."""
        return f"{endpoint(self.host, self.port)} ({self.transport})"


def destination(told: Mapping[str, Any]) -> Destination:
    """Return the destination of a span, given by its attributes."""
    return Destination(told["server.address"], told["server.port"], told["network.transport"])


class Novel(NamedTuple):
    """A destination that a baseline doesn't have, or has with other chains of processes."""

    destination: Destination
    span: Span
    """The first span to it."""
    is_known_otherwise: bool
    """Whether the baseline has the destination, with other chains of processes."""

    @property
    def is_lookup(self) -> bool:
        """Whether it is a lookup before a connect: the connect's alert inhibits the lookup's."""
        return self.is_known_otherwise and self.destination.port == names.DNS_PORT


@dataclass(frozen=True)
class Pipeline:
    """The pipeline. Each run sends its telemetry to a collector, and writes it to a folder of its own."""

    folder: Path
    scratch: Path
    """A folder for temporary files."""
    collector_port: int
    """The collector's port on this machine's loopback, for OTLP over HTTP."""

    @property
    def baseline(self) -> Path:
        """The baseline file, which `learn` writes."""
        return self.folder / "baseline.yaml"

    @property
    def policy(self) -> Path:
        """The policy file, which `export` writes."""
        return self.folder / "policy.yaml"

    def otlp_dir(self, number: int) -> Path:
        """Return the folder to which run `number` writes its telemetry."""
        return self.folder / f"run-{number}"

    def clear(self) -> None:
        """Remove the files of an earlier demo."""
        for number in RUNS:
            shutil.rmtree(self.otlp_dir(number), ignore_errors=True)
        self.baseline.unlink(missing_ok=True)
        self.policy.unlink(missing_ok=True)

    def run(self, number: int, *options: str | Path, beacon: Beacon | None) -> Sequence[Request]:
        """Run it once, under `ci-egress run` with these options; without a beacon nothing is poisoned.

        Returns the requests that the beacon got. Raises CiEgressError when the run fails.
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
        """Run `ci-egress baseline COMMAND`. Raises CiEgressError when it fails."""
        done = subprocess.run([CI_EGRESS, "baseline", command, *arguments], check=False)
        if done.returncode:
            raise CiEgressError(f"`ci-egress baseline {command}` ended with status {done.returncode}")

    def spans(self, number: int) -> list[Span]:
        """Return the egress spans of a run."""
        return [span for span in read_spans(self.otlp_dir(number) / "traces.jsonl") if span.is_egress]

    def denied(self, number: int) -> list[Span]:
        """Return the spans of a run that a policy denied, in the order of the file."""
        return [span for span in self.spans(number) if span.attributes["egress.verdict"] == "deny"]

    def novel(self, number: int) -> list[Novel]:
        """Return the destinations of a run that are novel: new ones first, then ones with new chains."""
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
