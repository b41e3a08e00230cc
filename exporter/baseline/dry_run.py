"""Try a policy on recorded runs: how many it would have broken, and where."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any, NamedTuple, TypeVar

from exporter.common.net.addresses import endpoint
from exporter.otlp.reading.json import number_of, text_of
from exporter.policy.model import Address, Effect, Policy

from .acts import identity_of
from .judge import Judge, Recorded
from .model import Task
from .neighbours import Neighbours
from .seen import NotLearntError, Run

ATTRIBUTES = frozenset(
    {
        *("cicd.pipeline.name", "cicd.pipeline.task.name", "cicd.pipeline.run.id", "egress.job.attempt"),
        *("egress.attempts", "egress.rule", "egress.verdict"),
        *("network.peer.address", "network.transport", "server.address", "server.port"),
    }
)
"""The span attributes that a dry run reads."""
RUNS_MAX = 1_000_000
"""The most runs that are judged, of all pipelines together."""
PLACES_MAX = 1000
"""The most destinations that are reported, of all pipelines together."""
WAITING_MAX = 16_384
"""The most attempts that wait, until more spans are read, to be judged together."""
EXAMPLES_MAX = 5
"""The most runs of one pipeline that are named."""
DENIED_ALREADY = "denied already when they were recorded"
_NOWHERE = "an unknown destination"
_TEXT_MAX = 300

_Place = TypeVar("_Place")


@dataclass
class PipelineVerdicts:
    """The verdicts of the policy on the runs of one pipeline."""

    runs: set[Run] = field(default_factory=set)
    denied_runs: set[Run] = field(default_factory=set)
    places: Counter[tuple[Task, str]] = field(default_factory=Counter)
    """Attempts that would have been denied, by task and destination."""
    shared: Counter[tuple[Task, str, str]] = field(default_factory=Counter)
    """Attempts that only a rule for another name of their address allows, by task, destination and rule."""
    examples: list[str] = field(default_factory=list)
    """The ids of the first runs that the policy would have broken."""


class _Waiting(NamedTuple):
    """An attempt that is denied by its own name, but may be allowed by another name of its address."""

    at_ns: int
    task: Task
    run: Run
    run_id: str
    act: Recorded
    attempts: int


class DryRun:
    """A policy that is tried on recorded spans, one at a time, within limits. Call `settle` at the end.

    The policy must only allow, as one that is made of a baseline does: then another name of an address can't
    deny what the attempt's own name allows.
    """

    def __init__(self, policy: Policy, resolvers: Iterable[Address] = ()) -> None:
        """`resolvers` are the addresses that `resolvers: system` means."""
        self.pipelines: dict[str | None, PipelineVerdicts] = {}
        self.left_out: Counter[str] = Counter()
        """Attempts that aren't judged, by reason."""
        self._judge = Judge(policy, resolvers)
        self._neighbours = Neighbours()
        self._waiting: list[_Waiting] = []
        self._places = self._runs = 0

    @property
    def number_of_runs(self) -> int:
        """The number of runs that are judged."""
        return sum(len(verdicts.runs) for verdicts in self.pipelines.values())

    @property
    def number_of_denied(self) -> int:
        """The number of runs that the policy would have broken."""
        return sum(len(verdicts.denied_runs) for verdicts in self.pipelines.values())

    def add(self, span: Mapping[str, Any], at_ns: int = 0) -> None:
        """Add an egress span, given by its attributes, that began at `at_ns` (nanoseconds since 1970)."""
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
        act = _recorded(span)
        self._neighbours.meet((task, run), act, at_ns)
        if span.get("egress.verdict") == Effect.DENY.value:
            self.left_out[DENIED_ALREADY] += attempts
        elif self._allowing(task, act) is None:
            run_id, alone = span["cicd.pipeline.run.id"], act._replace(rule=None)
            self._waiting.append(_Waiting(at_ns, task, run, run_id, alone, attempts))
            if len(self._waiting) >= WAITING_MAX:
                self.settle()

    def settle(self) -> None:
        """Judge the attempts that waited for further spans to name their addresses."""
        for each in self._waiting:
            neighbours = self._neighbours.names((each.task, each.run), each.act, each.at_ns)
            rule = self._allowing(each.task, each.act, neighbours)
            self._conclude(each, rule)
        self._waiting.clear()

    def _conclude(self, each: _Waiting, rule: str | None) -> None:
        """Count an attempt as allowed by `rule`, or as denied where `rule` is None."""
        verdicts = self.pipelines[each.task.pipeline]
        if rule is not None:
            self._count(verdicts.shared, (each.task, _shown(each.act), rule), each.attempts)
            return
        self._count(verdicts.places, (each.task, _shown(each.act)), each.attempts)
        if each.run not in verdicts.denied_runs:
            verdicts.denied_runs.add(each.run)
            if len(verdicts.examples) < EXAMPLES_MAX:
                verdicts.examples.append(each.run_id)

    def _of_run(self, pipeline: str | None, run: Run) -> PipelineVerdicts | None:
        """Find or add the run's pipeline. Returns None for a run for which there is no room."""
        verdicts = self.pipelines.get(pipeline)
        if verdicts is None or run not in verdicts.runs:
            if self._runs >= RUNS_MAX:
                return None
            self._runs += 1
            verdicts = self.pipelines.setdefault(pipeline, PipelineVerdicts())
            verdicts.runs.add(run)
        return verdicts

    def _count(self, places: Counter[_Place], place: _Place, attempts: int) -> None:
        if place not in places:
            if self._places >= PLACES_MAX:
                return
            self._places += 1
        places[place] += attempts

    def _allowing(self, task: Task, act: Recorded, neighbours: tuple[str, ...] = ()) -> str | None:
        """Return the rule that allows `act`, empty where no policy is asked. None: it is denied."""
        said = self._judge.decision(task, act, neighbours)
        if said is None:
            return ""
        if said.effect is Effect.DENY:
            return None
        return said.rule.text if said.rule else ""


def _recorded(span: Mapping[str, Any]) -> Recorded:
    host, peer = text_of(span.get("server.address")), text_of(span.get("network.peer.address"))
    kind, port = text_of(span.get("network.transport")), number_of(span.get("server.port"))
    return Recorded(host, peer, kind, port, text_of(span.get("egress.rule")))


def _shown(act: Recorded) -> str:
    host = (act.host or act.peer or _NOWHERE)[:_TEXT_MAX]
    where = host if act.port is None else endpoint(host, act.port)
    return where if act.transport == "tcp" else f"{(act.transport or 'unknown')[:20]}://{where}"
