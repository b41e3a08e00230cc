"""What of a policy holds for one job."""

from __future__ import annotations

from dataclasses import replace
from ipaddress import ip_address

import pytest
from hypothesis import given
from hypothesis import strategies as st

from exporter.policy.decide import Act, decide
from exporter.policy.model import (
    Address,
    Effect,
    JobPolicy,
    Mode,
    Policy,
    Section,
    effective,
    strictest,
    with_endpoints,
)
from exporter.policy.parse import parse_allowed_endpoints
from tests.unit.policy import drawn
from tests.unit.policy.files import policy

SECTIONS = policy("""\
version: 1
allow: [all.example]
jobs:
  "release": {allow: [release.example]}
  "release/*": {mode: enforce, allow: [tasks.example, both.example], deny: [no.example]}
  "*/build": {mode: audit, allow: [build.example, both.example]}
  "group/app": {allow: [app.example]}
""")


@pytest.mark.parametrize(
    ("pipeline", "task", "mode", "hosts"),
    [
        (None, None, "audit", "all"),
        ("other", "test", "audit", "all"),
        ("release", None, "audit", "all release"),
        ("release", "test", "enforce", "all release tasks both no"),
        ("release", "build", "enforce", "all release tasks both no build"),
        ("other", "build", "audit", "all build both"),
        ("Release", "test", "audit", "all"),
        ("group/app", "test", "audit", "all app"),
        ("group", "app", "audit", "all app"),
        (None, "build", "audit", "all build both"),
    ],
)
def test_matching_sections_add_up_and_the_strictest_mode_wins(
    pipeline: str | None, task: str | None, mode: str, hosts: str
) -> None:
    job = effective(SECTIONS, pipeline, task)
    assert job.mode is Mode(mode)
    assert [str(rule.host).removesuffix(".example") for rule in job.rules] == hosts.split()


@given(
    st.lists(drawn.policies(), min_size=1, max_size=3),
    drawn.acts(),
    drawn.answers,
    drawn.chains,
)
def test_what_the_strictest_allows_every_job_may(
    parts: list[JobPolicy], act: Act, answers: list[tuple[str, Address]], chain: list[str]
) -> None:
    common, *others = parts
    sections = tuple(Section("*", rules=part.rules) for part in others)
    whole = Policy(rules=common.rules, sections=sections, resolvers=common.resolvers)
    names = [name for name, address in answers if address == act.address]

    def says(policy: JobPolicy) -> Effect:
        return decide(policy, act, names=names, chain=chain, resolvers=drawn.ADDRESSES[:1]).effect

    if says(strictest(whole)) is Effect.ALLOW:
        for size in range(len(sections) + 1):
            job = effective(replace(whole, sections=sections[:size]), "any", None)
            assert says(job) is Effect.ALLOW


def test_a_policy_that_enforces_does_so_for_a_section_in_audit() -> None:
    found = policy("version: 1\nmode: enforce\njobs: {a: {mode: audit}}\n")
    assert effective(found, "a", None).mode is Mode.ENFORCE


def test_loopback_is_implied_and_resolvers_when_stated() -> None:
    addresses = [ip_address(text) for text in ("192.0.2.53", "::ffff:192.0.2.53", "2001:db8::53")]
    silent = effective(policy("version: 1\n"), None, None)
    stated = effective(policy("version: 1\nresolvers: system\n"), None, None)
    loopback = ["127.0.0.0/8", "0.0.0.0/32", "::1/128", "::/128"]
    assert [str(rule.host) for rule in silent.all_rules(addresses)] == loopback
    assert [
        (str(rule.host), rule.protocol.name, rule.ports, rule.line)
        for rule in stated.all_rules(addresses)[:-4]
    ] == [
        ("192.0.2.53/32", "UDP", (53,), 2),
        ("192.0.2.53/32", "TCP", (53,), 2),
        ("2001:db8::53/128", "UDP", (53,), 2),
        ("2001:db8::53/128", "TCP", (53,), 2),
    ]


def test_allowed_endpoints_add_to_a_policy() -> None:
    endpoints = parse_allowed_endpoints("all.example more.example:80")
    both = with_endpoints(SECTIONS, endpoints)
    assert [rule.text for rule in both.rules] == ["all.example", "more.example:80"]
    assert both.sections == SECTIONS.sections
    assert both.resolvers == endpoints.resolvers


def test_allowed_endpoints_alone_are_a_policy() -> None:
    endpoints = parse_allowed_endpoints("all.example")
    assert with_endpoints(None, endpoints) == endpoints
    assert effective(endpoints, None, None).rules == endpoints.rules
