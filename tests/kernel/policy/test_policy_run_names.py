"""`ci-egress run` under a policy of names: what a real resolver's answers open, and how it is told."""

from __future__ import annotations

import json
import shlex
import socket
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from tests.kernel.forged_answers import FORGE_AND_CONNECT, leading_to, query, silent
from tests.kernel.lab import PORT, V4, V6, Lab, Network
from tests.kernel.name_connections import client, connections, looked_up_and_connected, lookups, trace_inside
from tests.kernel.policy_runs import policy, replay
from tests.kernel.resolver import answering_for, lab_with_resolver, resolving_with
from tests.kernel.tracing import trace
from tests.launch import SYSTEM_PYTHON, ci_egress
from tests.unit.dns_samples import query as question

if TYPE_CHECKING:
    from collections.abc import Iterator

DOMAIN = "registry.example"
NAME, WILDCARD = f"www.{DOMAIN}", f"*.{DOMAIN}"
RECORDS = [
    *(f"{name}.{DOMAIN} CNAME {name}.cdn.example" for name in ("v4", "v6")),
    *(f"v4.cdn.example A {V4.peer}", f"v6.cdn.example AAAA {V6.peer}"),
    f"{NAME} CNAME edge.cdn.example",
    *(f"edge.cdn.example {'AAAA' if ':' in peer else 'A'} {peer}" for peer in (V4.peer, V6.peer)),
    *(f"evil.example {'AAAA' if ':' in evil else 'A'} {evil}" for evil in (V4.evil, V6.evil)),
]
PYTHON = Path(SYSTEM_PYTHON).resolve().name


@pytest.fixture
def resolving(network: Network, tmp_path: Path) -> Iterator[Lab]:
    with lab_with_resolver(network.evil, RECORDS, tmp_path, hosts=f"{V4.peer} mirror.example db\n") as lab:
        yield lab


ASKS = """
import os, socket, sys
asking = socket.create_connection((sys.argv[1], 53))
asking.send(bytes.fromhex(sys.argv[2]))
os._exit(0)
"""
AGAIN_S = 3
"""TCP sends again what it isn't rid of, some times within that."""


def test_a_question_that_was_dropped_is_not_sent_when_the_job_is_over(
    lab: Lab, network: Network, tmp_path: Path
) -> None:
    """TCP has it still, and nothing drops it any more."""
    resolver = f"[{network.evil}]" if network is V6 else network.evil
    file = policy(tmp_path, f'mode: enforce\ndns: deny\nallow: ["{resolver}:53", "{NAME}:{PORT}"]\n')
    asked = question("evil.example")
    family = socket.AF_INET6 if network is V6 else socket.AF_INET
    server = lab.peer.call(socket.create_server, (network.evil, 53), family=family).result()
    with server:
        framed = (len(asked).to_bytes(2) + asked).hex()
        command = [SYSTEM_PYTHON, "-c", ASKS, network.evil, framed]
        seen = trace(lab, command, tmp_path / "otlp", "--policy", file)
        assert [span["dns.question.name"] for span in lookups(seen)] == ["evil.example"] * 2
        connection, _ = server.accept()
        with connection:
            connection.settimeout(AGAIN_S)
            assert heard(connection) == b""


def heard(connection: socket.socket) -> bytes:
    """What comes; nothing, too, when the connection was aborted."""
    try:
        return connection.recv(4096)
    except (TimeoutError, ConnectionResetError):
        return b""


@pytest.mark.parametrize("network", [V4, V6], ids=["ipv4", "ipv6"])
def test_a_name_that_a_rule_names_is_reached_and_another_is_denied(
    resolving: Lab, tmp_path: Path, network: Network
) -> None:
    """Over UDP one address is looked up, over TCP another: neither answer grants what the other has to."""
    by_udp, by_tcp = ("v4", "v6") if network is V4 else ("v6", "v4")
    asked = {f"{by_udp}.{DOMAIN}": "udp", f"{by_tcp}.{DOMAIN}": "tcp", "evil.example": "tcp"}
    clients = [
        f"RES_OPTIONS={'use-vc' if transport == 'tcp' else ''} {shlex.join(client(name))}"
        for name, transport in asked.items()
    ]
    file = policy(tmp_path, f'mode: enforce\nresolvers: system\nallow: ["{WILDCARD}:{PORT}"]\n')
    with resolving.watch() as watch:
        seen = trace_inside(
            resolving,
            ["sh", "-c", "; ".join([*clients, "true"])],
            tmp_path / "otlp",
            *("--policy", file, "--record", str(tmp_path / "recording")),
        )
    peers = {"v4": V4.peer, "v6": V6.peer}
    assert seen.stdout.splitlines() == [
        *(peers[by_udp], peers[by_tcp], f"{V4.evil} {V6.evil}"),
        *["Operation not permitted"] * 2,
    ]
    accepted = {(endpoint.address, number) for endpoint, number in watch.arrivals.accepted.items()}
    assert accepted == {(V4.peer, 1), (V6.peer, 1)}
    assert {span["dns.question.name"]: span["network.transport"] for span in lookups(seen)} == asked
    told = {
        (span["server.address"], span["egress.verdict"], span["egress.rule"]) for span in connections(seen)
    }
    assert told == {
        *((f"{each}.{DOMAIN}", "allow", f"{WILDCARD}:{PORT}") for each in peers),
        ("evil.example", "deny", "default"),
    }
    assert f"ci-egress: blocked: {PYTHON} (dash → {PYTHON}) → evil.example:{PORT}, rule default" in (
        seen.stderr.splitlines()
    )
    replayed = replay(tmp_path / "recording", tmp_path / "replay")
    assert [span.attributes for span in replayed.egress] == [span.attributes for span in seen.egress]


