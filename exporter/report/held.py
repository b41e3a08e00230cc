"""Recorded acts, held against a baseline and a policy of the reader's."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from exporter.addresses import Address
from exporter.baseline.judge import Judge, Recorded
from exporter.baseline.model import Baseline, Task
from exporter.baseline.neighbours import Neighbours
from exporter.baseline.novelty import Novelty
from exporter.destinations import Destination
from exporter.events import Outcome
from exporter.policy.model import ANSWER, DEFAULT, Effect, Policy
from exporter.shared import is_shared_with_another

if TYPE_CHECKING:
    from collections.abc import Iterable

    from exporter.policy import model
    from exporter.report.model import Act, JobReport


class Seen(NamedTuple):
    """What they say to an act."""

    novel: bool | None
    """None where no baseline was asked."""
    is_known: bool | None
    """For what is novel: whether the destination is known, if only with other chains; None: not asked."""
    effect: str | None
    """`allow`, `deny`; None where no policy is asked."""
    rule: str | None
    line: int | None
    """Where the rule stands; None for one that no file has."""
    is_shared: bool = False
    """Whether the rule is for another name of the address."""

    @property
    def is_denied(self) -> bool:
        """By the policy that acts are held against."""
        return self.effect == Effect.DENY.value


class Held:
    """For the acts of one job."""

    def __init__(
        self,
        job: JobReport,
        baseline: Baseline | None = None,
        policy: Policy | None = None,
        resolvers: Iterable[model.Address] = (),
    ) -> None:
        """Without a baseline, what was recorded counts. `resolvers` are the system's."""
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

    def seen(self, act: Act) -> Seen:
        """What they say to `act`."""
        novel, is_known = self._novel(act)
        effect, rule, line = self._ruled(act)
        is_shared = is_shared_with_another(effect or "", rule, act.host)
        return Seen(novel, is_known, effect, rule, line, is_shared)

    def _novel(self, act: Act) -> tuple[bool | None, bool | None]:
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

    def _ruled(self, act: Act) -> tuple[str | None, str | None, int | None]:
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


def _recorded(act: Act) -> Recorded:
    return Recorded(act.host, act.address, act.transport, act.port, act.rule, act.chain)
