"""What a policy would have done to runs that were recorded: how many it would have broken, and where."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from exporter.addresses import endpoint
from exporter.baseline.acts import identity_of
from exporter.baseline.judge import Judge, Recorded
from exporter.baseline.model import Task
from exporter.baseline.seen import NotLearntError, Run
from exporter.otlp_json import number_of, text_of
from exporter.policy.model import Address, Effect, Policy

ATTRIBUTES = frozenset(
    {
        *("cicd.pipeline.name", "cicd.pipeline.task.name", "cicd.pipeline.run.id", "egress.job.attempt"),
        *("egress.attempts", "egress.rule", "egress.verdict"),
        *("network.peer.address", "network.transport", "server.address", "server.port"),
    }
)
"""All that is read of a span."""
RUNS_MAX = 1_000_000
"""Of all pipelines together; what more there are isn't judged."""
PLACES_MAX = 1000
"""Destinations that are told, of all pipelines together."""
EXAMPLES_MAX = 5
"""Runs that are named, of one pipeline."""
DENIED_ALREADY = "denied already when they were recorded"
_NOWHERE = "an unknown destination"
_TEXT_MAX = 300


@dataclass
class Verdicts:
    """Of the runs of one pipeline."""

    runs: set[Run] = field(default_factory=set)
    denied_runs: set[Run] = field(default_factory=set)
    places: Counter[tuple[Task, str]] = field(default_factory=Counter)
    """Attempts that would have been denied, by task and destination."""
    examples: list[str] = field(default_factory=list)
    """Ids of the first runs that it would have broken."""


class DryRun:
    """Holds recorded spans against a policy, one at a time, in bounds."""

    def __init__(self, policy: Policy, resolvers: Iterable[Address] = ()) -> None:
        """`resolvers` are the system's, for `resolvers: system`."""
        self.pipelines: dict[str | None, Verdicts] = {}
        self.left_out: Counter[str] = Counter()
        """Attempts that aren't judged, by the reason."""
        self._judge = Judge(policy, resolvers)
        self._places = self._runs = 0

    def add(self, span: Mapping[str, Any]) -> None:
        """Take in the attributes of an egress span."""
        attempts = number_of(span.get("egress.attempts")) or 1
        try:
            task, run = identity_of(span)
        except NotLearntError as error:
            self.left_out[str(error.why)] += attempts
            return
        verdicts = self._of_run(task.pipeline, run)
        if verdicts is None:
            self.left_out[f"beyond {RUNS_MAX:,} runs"] += attempts
            return
        if span.get("egress.verdict") == Effect.DENY.value:
            self.left_out[DENIED_ALREADY] += attempts
        elif not self._is_allowed(task, span):
            self._deny(verdicts, (task, _shown(span)), attempts)
            if run not in verdicts.denied_runs:
                verdicts.denied_runs.add(run)
                if len(verdicts.examples) < EXAMPLES_MAX:
                    verdicts.examples.append(span["cicd.pipeline.run.id"])

    def _of_run(self, pipeline: str | None, run: Run) -> Verdicts | None:
        """None for a run for which there is no room."""
        verdicts = self.pipelines.get(pipeline)
        if verdicts is None or run not in verdicts.runs:
            if self._runs >= RUNS_MAX:
                return None
            self._runs += 1
            verdicts = self.pipelines.setdefault(pipeline, Verdicts())
            verdicts.runs.add(run)
        return verdicts

    def _deny(self, verdicts: Verdicts, place: tuple[Task, str], attempts: int) -> None:
        if place not in verdicts.places:
            if self._places >= PLACES_MAX:
                return
            self._places += 1
        verdicts.places[place] += attempts

    def _is_allowed(self, task: Task, span: Mapping[str, Any]) -> bool:
        """By what the policy says, or because no policy is asked."""
        host, peer = text_of(span.get("server.address")), text_of(span.get("network.peer.address"))
        kind, port = text_of(span.get("network.transport")), number_of(span.get("server.port"))
        said = self._judge.decision(task, Recorded(host, peer, kind, port, text_of(span.get("egress.rule"))))
        return said is None or said.effect is Effect.ALLOW


def _shown(span: Mapping[str, Any]) -> str:
    host = text_of(span.get("server.address")) or text_of(span.get("network.peer.address")) or _NOWHERE
    port = number_of(span.get("server.port"))
    where = host[:_TEXT_MAX] if port is None else endpoint(host[:_TEXT_MAX], port)
    kind = text_of(span.get("network.transport"))
    return where if kind == "tcp" else f"{(kind or 'unknown')[:20]}://{where}"
