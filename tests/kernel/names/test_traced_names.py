"""What a job looks up names what it connects to, from the command line to the spans and metrics."""

from __future__ import annotations

import shlex
import subprocess
import sys
from typing import TYPE_CHECKING

import pytest

from tests.checkout import ROOT
from tests.kernel.arrivals import Endpoint
from tests.kernel.lab import PORT, V4, V6, Lab, Network
from tests.kernel.name_connections import client, connections, lookups, trace_inside
from tests.kernel.resolver import lab_with_resolver
from tests.kernel.tracing import Span, Trace, environment, read
from tests.launch import SYSTEM_PYTHON

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from pathlib import Path

    from tests.kernel.conftest import Programs

NAME = "www.registry.example"
ADDRESSES = [V4.peer, V4.unreachable, V6.peer]
MANY = [V4.peer, *(f"198.18.0.{number}" for number in range(1, 120))]
RECORDS = [
    f"{NAME} CNAME edge.cdn.example",
    "edge.cdn.example CNAME e7.cdn.example",
    *(f"e7.cdn.example {'AAAA' if ':' in address else 'A'} {address}" for address in ADDRESSES),
    *(f"many.example A {address}" for address in MANY),
]
HOSTS = f"{V4.peer} mirror.example mirror\n{V6.peer} mirror.example\n"


def after_lookup(*commands: Sequence[str]) -> list[str]:
    """A shell that lets getent look the name up, and then runs others, each a process of its own."""
    return ["sh", "-c", "; ".join(["getent ahosts " + NAME, *map(shlex.join, commands)])]


@pytest.fixture
def resolving(network: Network, tmp_path: Path) -> Iterator[Lab]:
    with lab_with_resolver(network.evil, RECORDS, tmp_path) as lab:
        yield lab


@pytest.fixture
def with_hosts(network: Network, tmp_path: Path) -> Iterator[Lab]:
    with lab_with_resolver(network.evil, RECORDS, tmp_path, hosts=HOSTS) as lab:
        yield lab


def told(seen: Trace) -> dict[str, tuple[str, str, int, int, object]]:
    return {
        span.span_id: (span.name, span.parent_id, span.started_ns, span.ended_ns, span.attributes)
        for span in seen.spans
    }


def named(spans: Sequence[Span]) -> list[tuple[object, object, str]]:
    return [(span["network.peer.address"], span["server.address"], span.name) for span in spans]


def all_named(name: str, addresses: Sequence[str]) -> list[tuple[object, object, str]]:
    return [(address, name, f"connect {name}:{PORT}") for address in addresses]


@pytest.mark.parametrize("options", ["", "edns0", "use-vc", "single-request"])
def test_each_address_of_a_name_shows_it_and_the_lookup_shows_what_it_asks(
    resolving: Lab, tmp_path: Path, network: Network, options: str
) -> None:
    with resolving.watch() as watch:
        seen = trace_inside(resolving, client(NAME), tmp_path / "otlp", env={"RES_OPTIONS": options})
    assert (seen.status, seen.stdout) == (0, f"{' '.join(ADDRESSES)}\nNo route to host\n")
    assert watch.arrivals.accepted == {Endpoint(address, PORT): 1 for address in (V4.peer, V6.peer)}
    assert named(connections(seen)) == all_named(NAME, ADDRESSES)
    outcomes = [span["egress.outcome"] for span in connections(seen)]
    assert outcomes == ["established", "unreachable", "established"]
    assert not any("dns.question.name" in span.attributes for span in connections(seen))
    asked = lookups(seen)
    assert {span["dns.question.name"] for span in asked} == {NAME}
    assert {span["network.transport"] for span in asked} == {"tcp" if options == "use-vc" else "udp"}
    assert {span["server.address"] for span in asked} == {network.evil}
    assert f"{NAME}:{PORT}" in seen.stderr
    assert seen.account.endswith("+ dropped 0 + pending 0")


def test_an_answer_too_large_for_udp_gives_its_name_over_tcp(
    resolving: Lab, tmp_path: Path, network: Network
) -> None:
    seen = trace_inside(resolving, client("many.example", most=1), tmp_path / "otlp")
    assert seen.stdout.split() == sorted(MANY)
    assert named(connections(seen)) == all_named("many.example", [V4.peer])
    assert {span["network.transport"] for span in lookups(seen)} == {"udp", "tcp"}
    assert {span["dns.question.name"] for span in lookups(seen)} == {"many.example"}
    assert {span["network.peer.address"] for span in lookups(seen)} == {network.evil}


