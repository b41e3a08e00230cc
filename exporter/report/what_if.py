"""Compare recorded acts with a baseline and a policy that the reader of a report gives."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from exporter.baseline.judge import Judge, Recorded
from exporter.baseline.model import Baseline, Task
from exporter.baseline.neighbours import Neighbours
from exporter.baseline.novelty import Novelty
from exporter.common.net.addresses import Address
from exporter.events.destinations import Destination
from exporter.events.facts import Outcome
from exporter.pipeline.ruling import is_shared_with_another
from exporter.policy.model import ANSWER, DEFAULT, Effect, Policy

if TYPE_CHECKING:
    from collections.abc import Iterable

    from exporter.policy import model

    from .model import JobReport, ReportedAct


class WhatIfAnswer(NamedTuple):
    """The answer of the baseline and the policy on an act."""

    novel: bool | None
    """Whether it is new to the baseline. None: no baseline was asked, not even when it was recorded."""
    is_known: bool | None
    """For a novel act, whether its destination is known, with other chains. None: not asked."""
    effect: str | None
    """`allow` or `deny`. None: no policy is asked."""
    rule: str | None
    line: int | None
    """The line of the rule in its file. None: no file has it."""
    is_shared: bool = False
    """Whether the rule is for another name of the same address."""

    @property
    def is_denied(self) -> bool:
        """Whether the policy denies the act."""
        return self.effect == Effect.DENY.value


class WhatIf:
    """A baseline and a policy that the acts of one job are compared with."""

    def __init__(
        self,
        job: JobReport,
        baseline: Baseline | None = None,
        policy: Policy | None = None,
        resolvers: Iterable[model.Address] = (),
    ) -> None:
        """Without a baseline, the recorded novelty counts. `resolvers` are the system's."""
        self._task = Task(job.pipeline or None, job.task or None)
        self._novelty = None if baseline is None else Novelty(baseline, self._task)
        self._judge = None if policy is None else Judge(policy, resolvers)
        self._neighbours = Neighbours()
        if policy is not None:
            for act in job.acts:
                self._neighbours.meet(None, _recorded(act), act.started_ns)

    @property
    def to_nothing(self) -> bool:
        """Whether there is neither a baseline nor a policy."""
        return self._novelty is None and self._judge is None

    @property
    def has_policy(self) -> bool:
        """Whether a policy is asked."""
        return self._judge is not None

    def seen(self, act: ReportedAct) -> WhatIfAnswer:
        """Return the answer of the baseline and the policy on `act`."""
        novel, is_known = self._novel(act)
        effect, rule, line = self._ruled(act)
        is_shared = is_shared_with_another(effect or "", rule, act.host)
        return WhatIfAnswer(novel, is_known, effect, rule, line, is_shared)

    def _novel(self, act: ReportedAct) -> tuple[bool | None, bool | None]:
        if self._novelty is None:
            return act.novel, None
        if act.rule == ANSWER and act.transport == "udp":
            return False, None
        peer = Address(act.address, "", act.is_loopback) if act.address else None
        where = Destination(act.host, act.port, act.transport, peer)
        chain = act.chain or None
        if act.is_loopback or not self._novelty.is_novel(
            where, chain, is_connect=act.outcome != Outcome.SENT
        ):
            return False, None
        return True, self._novelty.has(where)

    def _ruled(self, act: ReportedAct) -> tuple[str | None, str | None, int | None]:
        if self._judge is None:
            return None, None, None
        act_there = _recorded(act)
        neighbours = self._neighbours.names(None, act_there, act.started_ns)
        said = self._judge.decision(self._task, act_there, neighbours)
        if said is None:
            return Effect.ALLOW.value, None, None
        if said.rule is None:
            return said.effect.value, DEFAULT, None
        return said.effect.value, said.rule.text, said.rule.line


def _recorded(act: ReportedAct) -> Recorded:
    return Recorded(act.host, act.address, act.transport, act.port, act.rule, act.chain)
