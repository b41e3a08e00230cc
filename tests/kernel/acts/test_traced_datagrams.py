"""What datagrams carry is counted to the byte: by act, by peer, and in the metric."""

from __future__ import annotations

import json
import shlex
import subprocess
import sys
from collections import Counter
from contextlib import contextmanager
from typing import TYPE_CHECKING

import pytest

from tests.kernel.flood_accounts import assert_adds_up
from tests.kernel.lab import PORT, V4, V6, Lab, Network
from tests.kernel.policy_runs import policy
from tests.kernel.tracing import CROWD_LIMIT_S, Span, Trace, crowd, trace

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from tests.kernel.conftest import Programs

FIRST_PORT = 7100
"""Of the servers that answer, a port for each way to send."""

ANSWERS = """
import select, socket, sys
ports, addresses = range(int(sys.argv[1]), int(sys.argv[2])), sys.argv[3:]
sockets = []
for address in addresses:
    for port in ports:
        one = socket.socket(socket.AF_INET6 if ":" in address else socket.AF_INET, socket.SOCK_DGRAM)
        one.bind((address, port))
        sockets.append(one)
print("ready", flush=True)
while True:
    for one in select.select(sockets, [], [])[0]:
        data, sender = one.recvfrom(65535)
        one.sendto(data[: len(data) // 2], sender)
"""
"""Answers each datagram with its first half."""

SENDS = """
import json, os, socket, sys, threading
first, peer, evil = int(sys.argv[1]), sys.argv[2], sys.argv[3]
is_ipv4 = ":" not in peer
family = socket.AF_INET if is_ipv4 else socket.AF_INET6
SIZES = [0, 1, 100, 1472, 3000, 20000]
UDP, SEGMENT = 17, 103
count, moved = [], {}

def done(address, sent, received):
    moved[address][0] += sent
    moved[address][1] += received

def made(of=family):
    one = socket.socket(of, socket.SOCK_DGRAM)
    one.settimeout(20)
    return one

def shown(address, is_mapped):
    return f"::ffff:{address}" if is_mapped else address

def connected(port, one=None, is_mapped=False, sizes=SIZES):
    one = one or made(socket.AF_INET6 if is_mapped else family)
    one.connect((shown(peer, is_mapped), port))
    for size in sizes:
        one.send(b"x" * size)
        done(peer, size, len(one.recv(65535)))

def unconnected(port, one=None, is_mapped=False, sizes=SIZES, peers=(peer,)):
    one = one or made(socket.AF_INET6 if is_mapped else family)
    for number, size in enumerate(sizes):
        to = peers[number % len(peers)]
        one.sendto(b"x" * size, (shown(to, is_mapped), port))
        done(to, size, len(one.recv(65535)))

def segmented(port):
    one, other = made(), made()
    for each in (one, other):
        each.setsockopt(UDP, SEGMENT, 1000)
    one.connect((peer, port))
    one.send(b"x" * 10500)
    other.sendto(b"x" * 10500, (peer, port))
    for each in (one, other):
        done(peer, 10500, sum(len(each.recv(65535)) for _ in range(11)))

def corked(port):
    one = made()
    one.sendto(b"x" * 700, socket.MSG_MORE, (peer, port))
    one.sendto(b"x" * 300, (peer, port))
    done(peer, 1000, len(one.recv(65535)))

def inherited(port):
    one = made()
    one.connect((peer, port))
    child = os.fork()
    if child == 0:
        for _ in range(10):
            one.send(b"x" * 50)
            one.recv(65535)
        os._exit(0)
    os.waitpid(child, 0)
    done(peer, 500, 250)

def reconnected(port):
    one = made()
    for to, size in ((peer, 100), (evil, 200), (peer, 400)):
        one.connect((to, port))
        one.send(b"x" * size)
        done(to, size, len(one.recv(65535)))

def with_options(port):
    for sends in (connected, unconnected):
        one = made()
        if is_ipv4:
            one.setsockopt(socket.IPPROTO_IP, socket.IP_OPTIONS, bytes([1, 1, 1, 0]))
        else:
            one.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_DSTOPTS, bytes([0, 0, 1, 4, 0, 0, 0, 0]))
        sends(port, one)

def left_open(port):
    child = os.fork()
    if child == 0:
        connected(port, sizes=[10, 20])
        os.kill(os.getpid(), 9)
    os.waitpid(child, 0)
    done(peer, 30, 15)

def one_socket_of_threads(port):
    one = made()
    def sends(number):
        for _ in range(200):
            one.sendto(b"x" * number, (peer, port))
    threads = [threading.Thread(target=sends, args=(number,)) for number in range(1, 5)]
    for each in threads:
        each.start()
    for each in threads:
        each.join()
    done(peer, 200 * 10, 0)
    one.close()  # what was answered meanwhile isn't counted here: nobody read it

ways = {
    "connected": connected,
    "unconnected": unconnected,
    "several peers": lambda port: unconnected(port, sizes=SIZES * 2, peers=(peer, evil)),
    "counted": lambda port: unconnected(port, sizes=[100, 11] * 250),
    "counted of several": lambda port: unconnected(port, sizes=[100, 200, 11] * 100, peers=(peer, evil)),
    "segmented": segmented,
    "corked": corked,
    "inherited": inherited,
    "reconnected": reconnected,
    "with options": with_options,
    "left open": left_open,
    "many connects": lambda port: [connected(port, sizes=[7, 30]) for _ in range(60)],
    "threads": one_socket_of_threads,
}
if is_ipv4:
    ways["mapped, connected"] = lambda port: connected(port, is_mapped=True)
    ways["mapped, unconnected"] = lambda port: unconnected(port, is_mapped=True)
told = {}
for number, (name, way) in enumerate(ways.items()):
    moved = {peer: [0, 0], evil: [0, 0]}
    way(first + number)
    told[name] = moved
print(json.dumps(told))
"""
"""Sends in each way, and says how much went to and came from whom."""