@pytest.mark.parametrize(
    "network", [pytest.param(V4, marks=pytest.mark.everywhere(feature="names")), V6], ids=["ipv4", "ipv6"]
)
def test_what_no_rule_allows_is_not_looked_up_where_lookups_are_refused(
    resolving: Lab, tmp_path: Path, network: Network
) -> None:
    allowed, by_tcp, searched = f"v4.{DOMAIN}", f"v6.{DOMAIN}", f"v6.{DOMAIN}.corp.example"
    refusing = "mode: enforce\nresolvers: system\ndns: deny\nsearch_domains: [corp.example]\n"
    text = f'{refusing}allow: ["{WILDCARD}:{PORT}"]\n'
    reached = f"{shlex.join(client(allowed))}; RES_OPTIONS=use-vc {shlex.join(client(by_tcp))}"
    others = "; ".join(f"getent ahosts {name}" for name in ("evil.example", searched))
    seen = trace_inside(
        resolving,
        ["sh", "-c", f"{reached}; {others}; true"],
        tmp_path / "otlp",
        *("--policy", policy(tmp_path, text), "--record", str(tmp_path / "recording")),
    )
    assert (seen.status, seen.stdout) == (0, f"{V4.peer}\n{V6.peer}\n")
    refused = {
        (span["dns.question.name"], span["egress.rule"], span["server.address"], span["error.type"])
        for span in lookups(seen)
        if span["egress.verdict"] == "deny"
    }
    assert refused == {("evil.example", "dns: deny", network.evil, "EPERM")}
    resolver = f"[{network.evil}]" if network is V6 else network.evil
    told = f"ci-egress: blocked: getent (dash → getent) → {resolver}:53 asks for evil.example, rule dns: deny"
    assert seen.stderr.splitlines().count(told) == 1
    asked = {
        (span["dns.question.name"], span["network.transport"])
        for span in lookups(seen)
        if span["egress.verdict"] == "allow"
    }
    assert asked >= {(allowed, "udp"), (by_tcp, "tcp"), (searched, "udp")}
    replayed = replay(tmp_path / "recording", tmp_path / "replay")
    assert [span.attributes for span in replayed.egress] == [span.attributes for span in seen.egress]


@pytest.mark.parametrize("lookups_are", ["allow", "deny"])
@pytest.mark.parametrize("options", ["", "use-vc"])
def test_what_a_resolver_behind_nat_answers_is_reached(
    resolving: Lab, tmp_path: Path, network: Network, options: str, lookups_are: str
) -> None:
    """As in a cluster, whose resolver has the address of a service."""
    service = network.peer
    answering_for(resolving, service, network.evil)
    resolving_with(resolving, service, tmp_path)
    text = f'mode: enforce\nresolvers: system\ndns: {lookups_are}\nallow: ["{NAME}:{PORT}"]\n'
    script = f"RES_OPTIONS={options} {shlex.join(client(NAME))}; getent ahosts evil.example; true"
    command = ["sh", "-c", script]
    seen = trace_inside(resolving, command, tmp_path / "otlp", "--policy", policy(tmp_path, text))
    assert seen.stdout.splitlines()[0] == f"{V4.peer} {V6.peer}"
    assert {(span["server.address"], span["egress.outcome"]) for span in connections(seen)} == {
        (NAME, "established")
    }
    assert {span["network.peer.address"] for span in lookups(seen)} == {service}
    asked = {(span["dns.question.name"], span["egress.verdict"]) for span in lookups(seen)}
    assert asked == {(NAME, "allow"), ("evil.example", "allow"), ("evil.example", lookups_are)}


