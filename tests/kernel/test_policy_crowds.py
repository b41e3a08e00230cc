"""Crowds and floods of denied acts: each process is told, every attempt is accounted for, none leaves."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

import pytest

from .lab import CLOSED_PORT, NETWORKS, PORT, Lab, Network
from .ruled import MODES, bracketed, under
from .test_floods import assert_adds_up
from .tracing import announced

if TYPE_CHECKING:
    from pathlib import Path

    from .conftest import Programs

pytestmark = pytest.mark.kernel

LINES_MAX, RECORDS_MAX = 50, 4096
"""Lines on stderr and log records of a job: exporter/denials.py."""
DENIED_CONNECTS = """
import socket, sys
times, host, port = int(sys.argv[1]), sys.argv[2], int(sys.argv[3])
family = socket.AF_INET6 if ":" in host else socket.AF_INET
print({socket.socket(family).connect_ex((host, port)) for _ in range(times)})
"""
NOTHING = ["192.0.2.77"]
"""A policy that allows nothing that is there."""


@MODES
@NETWORKS
def test_of_thousands_of_processes_of_a_millisecond_each_is_told(
    lab: Lab, programs: Programs, tmp_path: Path, network: Network, mode: str
) -> None:
    n = 10_000
    act = programs.act("connect", network.evil, PORT)
    burst = ["sh", "-c", '"$@" >/dev/null; true', "sh", *programs.lineage("burst", n, *act)]
    with lab.watch() as watch:
        ruled = under(lab, mode, NOTHING, burst, tmp_path)
    assert (watch.arrivals.packets == {}) == ruled.is_enforced
    ruled.assert_account(n)
    ruled.assert_against(ruled.seen.egress)
    assert len({span.parent_id for span in ruled.seen.egress}) == n
    assert all(span["process.command_args"] == act for span in ruled.seen.egress)
    assert all(span["egress.lineage"] == ["dash", "lineage", "act"] for span in ruled.seen.egress)
    assert len(ruled.records) == RECORDS_MAX
    assert len(ruled.blocked) == (LINES_MAX + 1 if ruled.is_enforced else 0)


@MODES
@NETWORKS
def test_of_200_processes_that_act_at_once_each_is_told(
    lab: Lab, programs: Programs, tmp_path: Path, network: Network, mode: str
) -> None:
    n = 200
    act = programs.act("connect", network.evil, PORT)
    crowd = programs.lineage("at-once", n, *announced(act))
    with lab.watch() as watch:
        ruled = under(lab, mode, NOTHING, crowd, tmp_path)
    assert (watch.arrivals.packets == {}) == ruled.is_enforced
    lines = ruled.seen.stdout.splitlines()
    pids = {int(line.split()[0]) for line in lines if line != ruled.errno()}
    assert {span["process.pid"] for span in ruled.seen.egress} == pids
    assert len(pids) == n
    ruled.assert_account(n)
    ruled.assert_against(ruled.seen.egress)
    assert len({record["spanId"] for record in ruled.records}) == n


@NETWORKS
def test_100000_denied_connects_of_one_process_add_up(lab: Lab, tmp_path: Path, network: Network) -> None:
    n = 100_000
    flood = [sys.executable, "-c", DENIED_CONNECTS, str(n), network.evil, str(PORT)]
    with lab.watch() as watch:
        ruled = under(lab, "enforce", NOTHING, flood, tmp_path)
    assert watch.arrivals.packets == {}
    assert ruled.seen.stdout == "{1}\n", "the errno of each one"
    assert_adds_up(ruled.seen, n)
    ruled.assert_against(ruled.seen.egress)
    assert len(ruled.seen.egress) < n / 10
    assert ruled.blocked == [f"python3.11 (python3.11) → {bracketed(network.evil)}:{PORT}, rule default"]
    assert len(ruled.records) == 1


@NETWORKS
def test_100000_connects_that_a_policy_would_deny_add_up(
    lab: Lab, programs: Programs, tmp_path: Path, network: Network
) -> None:
    n = 100_000
    flood = programs.flood("connects", n, 1, network.evil, PORT, CLOSED_PORT)
    ruled = under(lab, "audit", NOTHING, flood, tmp_path)
    assert ruled.seen.stdout.split()[:2] == [str(n * 3 // 4), str(n // 4)]
    assert_adds_up(ruled.seen, n)
    ruled.assert_against(ruled.seen.egress)
