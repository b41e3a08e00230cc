"""`ci-egress run` and Unix sockets: what is told of a connect to one, and of one that the policy denies."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

import pytest

from tests.kernel.policy_runs import policy, replay
from tests.kernel.tracing import logs, trace
from tests.kernel.unix_servers import server

if TYPE_CHECKING:
    from pathlib import Path

    from tests.kernel.lab import Lab

pytestmark = pytest.mark.kernel

CONNECT = """
import errno, socket, sys

for _ in range(int(sys.argv[2])):
    with socket.socket(socket.AF_UNIX) as client:
        done = client.connect_ex(sys.argv[1])
print(errno.errorcode.get(done, "ok"))
"""


def connecting(path: Path, times: int = 1) -> list[str]:
    return [sys.executable, "-c", CONNECT, str(path), str(times)]


@pytest.mark.everywhere(feature="sockets")
def test_one_that_a_rule_denies_is_a_span_and_the_same_from_a_recording(lab: Lab, tmp_path: Path) -> None:
    path, recording = tmp_path / "engine.sock", tmp_path / "recording"
    file = policy(tmp_path, f"mode: enforce\ndeny: [unix://{path}]\n")
    with server(str(path)):
        options = ("--policy", file, "--record", str(recording))
        seen = trace(lab, connecting(path), tmp_path / "run", *options)
    assert (seen.status, seen.stdout) == (0, "EPERM\n")
    (span,) = seen.egress
    assert (span.name, span.is_error) == (f"connect {path}", True)
    told = {
        "network.transport": "unix",
        "network.peer.address": str(path),
        "server.address": str(path),
        "egress.attempts": 1,
        "egress.verdict": "deny",
        "egress.mode": "enforce",
        "egress.outcome": "denied",
        "egress.rule": f"unix://{path}",
        "error.type": "EPERM",
    }
    assert told.items() <= span.attributes.items()
    assert not {"server.port", "network.peer.port", "network.type", "egress.novel"} & span.attributes.keys()
    (record,) = logs(tmp_path / "run")
    assert record["eventName"] == "cicd.egress.denied"
    assert seen.account == "attempts 1 = exported 1 + aggregated 0 + dropped 0 + pending 0"
    replayed = replay(recording, tmp_path / "replay")
    assert [each.attributes for each in replayed.egress] == [span.attributes]


@pytest.mark.everywhere(feature="sockets")
def test_many_are_counted_and_stay_on_this_machine(lab: Lab, tmp_path: Path) -> None:
    path = tmp_path / "engine.sock"
    file = policy(tmp_path, f"mode: audit\nallow: [unix://{path}]\n")
    with server(str(path)):
        seen = trace(lab, connecting(path, 300), tmp_path / "run", "--policy", file)
    assert (seen.status, seen.stdout) == (0, "ok\n")
    assert sum(int(str(span["egress.attempts"])) for span in seen.egress) == 300
    assert {
        (span["server.address"], span["egress.verdict"], span["egress.rule"]) for span in seen.egress
    } == {(str(path), "allow", f"unix://{path}")}
    assert not any("egress.outcome" in span.attributes for span in seen.egress), "nobody knows it"
    assert len(seen.egress) < 150
    assert "on this machine" in seen.stderr
    assert seen.account.startswith("attempts 300 = ")
    assert seen.account.endswith(" + dropped 0 + pending 0")
