"""Floods: counted to the last attempt, bounded in what they cause, and unable to hide anything else."""

from __future__ import annotations

import sys
from collections import Counter
from typing import TYPE_CHECKING

import pytest

from exporter.kernel.maps.windows import WINDOW_S
from tests.kernel.flood_accounts import EACH_MAX, FIRSTS_MAX, account, assert_adds_up, attempts, with_outcome
from tests.kernel.lab import CLOSED_PORT, NETWORKS, PORT, V4, Lab, Network
from tests.kernel.tracing import CROWD_LIMIT_S, crowd, trace

if TYPE_CHECKING:
    from pathlib import Path

    from tests.kernel.conftest import Programs


def test_a_million_datagrams_are_counted_to_the_last(lab: Lab, programs: Programs, tmp_path: Path) -> None:
    n = 1_000_000
    seen = trace(lab, programs.flood("sends", n, V4.peer, PORT), tmp_path)
    assert_adds_up(seen, n)
    begun_ns = min(span.started_ns for span in seen.egress)
    windows = (max(span.ended_ns for span in seen.egress) - begun_ns) / 1e9 / WINDOW_S + 2
    assert len(seen.egress) <= (EACH_MAX + 1) * windows
    assert {span.name for span in seen.egress} == {f"send {V4.peer}:{PORT}"}
    assert {tuple(span["egress.lineage"]) for span in seen.egress} == {("flood",)}  # type: ignore[arg-type]


def test_peers_in_turn_on_one_socket_are_counted_each(lab: Lab, programs: Programs, tmp_path: Path) -> None:
    n = 100_000
    seen = trace(lab, programs.flood("sends", 2 * n, V4.peer, PORT, V4.evil, PORT), tmp_path)
    assert_adds_up(seen, 2 * n)
    by_peer = Counter[object]()
    for span in seen.egress:
        by_peer[span["network.peer.address"]] += int(str(span["egress.attempts"]))
    assert by_peer == {V4.peer: n, V4.evil: n}


def test_senders_that_are_killed_leave_nothing_uncounted(
    lab: Lab, programs: Programs, tmp_path: Path
) -> None:
    processes = 4
    seen = trace(lab, programs.flood("crowd", processes, 1500, V4.peer, PORT), tmp_path)
    told = int(seen.stdout)
    counted = account(seen)["attempts"]
    assert told <= counted <= told + processes  # killed between the call and its count
    assert_adds_up(seen, counted)
    by_process = {span["process.pid"] for span in seen.egress}
    assert len(by_process) == processes


@crowd
def test_a_flood_hides_none_of_200_short_processes_beside_it(
    lab: Lab, programs: Programs, tmp_path: Path
) -> None:
    n, short = 1_000_000, 200
    flood = " ".join(programs.flood("sends", n, V4.peer, PORT))
    act = programs.act("connect", V4.evil, PORT, "--")
    script = f"{flood} & for i in $(seq {short}); do {' '.join(act)} $i >/dev/null; done; wait"
    seen = trace(lab, ["sh", "-c", script], tmp_path, limit_s=CROWD_LIMIT_S)
    assert_adds_up(seen, n + short)
    beside = [span for span in seen.egress if span["network.peer.address"] == V4.evil]
    assert [span["egress.attempts"] for span in beside] == [1] * short
    assert [span["process.command_args"] for span in beside] == [
        [*act, str(number)] for number in range(1, short + 1)
    ]
    assert {tuple(span["egress.lineage"]) for span in beside} == {("dash", "act")}  # type: ignore[arg-type]
    assert {span["egress.outcome"] for span in beside} == {"established"}


@crowd
@pytest.mark.parametrize("what", ["scan", "spray"])
def test_a_scan_and_a_spray_stay_bounded_and_are_counted(
    lab: Lab, programs: Programs, tmp_path: Path, what: str
) -> None:
    command, n = {
        "scan": (programs.flood("scan", "127.0.0.1"), 65_535),
        "spray": (programs.flood("spray", 100_000, PORT), 100_000),
    }[what]
    seen = trace(lab, command, tmp_path, limit_s=CROWD_LIMIT_S)
    assert_adds_up(seen, n)
    windows = 1 + (seen.job.ended_ns - seen.job.started_ns) // 1_000_000_000
    other = [span for span in seen.egress if span["server.address"] == "_other"]
    assert 1 <= len(other) <= windows + 1
    assert len(seen.egress) - len(other) <= FIRSTS_MAX * (windows + 1)
    assert attempts(other) > n / 2
    assert "network.peer.address" not in other[0].attributes
    assert other[0]["process.executable.name"] == "flood"
    assert len(seen.metrics["cicd.egress.connections"]) <= 202


@NETWORKS
def test_of_20000_connects_each_has_its_outcome_and_each_byte_is_counted(
    lab: Lab, programs: Programs, tmp_path: Path, network: Network
) -> None:
    n, size = 20_000, 300
    command = programs.flood("connects", n, size, network.peer, PORT, CLOSED_PORT)
    seen = trace(lab, command, tmp_path)
    established, refused, sent, received, _ = map(int, seen.stdout.split())
    assert (established, refused, sent, received) == (n * 3 // 4, n // 4, n // 4 * size, n // 4 * size)
    assert_adds_up(seen, n)
    assert attempts(with_outcome(seen, "established")) == established
    assert attempts(with_outcome(seen, "refused")) == refused
    for way, size_in_all in (("sent", sent), ("received", received)):
        told = [span.attributes.get(f"egress.bytes_{way}", 0) for span in seen.egress]
        assert sum(int(str(number)) for number in told) == size_in_all
    by_way = {
        point.attributes["network.io.direction"]: point.value for point in seen.metrics["cicd.egress.io"]
    }
    assert by_way == {"transmit": sent, "receive": received}
    alone = [span for span in seen.egress if span["egress.attempts"] == 1]
    assert len(alone) >= 2 * EACH_MAX
    for span in with_outcome(seen, "refused"):
        assert span["server.port"] == CLOSED_PORT


RECONNECTS = """
import socket, sys
count, peer, port = int(sys.argv[1]), sys.argv[2], int(sys.argv[3])
for _ in range(count):
    with socket.socket(socket.AF_INET6 if ":" in peer else socket.AF_INET) as client:
        try:
            client.connect(("2001:db8:ffff::1" if ":" in peer else "255.255.255.255", 443))
        except OSError:
            pass
        client.connect((peer, port))
        client.sendall(b"x" * 1000)
        client.shutdown(socket.SHUT_WR)
        while client.recv(4096):
            pass
"""


@NETWORKS
@pytest.mark.parametrize("count", [1, 100], ids=["told", "counted"])
def test_a_connect_that_never_left_takes_nothing_of_the_next_one_on_its_socket(
    lab: Lab, tmp_path: Path, network: Network, count: int
) -> None:
    command = [sys.executable, "-c", RECONNECTS, str(count), network.peer, str(PORT)]
    seen = trace(lab, lab.command(command), tmp_path)
    assert_adds_up(seen, 2 * count)
    for span in seen.egress:
        is_peer = span["server.address"] == network.peer
        assert span["egress.outcome"] == ("established" if is_peer else "unreachable"), span.attributes
    sent = [span.attributes.get("egress.bytes_sent", 0) for span in with_outcome(seen, "established")]
    assert sum(int(str(number)) for number in sent) == 1000 * count
    assert attempts(with_outcome(seen, "unreachable")) == count
