"""A job's policy, and what it and the baseline said to an act, as telemetry tells it."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from ipaddress import ip_address
from typing import NamedTuple

from exporter.events import (
    RULE_OF_ANSWERS,
    RULE_OF_LOOKUPS,
    RULE_OF_NAMES,
    RULE_OF_NOTHING_SENT,
    Acted,
    Aggregated,
    Verdict,
)
from exporter.policy.compile import Compiled
from exporter.policy.compile_names import NamedRules
from exporter.policy.decide import Act, decide
from exporter.policy.model import (
    ANSWER,
    DEFAULT,
    LOOKUPS,
    NOTHING_SENT,
    Address,
    Effect,
    JobPolicy,
    Mode,
    PortClass,
)

ALLOWED, DENIED, WOULD_DENY = "allow", "deny", "audit"
"""`egress.verdict`; what there is no policy for is allowed."""
VERDICT_WORDS = {ALLOWED: "allowed", DENIED: "denied", WOULD_DENY: "would be denied"}
"""For people."""
_WORDS = {
    Verdict.NONE: ALLOWED,
    Verdict.ALLOW: ALLOWED,
    Verdict.DENY: DENIED,
    Verdict.AUDIT: WOULD_DENY,
}
_IMPLIED = {
    0: DEFAULT,
    RULE_OF_ANSWERS: ANSWER,
    RULE_OF_NOTHING_SENT: NOTHING_SENT,
    RULE_OF_LOOKUPS: LOOKUPS,
}
"""Rules that no file has, by number."""


class Ruling(NamedTuple):
    """What was said to an act; None for what isn't known, and where there is no policy or baseline."""

    verdict: str = ALLOWED
    mode: str | None = None
    """`egress.mode` at that moment."""
    rule: str | None = None
    """As the file has it."""
    ruleset: str | None = None
    """Where it stands."""
    is_novel: bool | None = None
    """`egress.novel`: whether the baseline doesn't have it; None where there is no baseline."""
    is_doubted: bool = False
    """Whether the job may have made up the name, which the baseline isn't asked for then."""
    refused: str | None = None
    """The name that no rule allows, where a resolver was to be asked for one."""

    @property
    def is_denied(self) -> bool:
        """Whether nothing was sent."""
        return self.verdict == DENIED

    @property
    def is_against(self) -> bool:
        """Whether it is denied, or would be."""
        return self.verdict != ALLOWED


@dataclass(frozen=True)
class Terms:
    """A policy, as far as telemetry tells of it."""

    mode: str
    ruleset: str | None
    """The file's name, or the option's; None where it isn't known."""
    rules: Mapping[int, str]
    """By number, as files have them."""
    named: NamedRules | None = None
    """What tells which rule for a name decided; None in a replay, where that was told before."""
    policy: JobPolicy | None = None
    """What says of an act before the kernel knew the policy; None where there is no such act."""
    resolvers: tuple[Address, ...] = ()
    """The system's, for that."""
    number: int = 0
    """The kernel's, where there may be several."""

    @property
    def is_enforced(self) -> bool:
        """Whether what it denies fails."""
        return self.mode == Mode.ENFORCE.value

    @property
    def of_another(self) -> Terms:
        """Those of another policy in this one's place, of which nothing is known."""
        return Terms(self.mode, None, {})

    def rule_for(self, event: Acted | Aggregated, names: Iterable[str]) -> int:
        """Which rule decided, where `names` led to the peer; RULE_OF_NAMES where that isn't known."""
        if self.named is None:
            return RULE_OF_NAMES
        act = Act(None, event.protocol, event.peer_port).plain
        effect = Effect.ALLOW if event.verdict is Verdict.ALLOW else Effect.DENY
        wanted = PortClass(act.protocol, act.port)
        return self.named.decided(effect, wanted, names, event.held) or RULE_OF_NAMES


def terms_of(
    policy: Compiled, ruleset: str, source: JobPolicy | None = None, resolvers: tuple[Address, ...] = ()
) -> Terms:
    """Those of `policy`, which is called `ruleset` and was made of `source`."""
    rules = {number: rule.text for number, rule in enumerate(policy.rules, 1)}
    return Terms(policy.mode.value, ruleset, rules, policy.named, source, resolvers)


def early_ruling(
    terms: Terms, event: Acted | Aggregated, names: Collection[str], chain: Sequence[str]
) -> Ruling:
    """What would have been said to an act that came before the kernel knew its job: it went on, anyway.

    `names` led to the peer; `chain` holds the executables from the job's root to the process.
    """
    if terms.policy is None:
        return Ruling()
    act = Act(ip_address(event.peer), event.protocol, event.peer_port)
    said = decide(terms.policy, act, names=names, chain=chain, resolvers=terms.resolvers)
    rule = said.rule.text if said.rule else DEFAULT
    return Ruling(said.verdict(Mode.AUDIT), Mode.AUDIT.value, rule, terms.ruleset)


def ruling(terms: Terms | None, event: Acted | Aggregated) -> Ruling:
    """What the kernel decided under `terms`; None: the job has no policy."""
    if terms is None or event.verdict is Verdict.NONE:
        return Ruling(_WORDS[event.verdict])
    mode = {Verdict.DENY: Mode.ENFORCE.value, Verdict.AUDIT: Mode.AUDIT.value}.get(event.verdict, terms.mode)
    is_other = isinstance(event, Aggregated) and event.is_other
    rule = _IMPLIED.get(event.rule) or terms.rules.get(event.rule)
    return Ruling(_WORDS[event.verdict], mode, None if is_other else rule, terms.ruleset)
