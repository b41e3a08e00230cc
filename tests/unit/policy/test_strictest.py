"""What no job's part of a policy is stricter than: for what may be any job's."""

from __future__ import annotations

from dataclasses import replace

from hypothesis import given
from hypothesis import strategies as st

from exporter.jobs.claims import named
from exporter.policy.decide import EgressRequest, decide
from exporter.policy.keys import Key
from exporter.policy.model import Address, Effect, JobPolicy, Policy, Section, strictest
from exporter.policy.sections import effective
from tests.unit.policy import strategies


@given(
    st.lists(strategies.policies(), min_size=1, max_size=3),
    st.booleans(),
    strategies.acts(),
    strategies.answers,
    strategies.chains,
)
def test_what_the_strictest_allows_every_job_may(
    parts: list[JobPolicy],
    trusts: bool,
    act: EgressRequest,
    answers: list[tuple[str, Address]],
    chain: list[str],
) -> None:
    common, *others = parts
    sections = tuple(Section(Key("*", "*"), rules=part.rules, trusts_names=trusts) for part in others)
    whole = Policy(rules=common.rules, sections=sections, resolvers=common.resolvers)
    names = [name for name, address in answers if address == act.address]

    def says(policy: JobPolicy) -> Effect:
        return decide(policy, act, names=names, chain=chain, resolvers=strategies.ADDRESSES[:1]).effect

    if says(strictest(whole)) is Effect.ALLOW:
        for size in range(len(sections) + 1):
            job = effective(replace(whole, sections=sections[:size]), named("any", None))
            assert says(job) is Effect.ALLOW