WAYS_MAX = 16


@contextmanager
def answering(lab: Lab, network: Network) -> Iterator[None]:
    """Servers that answer, at both addresses of the lab's far side."""
    ports = [str(FIRST_PORT), str(FIRST_PORT + WAYS_MAX)]
    command = lab.peer.command([sys.executable, "-c", ANSWERS, *ports, network.peer, network.evil])
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as servers:
        try:
            assert servers.stdout is not None
            assert servers.stdout.readline() == "ready\n"
            yield
        finally:
            servers.kill()


def carried(spans: list[Span]) -> tuple[int, int]:
    """Bytes sent and received, by all of these."""
    sent, received = (
        sum(int(str(span.attributes.get(f"egress.bytes_{way}", 0))) for span in spans)
        for way in ("sent", "received")
    )
    return sent, received


def io(seen: Trace) -> dict[tuple[object, object], int]:
    """What the metric has, by host and direction, where that is any."""
    points = seen.metrics.get("cicd.egress.io", [])
    return {
        (point.attributes["server.address"], point.attributes["network.io.direction"]): point.value
        for point in points
        if point.value
    }


@pytest.mark.everywhere(feature="udp")
def test_bytes_of_each_way_to_send_add_up_by_peer(lab: Lab, tmp_path: Path) -> None:
    sends = [
        [sys.executable, "-c", SENDS, str(FIRST_PORT), network.peer, network.evil] for network in (V4, V6)
    ]
    with answering(lab, V4), answering(lab, V6):
        seen = trace(lab, ["sh", "-ec", "; ".join(map(shlex.join, sends))], tmp_path)
    assert seen.status == 0, seen.stderr
    told: list[dict[str, dict[str, tuple[int, int]]]] = list(map(json.loads, seen.stdout.splitlines()))
    in_all = Counter[tuple[object, object]]()
    for number, (way, by_peer) in (way for each in told for way in enumerate(each.items())):
        for address, moved in by_peer.items():
            own = [
                span
                for span in seen.egress
                if (span["server.port"], span["server.address"]) == (FIRST_PORT + number, address)
            ]
            sent, received = carried(own)
            if way == "threads":  # how much was answered before the socket was closed isn't known
                moved = (moved[0], received)  # noqa: PLW2901
            assert (way, sent, received) == (way, *moved)
            in_all[address, "transmit"] += sent
            in_all[address, "receive"] += received
    assert io(seen) == +in_all
    assert seen.account.endswith("+ dropped 0 + pending 0")
    assert "byte count" not in seen.stderr


def test_each_datagram_has_its_own_bytes_and_a_connection_all_of_its(lab: Lab, tmp_path: Path) -> None:
    script = (
        "import socket, sys\n"
        "to = (sys.argv[1], int(sys.argv[2]))\n"
        "one = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)\n"
        "for size in (11, 22, 33): one.sendto(b'x' * size, to); one.recv(100)\n"
        "one = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)\n"
        "one.connect(to)\n"
        "for size in (11, 22, 33): one.send(b'x' * size); one.recv(100)\n"
    )
    with answering(lab, V4):
        seen = trace(lab, [sys.executable, "-c", script, V4.peer, str(FIRST_PORT)], tmp_path)
    assert [(span.name.split()[0], *carried([span])) for span in seen.egress] == [
        *(("send", 11, 5), ("send", 22, 11), ("send", 33, 16)),
        ("connect", 66, 32),
    ]
    *sends, connect = seen.egress
    assert all(span.started_ns == span.ended_ns for span in sends)
    assert connect.ended_ns > connect.started_ns