@pytest.mark.parametrize("mode", ["audit", "enforce"])
def test_an_unlisted_name_at_an_allowed_name_s_address_goes_on_and_is_told(tmp_path: Path, mode: str) -> None:
    records = [f"{name} A {V4.peer}" for name in ("deb.example", "registry.example")]
    allowed = json.dumps([f"deb.example:{PORT}", f"udp://{V4.evil}:53"])
    file = policy(tmp_path, f"mode: {mode}\nallow: {allowed}\n")
    with lab_with_resolver(V4.evil, records, tmp_path) as lab:
        seen = trace_inside(
            lab,
            looked_up_and_connected("deb.example", "registry.example"),
            tmp_path / "otlp",
            *("--policy", file, "--fail-on", "audit,deny", "--summary", str(tmp_path / "summary.md")),
        )
    assert seen.status == 0
    ruled = [
        (span["server.address"], span["egress.verdict"], span["egress.rule"]) for span in connections(seen)
    ]
    assert ruled == [(name, "allow", f"deb.example:{PORT}") for name in ("deb.example", "registry.example")]
    told = f"registry.example:{PORT} was allowed by the rule for another name of its address"
    assert f"1 attempt to {told}: deb.example:{PORT}" in seen.stderr.splitlines()
    assert "1 destination is allowed by another name's rule only" in (tmp_path / "summary.md").read_text()
    preview = tmp_path / "preview.md"
    ci_egress("report", str(tmp_path / "otlp"), "--policy", file, "--summary", str(preview), cwd=tmp_path)
    assert "would be denied" not in preview.read_text()
    assert "1 destination is allowed by another name's rule only" in preview.read_text()


def test_what_etc_hosts_names_needs_no_lookup(resolving: Lab, tmp_path: Path) -> None:
    file = policy(
        tmp_path, f'mode: enforce\nresolvers: system\nallow: ["db.example:1", "mirror.example:{PORT}"]\n'
    )
    seen = trace_inside(resolving, client("mirror.example"), tmp_path / "otlp", "--policy", file)
    assert (seen.status, seen.stdout) == (0, f"{V4.peer}\n")
    (span,) = connections(seen)
    assert (span["egress.verdict"], span["egress.rule"]) == ("allow", f"mirror.example:{PORT}")


def test_audit_tells_of_names_what_enforcing_would_do(resolving: Lab, tmp_path: Path) -> None:
    file = policy(tmp_path, f'resolvers: system\nallow: ["{NAME}:{PORT}"]\n')
    seen = trace_inside(
        resolving, looked_up_and_connected(NAME, "evil.example"), tmp_path / "otlp", "--policy", file
    )
    told = {(span["server.address"], span["egress.verdict"]) for span in connections(seen)}
    assert told == {(NAME, "allow"), ("evil.example", "audit")}


def test_a_lookup_elsewhere_than_at_the_allowed_resolvers_is_denied(
    resolving: Lab, tmp_path: Path, network: Network
) -> None:
    file = policy(tmp_path, f'mode: enforce\nallow: ["{NAME}:{PORT}"]\n')
    with resolving.watch() as watch:
        seen = trace_inside(resolving, client(NAME), tmp_path / "otlp", "--policy", file)
    assert seen.status != 0
    assert watch.arrivals.packets_to(network.evil) == 0
    assert {
        (span.name.partition(" ")[0], span["server.port"], span["egress.verdict"], span["egress.rule"])
        for span in seen.egress
    } == {("connect", 53, "allow", "nothing sent"), ("send", 53, "deny", "default")}


def test_an_answer_that_a_root_job_forges_grants_nothing(lab: Lab, tmp_path: Path) -> None:
    for interface in ("all", "lo"):
        lab.build.configure(
            {f"net/ipv4/conf/{interface}/rp_filter": 0, f"net/ipv4/conf/{interface}/accept_local": 1}
        )
    question = query("trusted.example", V4)
    command = [SYSTEM_PYTHON, "-c", FORGE_AND_CONNECT, V4.peer, V4.build, V4.peer, str(PORT)]
    allowed = json.dumps([f"udp://{V4.peer}:53", f"trusted.example:{PORT}", f"any://{V4.build}"])
    file = policy(tmp_path, f"allow: {allowed}\n")
    with silent(lab, V4):
        forged = [question.hex(), leading_to(V4.peer, question).hex()]
        seen = trace(lab, [*command, *forged], tmp_path / "otlp", "--policy", file)
    assert (seen.status, seen.stdout) == (0, "True\n")
    assert [span["egress.verdict"] for span in connections(seen)] == ["audit"]
