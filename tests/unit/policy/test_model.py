"""What of a policy holds for one job."""

from __future__ import annotations

from ipaddress import ip_address

from exporter.jobs.claims import named
from exporter.policy.model import with_endpoints
from exporter.policy.parse import parse_allowed_endpoints
from exporter.policy.sections import effective
from tests.unit.policy.files import policy

SECTIONS = policy("""\
version: 1
allow: [all.example]
jobs:
  "release": {allow: [release.example]}
""")


def test_loopback_is_implied_and_resolvers_when_stated() -> None:
    addresses = [ip_address(text) for text in ("192.0.2.53", "::ffff:192.0.2.53", "2001:db8::53")]
    silent = effective(policy("version: 1\n"), named(None, None))
    stated = effective(policy("version: 1\nresolvers: system\n"), named(None, None))
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
    assert effective(endpoints, named(None, None)).rules == endpoints.rules
