"""A draft allows what was seen, says how often and by whom, and is a policy whatever was seen."""
# ruff: noqa: E501 - a case a line

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from exporter.baseline.policy_draft import Draft, draft
from exporter.policy.model import Policy
from exporter.policy.parse import parse_policy
from tests.unit.baseline.spans import attributes
from tests.unit.baseline.strategies import ANYTHING

ESCAPE = '\x1b[2J\n- "*.com"\u2028'


def span(host: str, port: int | None = 443, transport: str = "tcp", **more: Any) -> dict[str, Any]:
    """Of a connect by npm."""
    return attributes(
        host, port, transport, **{"egress_attempts": 1, "egress_lineage": ["bash", "npm"], **more}
    )


def text(made: Draft) -> str:
    return "".join(f"{line}\n" for line in made.lines())


def parsed(made: Draft) -> Policy:
    return parse_policy(text(made).encode(), "draft")


def test_destinations_are_sorted_and_told_with_counts_and_lineages() -> None:
    made = draft(
        [
            span("registry.example", egress_attempts=1200),
            span("registry.example", egress_lineage=["bash", "node"]),
            span("registry.example", 80),
            span("2001:db8::1", network_peer_address="2001:db8::1"),
            span("192.0.2.53", 53, "udp", network_peer_address="192.0.2.53", egress_lineage=["bash", "curl"]),
            span("192.0.2.9", None, "icmp", network_peer_address="192.0.2.9"),
            span("2001:db8::9", None, "ipv6-icmp", network_peer_address="2001:db8::9"),
            span("192.0.2.8", 9, "sctp", network_peer_address="192.0.2.8"),
        ]
    )
    head, rules = text(made).split("allow:\n")
    assert head.splitlines()[0].startswith(
        "# A draft: what release did on the network, 1,207 attempts in all."
    )
    assert "version: 1\nmode: audit\n" in head
    assert (
        rules
        == """\
  # 1 ×: bash > curl; DNS: `resolvers: system` allows the machine's own
  - "udp://192.0.2.53:53"
  # 1 × (sctp): bash > npm
  - "any://192.0.2.8"
  # 1 ×: bash > npm
  - "icmp://192.0.2.9"
  # 1 ×: bash > npm
  - "[2001:db8::1]:443"
  # 1 ×: bash > npm
  - "icmp://[2001:db8::9]"
  # 1 ×: bash > npm
  - "registry.example:80"
  # 1,201 ×: bash > npm; bash > node
  - "registry.example:443"
"""
    )
    assert len(parsed(made).rules) == 7


def test_of_many_lineages_the_most_frequent_are_told() -> None:
    made = draft([span("a.example", egress_lineage=[f"tool-{n}"], egress_attempts=10 - n) for n in range(5)])
    assert "  # 40 ×: tool-0; tool-1; tool-2 and 2 more\n" in text(made)


@pytest.mark.parametrize(
    ("seen", "reason"),
    [
        (span("127.0.0.1", network_peer_address="127.0.0.1"), "loopback, which is always allowed"),
        (span("a.example", network_peer_address="::1"), "loopback, which is always allowed"),
        (
            span("/run/docker.sock", None, "unix", network_peer_address="/run/docker.sock"),
            "Unix sockets, which are allowed unless a rule denies them",
        ),
        (span("_other", None, network_peer_address=None), "destinations that were counted together (_other)"),
        (span("a..b", network_peer_address=None), "destinations that no rule can name"),
        (span("192.0.2.1", None), "destinations that no rule can name"),
        (span("192.0.2.1", 65_536), "destinations that no rule can name"),
        ({}, "destinations that no rule can name"),
        (
            span("192.0.2.1", 443, "udp") | {"egress.bytes_sent": 0},
            "UDP sockets that sent nothing, as libraries connect them to put addresses in order",
        ),
    ],
)
def test_what_gets_no_rule_is_told(seen: dict[str, Any], reason: str) -> None:
    made = draft([seen])
    assert f"# In no rule: 1 × {reason}\nallow: []\n" in text(made)
    assert parsed(made).rules == ()


def test_a_name_that_no_rule_can_have_gives_its_address() -> None:
    (rule,) = parsed(draft([span(f"a{ESCAPE}")])).rules
    assert rule.text == "198.51.100.7:443"


def test_a_udp_socket_that_may_have_sent_gets_a_rule() -> None:
    sent = {"egress.bytes_sent": 1}
    seen = [span("192.0.2.1", 443, "udp") | sent, span("192.0.2.2", 443, "udp")]
    assert [rule.text for rule in parsed(draft(seen)).rules] == ["udp://192.0.2.1:443", "udp://192.0.2.2:443"]


def test_bytes_that_come_later_are_no_further_attempt() -> None:
    made = draft([span("a.example", egress_attempts=5), span("a.example", egress_attempts=0)])
    assert "  # 5 ×: bash > npm\n" in text(made)


def test_bytes_alone_are_no_empty_draft() -> None:
    assert not draft([span("a.example", egress_attempts=0)]).is_empty
    assert draft([]).is_empty


def test_one_attempt_is_told_in_the_singular() -> None:
    assert text(draft([span("a.example")])).startswith(
        "# A draft: what release did on the network, 1 attempt in all."
    )


def test_nothing_seen_is_a_policy_too() -> None:
    assert parsed(draft([])) == Policy()


@given(
    st.lists(
        st.builds(
            span,
            st.one_of(st.text(max_size=12), st.sampled_from(["*.com", "10.0.0.0/8", "a.example:1", "A.example", "::"])),
            st.integers(-1, 70_000),
            st.one_of(st.text(max_size=6), st.sampled_from(["tcp", "udp", "icmp", "sctp"])),
            network_peer_address=st.one_of(st.text(max_size=12), st.sampled_from(["192.0.2.1", "::ffff:1.2.3.4"])),
            egress_lineage=st.lists(st.text(max_size=5), max_size=2),
        )
    )
)  # fmt: skip
@example([span(ESCAPE, egress_lineage=[ESCAPE, "a\r"], network_transport=ESCAPE, cicd_pipeline_name=ESCAPE)])
@example([span("", 0, "", network_peer_address="0.")])
@example([span("a.example", port="443", transport=7, egress_attempts="1", egress_lineage=[1])])  # type: ignore[arg-type]
def test_whatever_was_seen_the_draft_is_a_policy(spans: list[dict[str, Any]]) -> None:
    made = draft(spans)
    assert all(rule.text in text(made) for rule in parsed(made).rules)


@given(st.dictionaries(st.sampled_from(list(span("x"))), ANYTHING))
def test_attributes_of_any_kind_make_a_policy(attributes: dict[str, Any]) -> None:
    assert len(parsed(draft([attributes])).rules) <= 1
