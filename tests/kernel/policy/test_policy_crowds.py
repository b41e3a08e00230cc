"""Crowds and floods of denied acts: each process is told, each attempt accounted for, no packet leaves."""

from __future__ import annotations

import shlex
from collections import Counter
from typing import TYPE_CHECKING

import pytest

from tests.kernel.flood_accounts import assert_adds_up
from tests.kernel.lab import CLOSED_PORT, NETWORKS, PORT, Lab, Network
from tests.kernel.policy_runs import MODES, bracketed, script, under
from tests.kernel.tracing import announced

if TYPE_CHECKING:
    from pathlib import Path

    from tests.kernel.conftest import Programs

pytestmark = pytest.mark.kernel

LINES_MAX = 50
"""On stderr: exporter/pipeline/alerts.py."""
NOTHING = ["192.0.2.77"]
"""A policy that allows nothing that is there."""


@MODES
@NETWORKS
def test_of_short_processes_and_of_those_that_act_at_once_each_is_told(
    lab: Lab, programs: Programs, tmp_path: Path, network: Network, mode: str
) -> None:
    short, crowd = 1_000, 200
    acts = {verb: programs.act(verb, network.evil, PORT) for verb in ("connect", "udp-sendto")}
    step = script(
        tmp_path,
        programs.lineage("burst", short, *acts["connect"]),
        programs.lineage("at-once", crowd, *announced(acts["udp-sendto"])),
    )
    with lab.watch() as watch:
        ruled = under(lab, mode, NOTHING, step, tmp_path)
    assert (watch.arrivals.packets == {}) == ruled.is_enforced
    spans, said = ruled.seen.egress, ruled.seen.stdout.splitlines()
    assert said.count(ruled.errno()) == short + crowd
    ruled.assert_account(short + crowd)
    ruled.assert_against(spans)
    assert all(span["egress.lineage"] == ["dash", "lineage", "act"] for span in spans)
    assert len({span.parent_id for span in spans}) == short + crowd
    assert Counter(span["process.command_line"] for span in spans) == {
        shlex.join(acts["connect"]): short,
        shlex.join(acts["udp-sendto"]): crowd,
    }
    at_once = [span["process.pid"] for span in spans if span["network.transport"] == "udp"]
    announced_pids = [int(line.split()[0]) for line in said if line != ruled.errno()]
    assert sorted(at_once) == sorted(announced_pids)
    assert len({record["spanId"] for record in ruled.records}) == short + crowd
    assert len(ruled.blocked) == (LINES_MAX + 1 if ruled.is_enforced else 0)


@NETWORKS
@pytest.mark.parametrize(("mode", "n"), [("audit", 10_000), ("enforce", 100_000)])
def test_of_a_flood_of_connects_each_is_accounted_for(
    lab: Lab, programs: Programs, tmp_path: Path, network: Network, mode: str, n: int
) -> None:
    flood = programs.flood("connects", n, 1, network.evil, PORT, CLOSED_PORT)
    with lab.watch() as watch:
        ruled = under(lab, mode, NOTHING, flood, tmp_path)
    assert (watch.arrivals.packets == {}) == ruled.is_enforced
    established, refused, *_, denied = map(int, ruled.seen.stdout.split())
    assert (established, refused, denied) == ((0, 0, n) if ruled.is_enforced else (n * 3 // 4, n // 4, 0))
    assert_adds_up(ruled.seen, n)
    ruled.assert_against(ruled.seen.egress)
    assert len(ruled.records) == 2, "one for each destination"
    shown = [
        f"flood (flood) → {bracketed(network.evil)}:{port}, rule default" for port in (PORT, CLOSED_PORT)
    ]
    assert ruled.blocked == (shown if ruled.is_enforced else [])
