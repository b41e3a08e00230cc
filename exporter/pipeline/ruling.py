"""The terms of a job's policy, and rulings on acts by policy and baseline, as telemetry reports them."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from ipaddress import ip_address
from typing import NamedTuple

from exporter.common.text import counted, form_of
from exporter.events.facts import (
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
from exporter.policy.decide import EgressRequest, decide
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
from exporter.policy.sharing import is_of_another_name

ALLOWED, DENIED, WOULD_DENY = "allow", "deny", "audit"
"""Values of `egress.verdict`; an act without a policy is allowed."""
VERDICT_WORDS = {ALLOWED: "allowed", DENIED: "denied", WOULD_DENY: "would be denied"}
"""Words for people, by `egress.verdict`."""
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
"""Texts of the rules that are in no policy file, by the number that the kernel reports."""


class Ruling(NamedTuple):
    """A ruling on an act. A field is None when it isn't known, and where there is no policy or baseline."""

    verdict: str = ALLOWED
    mode: str | None = None
    """`egress.mode` when the act happened."""
    rule: str | None = None
    """The rule that decided, as it stands in the policy file."""
    ruleset: str | None = None
    """Name of the file, or of the option, in which the rule stands."""
    is_novel: bool | None = None
    """`egress.novel`: whether the baseline lacks the act; None where there is no baseline."""
    is_doubted: bool = False
    """Whether the job may have made up the name; the baseline is then asked about the address instead."""
    refused: str | None = None
    """The name of a DNS lookup that was refused because no rule allows it; None for other acts."""

    @property
    def is_denied(self) -> bool:
        """Whether the policy denied the act, so that nothing was sent."""
        return self.verdict == DENIED

    @property
    def is_against(self) -> bool:
        """Whether the act was denied, or would be if the policy were enforced."""
        return self.verdict != ALLOWED


@dataclass(frozen=True)
class Terms:
    """The facts about a policy that telemetry reports."""

    mode: str
    ruleset: str | None
    """Name of the policy's file, or of the option; None when it isn't known."""
    rules: Mapping[int, str]
    """Texts of the rules, as they stand in the file, by number."""
    named: NamedRules | None = None
    """The rules for names, to find the one that decided; None in a replay: recordings have its number."""
    policy: JobPolicy | None = None
    """The policy, for `early_ruling`; None where no act comes before the kernel knows its job."""
    resolvers: tuple[Address, ...] = ()
    """The system's resolvers, for `early_ruling`."""
    number: int = 0
    """The kernel's number of the policy, where there may be several policies; else 0."""

    @property
    def is_enforced(self) -> bool:
        """Whether acts that the policy denies fail."""
        return self.mode == Mode.ENFORCE.value

    @property
    def of_another(self) -> Terms:
        """Terms for another policy that was in force, of which only the mode is assumed to be the same."""
        return Terms(self.mode, None, {})

    def rule_for(self, event: Acted | Aggregated, names: Iterable[str]) -> int:
        """Return the number of the rule for names that decided on `event`, whose peer has the names `names`.

        Returns RULE_OF_NAMES when the rule isn't known.
        """
        if self.named is None:
            return RULE_OF_NAMES
        act = EgressRequest(None, event.protocol, event.peer_port).plain
        effect = Effect.ALLOW if event.verdict is Verdict.ALLOW else Effect.DENY
        wanted = PortClass(act.protocol, act.port)
        return self.named.decided(effect, wanted, names, event.held) or RULE_OF_NAMES


def terms_of(
    policy: Compiled, ruleset: str, source: JobPolicy | None = None, resolvers: tuple[Address, ...] = ()
) -> Terms:
    """Return the terms of `policy`, which is called `ruleset` and was compiled from `source`."""
    rules = {number: rule.text for number, rule in enumerate(policy.rules, 1)}
    return Terms(policy.mode.value, ruleset, rules, policy.named, source, resolvers)


def early_ruling(
    terms: Terms, event: Acted | Aggregated, names: Collection[str], chain: Sequence[str]
) -> Ruling:
    """Judge an act that came before the kernel knew its job: the act wasn't stopped, as in mode audit.

    `names` are the peer's names; `chain` holds the executables from the job's root to the process.
    """
    if terms.policy is None:
        return Ruling()
    act = EgressRequest(ip_address(event.peer), event.protocol, event.peer_port)
    said = decide(terms.policy, act, names=names, chain=chain, resolvers=terms.resolvers)
    rule = said.rule.text if said.rule else DEFAULT
    return Ruling(said.verdict(Mode.AUDIT), Mode.AUDIT.value, rule, terms.ruleset)


def ruling(terms: Terms | None, event: Acted | Aggregated) -> Ruling:
    """Return the kernel's ruling on `event` under `terms`, which are None when the job has no policy."""
    if terms is None or event.verdict is Verdict.NONE:
        return Ruling(_WORDS[event.verdict])
    mode = {Verdict.DENY: Mode.ENFORCE.value, Verdict.AUDIT: Mode.AUDIT.value}.get(event.verdict, terms.mode)
    is_other = isinstance(event, Aggregated) and event.is_other
    rule = _IMPLIED.get(event.rule) or terms.rules.get(event.rule)
    return Ruling(_WORDS[event.verdict], mode, None if is_other else rule, terms.ruleset)


_REMARKS_MAX = 10


def is_shared_with_another(verdict: str, rule: str | None, host: str | None) -> bool:
    """Whether `rule` allowed an act to `host` only because its address also has the name in the rule.

    The kernel decides by address, and grants the addresses of names that a rule has.
    """
    return verdict == ALLOWED and bool(rule and host) and is_of_another_name(rule or "", host or "")


def shared_remarks(shared: Iterable[tuple[str, str, int]]) -> Iterator[str]:
    """Yield a line for each destination and rule of `(destination, rule, attempts)`, most attempts first.

    The lines contain texts that may come from an attacker.
    """
    attempts = Counter[tuple[str, str]]()
    for destination, rule, number in shared:
        attempts[destination, rule] += number
    for (destination, rule), number in attempts.most_common(_REMARKS_MAX):
        attempted = f"{counted(number, 'attempt')} to {destination} {form_of(number, 'was', 'were')} allowed"
        yield f"{attempted} by the rule for another name of its address: {rule}"
    if len(attempts) > _REMARKS_MAX:
        more = counted(len(attempts) - _REMARKS_MAX, "more destination")
        yield f"… and {more} allowed by rules for other names of their addresses: see the spans"
