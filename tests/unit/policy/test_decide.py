"""What a policy says, and which rule decides: the semantics, one by one."""
# ruff: noqa: E501 - a case a line

from __future__ import annotations

from ipaddress import ip_address

import pytest

from exporter.common.net.addresses import UNIX
from exporter.jobs.claims import named
from exporter.policy.decide import Decision, EgressRequest, decide
from exporter.policy.model import Effect, JobPolicy, Mode, SocketName
from exporter.policy.sections import effective
from tests.unit.policy.files import EXAMPLE, policy, rules

TCP, UDP, ICMP, ICMPV6, SCTP, UDPLITE, MPTCP = 6, 17, 1, 58, 132, 136, 262
NOWHERE = "203.0.113.9"


def ask(
    job: JobPolicy,
    address: str | None,
    port: int = 443,
    protocol: int = TCP,
    *,
    names: tuple[str, ...] = (),
    chain: tuple[str, ...] = (),
) -> Decision:
    act = EgressRequest(ip_address(address) if address else None, protocol, port)
    return decide(job, act, names=names, chain=chain, resolvers=[ip_address("192.0.2.254")])


def told(decision: Decision) -> tuple[str, int | None]:
    return decision.effect.value, decision.rule.line if decision.rule else None


@pytest.mark.parametrize(
    ("act", "names", "chain", "expected"),
    [
        pytest.param((NOWHERE,), ("registry.npm.example",), (), ("allow", 4), id="exact-name"),
        pytest.param((NOWHERE, 80), ("registry.npm.example",), (), ("deny", None), id="other-port"),
        pytest.param((NOWHERE, 443, UDP), ("registry.npm.example",), (), ("deny", None), id="other-protocol"),
        pytest.param((NOWHERE, 443, MPTCP), ("registry.npm.example",), (), ("allow", 4), id="mptcp-is-tcp"),
        pytest.param((NOWHERE,), ("evilregistry.npm.example",), (), ("deny", None), id="look-alike"),
        pytest.param((NOWHERE,), ("registry.npm.example.evil.example",), (), ("deny", None), id="as-prefix"),
        pytest.param((NOWHERE,), (), (), ("deny", None), id="no-name"),
        pytest.param((None,), ("registry.npm.example",), (), ("allow", 4), id="address-unknown"),
        pytest.param((NOWHERE,), ("a.wheels.example",), (), ("allow", 5), id="wildcard"),
        pytest.param((NOWHERE,), ("b.a.wheels.example",), (), ("allow", 5), id="wildcard-two-labels"),
        pytest.param((NOWHERE,), ("wheels.example",), (), ("deny", None), id="apex"),
        pytest.param((NOWHERE,), ("evilwheels.example",), (), ("deny", None), id="wildcard-look-alike"),
        pytest.param(("10.20.255.1", 5432), (), (), ("allow", 6), id="network"),
        pytest.param(("::ffff:10.20.255.1", 5432), (), (), ("allow", 6), id="ipv4-in-ipv6"),
        pytest.param(("10.21.0.1", 5432), (), (), ("deny", None), id="beside-the-network"),
        pytest.param(("2001:db8:ffff::1",), (), (), ("allow", 7), id="ipv6"),
        pytest.param(("192.0.2.53", 53, UDP), (), (), ("allow", 8), id="udp"),
        pytest.param(("192.0.2.53", 53), (), (), ("deny", None), id="tcp-to-a-udp-rule"),
        pytest.param(("192.0.2.53", 53, UDPLITE), (), (), ("deny", None), id="udplite-is-not-udp"),
        pytest.param(("192.0.2.1", 0, ICMP), (), (), ("allow", 9), id="icmp"),
        pytest.param(("192.0.2.1", 0, SCTP), (), (), ("deny", None), id="sctp-to-an-icmp-rule"),
        pytest.param((NOWHERE, 8080), ("mirror.example",), (), ("allow", 10), id="any-port"),
        pytest.param((NOWHERE,), ("github.com",), ("bash", "git"), ("allow", 11), id="lineage"),
        pytest.param((NOWHERE,), ("github.com",), ("bash", "/usr/bin/git"), ("allow", 11), id="lineage-by-path"),
        pytest.param((NOWHERE,), ("github.com",), ("bash", "node"), ("deny", None), id="other-lineage"),
        pytest.param((NOWHERE,), ("github.com",), ("bash", "/usr/git/node"), ("deny", None), id="folder-git"),
        pytest.param(("169.254.169.254", 80), (), (), ("deny", 13), id="denied-address"),
        pytest.param(("169.254.169.254",), ("registry.npm.example",), (), ("deny", 13), id="whatever-name"),
        pytest.param(("169.254.169.254", 53, UDP), (), (), ("deny", 13), id="denied-for-all-protocols"),
        pytest.param(("127.0.0.1", 5432), (), (), ("allow", None), id="loopback"),
        pytest.param(("::1", 5432, UDP), (), (), ("allow", None), id="loopback-ipv6"),
        pytest.param(("0.0.0.0", 80), (), (), ("allow", None), id="unspecified"),  # noqa: S104
        pytest.param(("192.0.2.254", 53, UDP), (), (), ("deny", None), id="resolvers-not-stated"),
    ],
)  # fmt: skip
def test_the_policy_of_the_manual(
    act: tuple[str], names: tuple[str, ...], chain: tuple[str, ...], expected: tuple[str, int | None]
) -> None:
    job = effective(policy(EXAMPLE), named(None, None))
    assert told(ask(job, *act, names=names, chain=chain)) == expected


