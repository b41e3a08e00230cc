"""Containers, servers and ways out of a job: each is held to the job's policy, in both modes and versions."""

from __future__ import annotations

import shlex
import socket
from typing import TYPE_CHECKING

import pytest

from tests.kernel.arrivals import UDP, Endpoint, Packet
from tests.kernel.containers import container
from tests.kernel.lab import NETWORKS, PORT, V4, V6, Lab, Network
from tests.kernel.name_connections import client, connections, lookups
from tests.kernel.policy_runs import MODES, Ruled, bracketed, policy, script, under
from tests.kernel.resolver import Resolver
from tests.kernel.running_exporter import running
from tests.kernel.servers import family_of
from tests.kernel.tracing import announced, logs
from tests.launch import PYTHON_NAME

if TYPE_CHECKING:
    from pathlib import Path

    from tests.kernel.conftest import Programs

pytestmark = pytest.mark.kernel

NAME, EVIL = "www.registry.example", "evil.example"
RECORDS = [
    f"{name} {kind} {address}"
    for kind, network in (("A", V4), ("AAAA", V6))
    for name, address in ((NAME, network.peer), (EVIL, network.evil))
]
SERVICE, ASKER = 7300, 7400
"""Ports: that of what the job serves, and one that it is asked from."""
SERVE = """
import socket, sys
port, times = int(sys.argv[1]), int(sys.argv[2])
tcp = socket.create_server(("", port), family=socket.AF_INET6, dualstack_ipv6=True)
with tcp, socket.socket(socket.AF_INET6, socket.SOCK_DGRAM) as udp:
    udp.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 0)
    udp.bind(("", port))
    print("serving", flush=True)
    for _ in range(times):
        asked, asker = udp.recvfrom(99)
        udp.sendto(asked, asker)
        connection, _ = tcp.accept()
        with connection:
            connection.sendall(connection.recv(99))
"""
"""Echoes a datagram and a connection, so many times."""
ASK = """
import socket, sys
for host in sys.argv[2:]:
    to = host, int(sys.argv[1])
    with socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET, socket.SOCK_DGRAM) as asking:
        asking.settimeout(30)
        asking.sendto(b"?", to)
        assert asking.recv(9) == b"?"
    with socket.create_connection(to, 30) as asking:
        asking.sendall(b"?")
        assert asking.recv(9) == b"?"
print("answered", flush=True)
"""
PYTHON = "/usr/bin/python3"


@MODES
def test_in_a_container_names_are_looked_up_and_the_jobs_policy_holds(
    lab: Lab, tmp_path: Path, mode: str
) -> None:
    both = ["sh", "-c", f"{shlex.join(client(NAME))}; {shlex.join(client(EVIL))}"]
    allow = [f"udp://{V4.peer}:53", f"{NAME}:{PORT}"]
    with (
        Resolver(lab, V4.peer, RECORDS),
        container(both, tmp_path / "bundle", network=lab.build.path) as made,
        lab.watch() as watch,
    ):
        etc = made.directory / "rootfs" / "etc"
        etc.mkdir()
        (etc / "resolv.conf").write_text(f"nameserver {V4.peer}\noptions timeout:30\n")
        (etc / "nsswitch.conf").write_text("hosts: dns\n")
        ruled = under(lab, mode, allow, made.command, tmp_path)
    refused = ["Operation not permitted"] * 2 if ruled.is_enforced else []
    assert ruled.seen.stdout.splitlines() == [f"{V4.peer} {V6.peer}", f"{V4.evil} {V6.evil}", *refused]
    assert (sum(watch.arrivals.packets_to(one.evil) for one in (V4, V6)) == 0) == ruled.is_enforced
    spans = connections(ruled.seen)
    assert {span["container.id"] for span in ruled.seen.egress} == {made.id}
    assert [span["server.address"] for span in spans] == [NAME, NAME, EVIL, EVIL]
    assert [span["network.peer.address"] for span in spans] == [V4.peer, V6.peer, V4.evil, V6.evil]
    ruled.assert_allowed(spans[:2], f"{NAME}:{PORT}")
    ruled.assert_allowed(lookups(ruled.seen), f"udp://{V4.peer}:53")
    ruled.assert_against(spans[2:])
    for span in spans:
        assert span["egress.lineage"][-2:] == ["dash", PYTHON_NAME]  # type: ignore[index]
        assert span["egress.attribution"] == "lineage"
    told = [ruled.seen.by_id[record["spanId"]] for record in ruled.records]
    assert told[-2:] == spans[2:]
    assert {span["server.address"] for span in told} == {EVIL}, (
        "what the policy names isn't said to be denied"
    )


def exchange(source: str, port: int, to: tuple[str, int]) -> None:
    """Ask a server by UDP and by TCP; it answers."""
    for kind in (socket.SOCK_DGRAM, socket.SOCK_STREAM):
        with socket.socket(family_of(source), kind) as asking:
            asking.settimeout(30)
            asking.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            asking.bind((source, port))
            asking.connect(to)
            asking.sendall(b"?")
            assert asking.recv(9) == b"?"