ASK = """
import socket, struct, sys
resolver, transport, *names = sys.argv[1:]
family = socket.AF_INET6 if ":" in resolver else socket.AF_INET
asker = socket.socket(family, socket.SOCK_STREAM if transport == "tcp" else socket.SOCK_DGRAM)
asker.connect((resolver, 53))
for number, name in enumerate(names):
    labels = b"".join(bytes([len(label)]) + label for label in name.encode().split(b"."))
    question = struct.pack("!6H", number, 0x100, 1, 0, 0, 0) + labels + struct.pack("!x2H", 1, 1)
    asker.sendall((struct.pack("!H", len(question)) if transport == "tcp" else b"") + question)
    asker.recv(4096)
"""


@pytest.mark.parametrize("transport", ["udp", "tcp"])
def test_all_that_is_asked_on_a_connected_socket_is_told(
    resolving: Lab, tmp_path: Path, network: Network, transport: str
) -> None:
    names = [f"{number}.evil.example" for number in range(40)]
    command = [SYSTEM_PYTHON, "-c", ASK, network.evil, transport, NAME, *names, NAME]
    seen = trace_inside(resolving, command, tmp_path / "otlp")
    (lookup,) = lookups(seen)
    assert (seen.status, lookup["network.transport"]) == (0, transport)
    assert (lookup["dns.question.name"], lookup["egress.dns.questions"]) == (NAME, 42)
    assert lookup["egress.dns.names"] == [NAME, *names[:31]]


def test_what_one_program_looks_up_names_what_another_connects_to(
    resolving: Lab, programs: Programs, tmp_path: Path
) -> None:
    acts = [programs.act("connect", address, PORT) for address in (V4.peer, V6.peer, V4.evil)]
    seen = trace_inside(resolving, after_lookup(*acts), tmp_path / "otlp")
    assert named(connections(seen)) == [
        *all_named(NAME, [V4.peer, V6.peer]),
        *all_named(V4.evil, [V4.evil]),
    ]
    assert {tuple(span["egress.lineage"]) for span in lookups(seen)} == {("dash", "getent")}  # type: ignore[arg-type]
    assert [span["egress.lineage"] for span in connections(seen)] == [["dash", "act"]] * 3


def test_what_is_only_counted_has_the_name_too(resolving: Lab, programs: Programs, tmp_path: Path) -> None:
    n = 20_000
    flood = programs.flood("sends", n, V4.peer, PORT)
    seen = trace_inside(resolving, after_lookup(flood), tmp_path / "otlp")
    sent = [span for span in seen.egress if span["process.executable.name"] == "flood"]
    assert {(span["server.address"], span["network.peer.address"]) for span in sent} == {(NAME, V4.peer)}
    assert sum(int(str(span["egress.attempts"])) for span in sent) == n
    assert max(int(str(span["egress.attempts"])) for span in sent) > 1
    by_name = {
        point.attributes["server.address"]: point.value
        for point in seen.metrics["cicd.egress.connections"]
        if point.attributes["server.port"] == PORT
    }
    assert by_name == {NAME: n}


def test_a_name_of_the_hosts_file_needs_no_lookup(with_hosts: Lab, tmp_path: Path) -> None:
    seen = trace_inside(with_hosts, client("mirror.example"), tmp_path / "otlp")
    assert named(connections(seen)) == all_named("mirror.example", [V4.peer, V6.peer])
    assert lookups(seen) == []


def test_what_was_looked_up_goes_before_the_hosts_file(with_hosts: Lab, tmp_path: Path) -> None:
    seen = trace_inside(with_hosts, client(NAME, most=1), tmp_path / "otlp")
    assert named(connections(seen)) == all_named(NAME, [V4.peer])


def test_a_replay_gives_the_same_names(with_hosts: Lab, programs: Programs, tmp_path: Path) -> None:
    acts = [programs.act("connect", V6.peer, PORT), client("mirror.example"), client(NAME, most=1)]
    recording = tmp_path / "recording"
    seen = trace_inside(
        with_hosts,
        ["sh", "-c", "; ".join(map(shlex.join, acts))],
        tmp_path / "otlp",
        "--record",
        str(recording),
    )
    done = subprocess.run(
        [sys.executable, "-m", "exporter", "replay", "--otlp-dir", str(tmp_path / "again"), str(recording)],
        capture_output=True,
        text=True,
        env=environment(),
        cwd=ROOT,
        check=True,
    )
    again = read(done, tmp_path / "again")
    assert told(again) == told(seen)
    assert {span["server.address"] for span in connections(again)} == {"mirror.example", NAME}
    assert {span["dns.question.name"] for span in lookups(again)} == {NAME}
