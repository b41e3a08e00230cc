"""Policies and acts for properties: small worlds, in which rules meet often."""

from __future__ import annotations

from ipaddress import ip_address, ip_network

from hypothesis import strategies as st

from exporter.common.net.addresses import UNIX
from exporter.policy.decide import EgressRequest
from exporter.policy.model import (
    Address,
    Effect,
    Host,
    JobPolicy,
    Mode,
    Name,
    Protocol,
    Rule,
    SocketName,
    resolvers_rule,
)

ADDRESSES: tuple[Address, ...] = tuple(
    map(ip_address, ("192.0.2.1", "192.0.2.2", "2001:db8::1", "127.0.0.1", "::ffff:192.0.2.1", "64:ff9b::1"))
)
NETWORKS = (
    *("0.0.0.0/0", "192.0.0.0/8", "192.0.2.0/24", "192.0.2.1/32", "192.0.2.2/32", "127.0.0.0/8"),
    *("::/0", "::/80", "2001:db8::/32", "2001:db8::1/128"),
)
SOCKETS = ("/run/engine.sock", "@bus", "*")
NAMES = ("a.example", "b.a.example", "c.b.a.example", "aa.example")
EXECUTABLES = ("git", "/usr/bin/git", "npm")
CHAINS = ("git", "/usr/bin/git", "npm", "bash", "/opt/git", "/bin/npm")

_MEANT = st.sampled_from((Protocol.TCP, Protocol.TCP, Protocol.UDP, Protocol.ICMP, Protocol.ANY))
_ports = st.sampled_from((None, (53,), (443,), (53, 443)))
_hosts: st.SearchStrategy[Host] = st.one_of(
    st.sampled_from(NETWORKS).map(ip_network),
    st.builds(Name, st.sampled_from(NAMES), st.booleans()),
    st.just(Name("example", is_wildcard=True)),
    st.sampled_from(SOCKETS).map(SocketName),
)


@st.composite
def policies(draw: st.DrawFn) -> JobPolicy:
    """Of rules that may repeat and contradict one another, as those of several sections may."""
    hosts = st.sampled_from(draw(st.lists(_hosts, min_size=1, max_size=4)))
    rules = [_rule(draw, draw(hosts), line) for line in range(1, draw(st.integers(1, 12)))]
    resolvers = resolvers_rule("drawn", 99, 1) if draw(st.booleans()) else None
    return JobPolicy(Mode.AUDIT, tuple(rules), resolvers)


def _rule(draw: st.DrawFn, host: Host, line: int) -> Rule:
    protocol = Protocol.UNIX if isinstance(host, SocketName) else draw(_MEANT)
    ports = draw(_ports) if protocol in (Protocol.TCP, Protocol.UDP) else None
    lineage = draw(st.one_of(st.just([]), st.lists(st.sampled_from(EXECUTABLES), max_size=2, unique=True)))
    effect = draw(st.sampled_from(Effect))
    return Rule(f"rule {line}", effect, host, protocol, ports, tuple(lineage), "drawn", line, 1)


@st.composite
def acts(draw: st.DrawFn) -> EgressRequest:
    """Of any protocol: ICMP on both, MPTCP, UDP-Lite and SCTP, too; and connects to Unix sockets."""
    protocol = draw(st.sampled_from((6, 6, 6, 17, 1, 58, 132, 136, 262, UNIX)))
    if protocol == UNIX:
        name = SocketName(draw(st.sampled_from(("/run/engine.sock", "@bus", "/run/other.sock"))))
        return EgressRequest(name.digests.network_address, protocol)
    port = 0 if protocol in (1, 58) else draw(st.sampled_from((443, 53, 443, 0, 8080)))
    return EgressRequest(draw(st.sampled_from(ADDRESSES)), protocol, port)


answers = st.lists(st.tuples(st.sampled_from(NAMES), st.sampled_from(ADDRESSES)), max_size=6)
"""Names asked for, and an address in the answer."""
chains = st.lists(st.sampled_from(CHAINS), max_size=3)