ELSEWHERE = """
import socket, sys
peer, evil, port = sys.argv[1], sys.argv[2], int(sys.argv[3])
one = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
one.connect((peer, port))
one.send(b"x" * 100)
one.sendto(b"x" * 10, (evil, port))
one.send(b"x" * 1000)
one.sendto(b"x" * 1, (evil, port))
"""


def test_what_a_connected_socket_sends_between_acts_is_of_nobody_else(lab: Lab, tmp_path: Path) -> None:
    seen = trace(lab, [sys.executable, "-c", ELSEWHERE, V4.peer, V4.evil, str(PORT)], tmp_path)
    by_host = Counter[object]()
    for span in seen.egress:
        by_host[span["server.address"]] += carried([span])[0]
    assert by_host == {V4.peer: 100, V4.evil: 11, "_other": 1000}
    assert {host: number for (host, _), number in io(seen).items()} == dict(by_host)
    (other,) = (span for span in seen.egress if span["server.address"] == "_other")
    assert other["egress.attempts"] == 0
    assert seen.account == "attempts 3 = exported 3 + aggregated 0 + dropped 0 + pending 0"


@crowd
def test_bytes_of_a_spray_add_up_though_its_peers_arent_told_apart(
    lab: Lab, programs: Programs, tmp_path: Path
) -> None:
    n = 20_000
    seen = trace(lab, programs.flood("spray", n, PORT), tmp_path, limit_s=CROWD_LIMIT_S)
    assert_adds_up(seen, n)
    sent, received = carried(seen.egress)
    assert sent > 0
    assert (sent % n, received) == (0, 0)
    assert sum(io(seen).values()) == sent


def test_a_flood_to_two_peers_in_turn_has_all_of_its_bytes(
    lab: Lab, programs: Programs, tmp_path: Path
) -> None:
    n = 50_000
    with lab.watch() as watch:
        seen = trace(lab, programs.flood("sends", 2 * n, V4.peer, PORT, V4.evil, PORT), tmp_path)
    assert_adds_up(seen, 2 * n)
    size = sum(watch.arrivals.datagram_bytes.values()) // sum(watch.arrivals.datagrams.values())
    assert carried(seen.egress) == (2 * n * size, 0)
    assert io(seen) == {(V4.peer, "transmit"): n * size, (V4.evil, "transmit"): n * size}


@pytest.mark.parametrize("verb", ["udp-sendmmsg", "udp-connect-send", "udp-corked", "mapped-udp-connected"])
def test_what_arrives_is_what_was_counted(lab: Lab, programs: Programs, tmp_path: Path, verb: str) -> None:
    with lab.watch() as watch:
        seen = trace(lab, programs.act(verb, V4.peer, PORT, V4.evil, PORT), tmp_path)
    arrived = watch.arrivals.datagram_bytes
    assert sum(arrived.values()) > 0
    for to in (V4.peer, V4.evil):
        own = [span for span in seen.egress if span["server.address"] == to]
        assert carried(own)[0] == sum(number for end, number in arrived.items() if end.address == to)


DENIED = """
import socket, sys
peer, evil, port = sys.argv[1], sys.argv[2], int(sys.argv[3])
one = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
for number in range(100):
    one.sendto(b"x" * 10, (peer, port))
    one.recv(100)
    try:
        one.sendto(b"x" * 1000, (evil, port))
    except PermissionError:
        continue
    raise SystemExit("it was sent")
"""


def test_what_is_denied_carries_nothing(lab: Lab, tmp_path: Path) -> None:
    file = policy(tmp_path, f'mode: enforce\nallow: ["udp://{V4.peer}:{FIRST_PORT}"]\n')
    command = [sys.executable, "-c", DENIED, V4.peer, V4.evil, str(FIRST_PORT)]
    with answering(lab, V4):
        seen = trace(lab, command, tmp_path, "--policy", file)
    assert seen.status == 0, seen.stderr
    assert_adds_up(seen, 200)
    denied = [span for span in seen.egress if span["egress.verdict"] == "deny"]
    assert {span["server.address"] for span in denied} == {V4.evil}
    assert not any("egress.bytes_sent" in span.attributes for span in denied)
    assert carried(seen.egress) == (1000, 500)
    assert io(seen) == {(V4.peer, "transmit"): 1000, (V4.peer, "receive"): 500}
