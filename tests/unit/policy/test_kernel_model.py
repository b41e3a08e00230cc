"""The kernel's lookup over compiled maps says what the reference model says, and which rule it was."""

from __future__ import annotations

from dataclasses import replace
from ipaddress import ip_address

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from exporter.common.net.addresses import UNIX
from exporter.policy.compile import compile_policy
from exporter.policy.decide import EgressRequest, decide, may_ask
from exporter.policy.entries import EntryVerdict, Portless
from exporter.policy.model import LOOPBACK, Address, Effect, JobPolicy, Lookups, Protocol, plain_address
from tests.unit.policy.kernel_model import Asked, Kernel, held_mask, longest_name, packed
from tests.unit.policy.strategies import NAMES, acts, answers, chains, policies

RESOLVERS = [ip_address("192.0.2.2"), ip_address("::ffff:192.0.2.1"), ip_address("2001:db8::1")]
PORTLESS = {1: Portless.ICMP, 6: Portless.TCP, 17: Portless.UDP}
VERDICTS = {Effect.ALLOW: EntryVerdict.ALLOW, Effect.DENY: EntryVerdict.DENY}


@pytest.mark.timeout(600)  # a minute on a busy machine
@settings(max_examples=1000, deadline=None)
@given(policies(), st.lists(acts(), min_size=1, max_size=8), answers, chains)
def test_the_kernel_says_what_the_policy_says(
    policy: JobPolicy, told: list[EgressRequest], answered: list[tuple[str, Address]], chain: list[str]
) -> None:
    compiled = compile_policy(policy, RESOLVERS)
    kernel = Kernel(compiled)
    for name, address in answered:
        kernel.answer(name, address)
    held = held_mask(compiled, chain)
    for act in told:
        names = _names_of(act, answered)
        expected = decide(policy, act, names=names, chain=chain, resolvers=RESOLVERS)
        kernel.asked.clear()
        assert compiled.named.granted(names) == kernel.granted.get(_packed(act), 0)
        found = kernel.decide(act, held)
        assert found.verdict is VERDICTS[expected.effect]
        assert kernel.rule(found, act, names, held) == expected.rule
        asked = Asked(*map(kernel.asked.count, Asked._fields))
        assert asked.addresses == (1 if act.protocol == UNIX else 3)
        assert asked.granted <= 1
        assert asked.ports <= 3


@settings(max_examples=300, deadline=None)
@given(policies(), st.lists(acts(), min_size=1, max_size=8), answers, chains)
def test_a_socket_that_may_not_be_made_is_of_no_use(
    policy: JobPolicy, told: list[EgressRequest], answered: list[tuple[str, Address]], chain: list[str]
) -> None:
    portless = compile_policy(policy, RESOLVERS).portless
    for act in told:
        if act.protocol == UNIX:
            continue
        may_be_made = _may_be_made(policy, act.plain.protocol)
        assert bool(portless & PORTLESS.get(act.plain.protocol, Portless.OTHER)) == may_be_made
        names = _names_of(act, answered)
        decided = decide(policy, act, names=names, chain=chain, resolvers=RESOLVERS)
        is_loopback = decided.rule in LOOPBACK
        assert may_be_made or is_loopback or decided.effect is Effect.DENY


def _may_be_made(policy: JobPolicy, protocol: int) -> bool:
    """Whether some rule allows `protocol`: loopback alone doesn't count, unless the policy names it."""
    return any(
        rule.effect is Effect.ALLOW and rule.protocol in (Protocol.ANY, protocol)
        for rule in policy.all_rules(RESOLVERS)
        if rule not in LOOPBACK
    )


QUESTIONS = [
    *NAMES,
    *("x.a.example", "example", "x.example", "zone", "a.zone"),
    *(f"{name}.zone" for name in (*NAMES, "example")),
    *(f"{name}.a.example" for name in NAMES),
    *(f"{name}.zone.zone" for name in NAMES),
]


@settings(max_examples=500, deadline=None)
@given(policies(), st.sampled_from(((), ("zone",), ("a.example", "zone"), ("b.a.example",))))
def test_the_kernel_lets_be_asked_for_what_may_be_and_grants_by_that_what_it_did(
    policy: JobPolicy, search: tuple[str, ...]
) -> None:
    refusing = replace(policy, lookups=Lookups(are_refused=True, search=search))
    compiled, plain = compile_policy(refusing, RESOLVERS), compile_policy(policy, RESOLVERS)
    kernel = Kernel(compiled)
    for name in QUESTIONS:
        assert kernel.may_ask(name) == may_ask(refusing, name), name
        assert longest_name(compiled.names, name) == longest_name(plain.names, name), name
    assert plain.questions == {}
    assert not plain.refuses_lookups


def _packed(act: EgressRequest) -> bytes:
    assert act.address is not None
    return packed(act.address)


def _names_of(act: EgressRequest, answered: list[tuple[str, Address]]) -> list[str]:
    assert act.address is not None
    at = plain_address(act.address)
    return [name for name, address in answered if plain_address(address) == at]