@pytest.mark.parametrize(
    ("job", "act", "names", "line"),
    [
        pytest.param(rules(allow="10.0.0.0/8:80\n10.1.0.0/16:80"), ("10.1.2.3", 80), (), 4, id="longest-prefix"),
        pytest.param(rules(allow='"10.0.0.0/8:*"\n10.0.0.0/8:80'), ("10.1.2.3", 80), (), 4, id="stated-port"),
        pytest.param(rules(allow='"10.1.0.0/16:*"\n10.0.0.0/8:80'), ("10.1.2.3", 80), (), 3, id="prefix-over-port"),
        pytest.param(rules(allow="any://10.0.0.0/8\n10.0.0.0/8:*"), ("10.1.2.3", 80), (), 4, id="stated-protocol"),
        pytest.param(rules(allow="10.1.2.3:80\na.example:80"), ("10.1.2.3", 80), ("a.example",), 4, id="name-over-address"),
        pytest.param(rules(allow='"*.example:80"\na.example:80'), ("10.1.2.3", 80), ("a.example",), 4, id="exact-over-wildcard"),
        pytest.param(rules(allow='"*.example:80"\n"*.b.example:80"'), ("10.1.2.3", 80), ("a.b.example",), 4, id="more-labels"),
        pytest.param(rules(allow='a.example:80\n"*.example:443"'), ("10.1.2.3", 443), ("a.example",), 4, id="only-what-matches"),
        pytest.param(rules(allow="a.example:80", deny="b.example:80"), ("10.1.2.3", 80), ("a.example", "b.example"), 5, id="shared-deny-wins"),
        pytest.param(rules(allow='"*.example:80"', deny="b.example"), ("10.1.2.3", 80), ("b.example", "a.example"), 5, id="denied-below-a-wildcard"),
        pytest.param(rules(allow="b.example:80", deny='"*.example"'), ("10.1.2.3", 80), ("b.example",), 3, id="allowed-below-a-denied-wildcard"),
        pytest.param(rules(allow="b.example:80", deny='"*.example"'), ("10.1.2.3", 80), ("b.example", "a.example"), 5, id="shared-with-a-denied-one"),
        pytest.param(rules(allow="b.example:80", deny="b.example"), ("10.1.2.3", 80), ("b.example",), 3, id="stated-port-over-deny"),
        pytest.param(rules(allow="b.example:80", deny="b.example"), ("10.1.2.3", 81), ("b.example",), 5, id="all-other-ports-denied"),
        pytest.param(rules(allow="10.0.0.0/8:80", deny="b.example"), ("10.1.2.3", 80), ("b.example",), 5, id="denied-name-over-allowed-address"),
        pytest.param(rules(allow="10.0.0.0/8:80", deny="10.1.2.0/24:80"), ("10.1.2.3", 80), (), 5, id="denied-network-in-an-allowed-one"),
        pytest.param(rules(allow="10.0.0.0/8:*", deny="10.0.0.0/8:80"), ("10.1.2.3", 81), (), 3, id="one-port-denied"),
        pytest.param(rules(deny="10.0.0.0/8\n10.1.0.0/16"), ("10.1.2.3", 80), (), 4, id="of-two-denies-the-longest"),
        pytest.param(rules(deny="127.0.0.1:80"), ("127.0.0.1", 80), (), 3, id="loopback-can-be-denied"),
        pytest.param(rules(more="resolvers: system\n"), ("192.0.2.254", 53), (), 2, id="resolvers-stated"),
    ],
)  # fmt: skip
def test_the_most_specific_rule_decides_but_for_denied_addresses(
    job: JobPolicy, act: tuple[str, int], names: tuple[str, ...], line: int
) -> None:
    decision = ask(job, *act, names=names)
    assert decision.rule is not None
    assert decision.rule.line == line