@MODES
@NETWORKS
def test_servers_service_containers_and_loopback_go_on_working(
    lab: Lab, programs: Programs, tmp_path: Path, network: Network, mode: str
) -> None:
    """Clients come from where the policy allows nothing; the container is at `peer`."""
    serve = [PYTHON, "-c", SERVE, str(SERVICE)]
    loopback = "::1" if network is V6 else "127.0.0.1"
    acts = [
        [PYTHON, "-c", ASK, str(SERVICE), network.peer, loopback],
        programs.act("udp-sendto", network.evil, ASKER),
        programs.act("udp-sendto", network.evil, ASKER + 1),
    ]
    service = f"{bracketed(network.peer)}:{SERVICE}"
    file = policy(tmp_path, f"mode: {mode}\nallow: ['{service}', 'udp://{service}']\n")
    with container([*serve, "1"], tmp_path / "bundle", network=lab.peer.path) as made:
        begin = f"{shlex.join(made.command)} & {shlex.join([*serve, '2'])} & read -r _"
        job = lab.command(["sh", "-c", f"{begin}; sh {script(tmp_path, *acts)[1]}; wait"])
        with running(job, tmp_path / "otlp", "--policy", file) as run:
            assert [run.next_line(), run.next_line()] == ["serving"] * 2
            lab.peer.call(exchange, network.evil, ASKER, (network.build, SERVICE)).result()
            run.tell("go on")
            ruled = Ruled(run.end(), mode, file, logs(tmp_path / "otlp"))
    assert ruled.seen.stdout.split() == ["answered", *[ruled.errno()] * 2]
    assert ruled.seen.status == 0
    by_rule = {
        rule: [span for span in ruled.seen.egress if span["egress.rule"] == rule]
        for rule in ("answer", service, f"udp://{service}", "loopback", "default")
    }
    assert {rule: len(spans) for rule, spans in by_rule.items()} == {
        "answer": 2,
        service: 1,
        f"udp://{service}": 1,
        "loopback": 3,
        "default": 2,
    }
    for rule, spans in by_rule.items():
        if rule != "default":
            ruled.assert_allowed(spans, rule)
    ruled.assert_against(by_rule["default"])


NOBODY = ["setpriv", "--reuid=65534", "--regid=65534", "--clear-groups"]
FORWARDED = """
exec unshare --net sh -c '
nsenter --net=/proc/$PPID/ns/net ip -batch - <<END
link add out0 address {outer} type veth peer name in0 address {inner} netns $$
addr add {network}1/{bits} dev out0 {nodad}
link set out0 up
neigh add {network}2 lladdr {inner} dev out0 nud permanent
END
nsenter --net=/proc/$PPID/ns/net sysctl -qw {forward}=1
ip -batch - <<END
addr add {network}2/{bits} dev in0 {nodad}
link set in0 up
neigh add {network}1 lladdr {outer} dev in0 nud permanent
route add default via {network}1
END
exec "$@"' sh "$@"
"""
"""Runs a command in a network of its own, whose packets the job's network forwards, as for containers."""


def forwarded(network: Network, command: list[str]) -> list[str]:
    v4 = {"network": "10.99.0.", "bits": 24, "nodad": "", "forward": "net.ipv4.ip_forward"}
    v6 = {"network": "2001:db8:99::", "bits": 64, "nodad": "nodad", "forward": "net.ipv6.conf.all.forwarding"}
    macs = {"outer": "02:00:00:00:99:01", "inner": "02:00:00:00:99:02"}
    text = FORWARDED.format(**(v6 if network is V6 else v4), **macs)
    return ["sh", "-c", text, "sh", *command]


@MODES
@NETWORKS
def test_no_way_out_of_a_job_leads_out_of_its_policy(
    programs: Programs, tmp_path: Path, network: Network, cgroup: Path, mode: str
) -> None:
    connect = announced(programs.act("connect", network.evil, PORT))
    send = announced(programs.act("udp-sendto", network.evil, PORT))
    with Lab() as lab:
        ways = {
            "cgroup": ["sh", "-c", f'echo 0 > {cgroup}/cgroup.procs; exec "$@"', "sh", *connect],
            "session": ["setsid", *connect],
            "mounts": ["unshare", "--mount", *connect],
            "user": announced([*NOBODY, *programs.act("connect", network.evil, PORT)]),
            "another network": ["nsenter", f"--net={lab.peer.path}", *connect],
            "own network": ["unshare", "-Urn", *connect],
            "own pids": ["unshare", "-Urpf", *connect],
            "forwarded": forwarded(network, send),
        }
        with lab.watch() as watch:
            ruled = under(lab, mode, ["192.0.2.77"], script(tmp_path, *ways.values()), tmp_path)
    results = ruled.seen.stdout.splitlines()[1::2]
    nowhere = "ENETUNREACH" if network is V4 else "EADDRNOTAVAIL"
    in_audit = {way: nowhere if way == "own network" else "ok" for way in ways}
    assert dict(zip(ways, results, strict=True)) == {way: ruled.errno(in_audit[way]) for way in ways}
    if ruled.is_enforced:
        assert watch.arrivals.packets == {}
    else:
        assert watch.arrivals.packets[Packet(UDP, Endpoint(network.evil, PORT))] == 1
    chains = [["dash", *(["unshare"] if way == "own pids" else []), "act"] for way in ways]
    assert [span["egress.lineage"] for span in ruled.seen.egress] == chains
    ruled.assert_against(ruled.seen.egress)
    ruled.assert_told(
        [
            (span, f"act ({' → '.join(chain)}) → {bracketed(network.evil)}:{PORT}, rule default")
            for span, chain in zip(ruled.seen.egress, chains, strict=True)
        ]
    )
    ruled.assert_account(len(ways))