def test_the_rules_that_lost_tell_why() -> None:
    job = rules(
        allow="""
            b.example:80
            "b.example:*"
            "*.example:80"
            b.example:443
            udp://b.example:80
            {host: 10.1.2.3, ports: [81, 80], lineage: [git, npm]}
            10.0.0.0/8:80
            other.example:80
        """
    )
    decision = ask(job, "10.1.2.3", 80, names=("b.example",), chain=("npm",))
    assert told(decision) == ("allow", 3)
    assert [(other.rule.line, other.why_not) for other in decision.others] == [
        (4, "a stated port wins over any port"),
        (5, "a more specific destination wins"),
        (6, "it is for port 443"),
        (7, "it is for udp"),
        (8, "the chain of processes lacks git"),
        (9, "a name is more specific than an address"),
    ]


@pytest.mark.parametrize(
    ("job", "names", "why_not"),
    [
        (rules(allow="b.example:80", deny="10.0.0.0/8"), ("b.example",), "a deny of addresses is final"),
        (rules(allow="b.example:80", deny="c.example"), ("b.example", "c.example"), "another name of this address is denied"),
        (rules(allow="any://b.example\nb.example:*"), ("b.example",), "it says the same"),
    ],
)  # fmt: skip
def test_the_rule_that_lost_tells_why(job: JobPolicy, names: tuple[str, ...], why_not: str) -> None:
    (other,) = ask(job, "10.1.2.3", 80, names=names).others
    assert other.why_not == why_not


def connect(job: JobPolicy, name: str, *chain: str) -> Decision:
    return decide(job, EgressRequest(SocketName(name).digests.network_address, UNIX), chain=chain)


def test_a_unix_socket_is_open_unless_a_rule_denies_it() -> None:
    closed = rules(deny='any://[::/0]\nany://0.0.0.0/0\n"any://*.example"')
    assert told(connect(closed, "/run/engine.sock")) == ("allow", None)
    job = rules(deny="unix:///run/engine.sock\nunix://@bus")
    assert told(connect(job, "/run/engine.sock")) == ("deny", 3)
    assert told(connect(job, "@bus")) == ("deny", 4)
    assert told(connect(job, "/run/other.sock")) == ("allow", None)
    assert told(ask(rules(allow='"unix://*"'), "2001:db8::1")) == ("deny", None)


def test_of_all_unix_sockets_some_may_be_allowed_or_to_some() -> None:
    job = rules(
        allow="{host: unix:///run/engine.sock, lineage: [docker]}\nunix://@bus",
        deny='"unix://*"\nunix:///run/a',
    )
    assert told(connect(job, "/run/engine.sock", "bash", "docker")) == ("allow", 3)
    assert told(connect(job, "/run/engine.sock", "bash", "curl")) == ("deny", 6)
    assert told(connect(job, "@bus")) == ("allow", 4)
    (other,) = connect(job, "/run/a").others
    assert other.why_not == "a more specific destination wins"
    tied = rules(allow="{host: unix://@a, lineage: [b]}", deny="{host: unix://@a, lineage: [c]}")
    (tie,) = connect(tied, "@a", "b", "c").others
    assert tie.why_not == "deny wins over allow"


def test_audit_turns_a_deny_into_what_would_be_denied() -> None:
    denied = Decision(Effect.DENY, None)
    assert denied.verdict(Mode.AUDIT) == "audit"
    assert denied.verdict(Mode.ENFORCE) == "deny"
    assert Decision(Effect.ALLOW, None).verdict(Mode.AUDIT) == "allow"
