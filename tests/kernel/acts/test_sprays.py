"""Many peers from many processes at once: each process is shown, and no job hides acts of another."""

from __future__ import annotations

import sys
from collections import Counter
from contextlib import ExitStack
from typing import TYPE_CHECKING

from exporter.events.facts import Acted, Aggregated, attempts_of
from tests.kernel.flood_accounts import assert_adds_up, attempts
from tests.kernel.kernel_side import DNS, KernelSide, kernel_side
from tests.kernel.lab import CLOSED_PORT, PORT, V4, Lab
from tests.kernel.tracing import CROWD_LIMIT_S, crowd, trace

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from exporter.events.facts import Event
    from tests.kernel.conftest import Programs


@crowd
def test_of_a_spray_by_200_processes_each_is_shown_and_each_attempt_has_its_process_and_transport(
    lab: Lab, programs: Programs, tmp_path: Path
) -> None:
    processes, peers, rounds = 200, 50, 16
    command = programs.flood("sprays", processes, peers, rounds, CLOSED_PORT)
    seen = trace(lab, command, tmp_path, limit_s=CROWD_LIMIT_S)
    assert_adds_up(seen, processes * peers * rounds * 2)
    by_process, by_transport = Counter[object](), Counter[object]()
    for span in seen.egress:
        number = int(str(span["egress.attempts"]))
        by_process[span.attributes.get("process.pid")] += number
        by_transport[span.attributes.get("network.transport")] += number
    assert len(by_process) == processes
    assert set(by_process.values()) == {peers * rounds * 2}
    assert by_transport == dict.fromkeys(("tcp", "udp"), processes * peers * rounds)
    other = [span for span in seen.egress if span["server.address"] == "_other"]
    assert 0 < attempts(other) < processes * peers * rounds * 2


def at_once(lab: Lab, kernel: KernelSide, *commands: Sequence[str]) -> dict[int, list[Event]]:
    """Run the commands beside each other, each as a job of its own, to their ends: the acts of each job."""
    events: list[Event] = []
    with ExitStack() as stack:
        children = [stack.enter_context(kernel.beginning(lab, command))[0] for command in commands]
        scopes = range(kernel.scope - len(commands) + 1, kernel.scope + 1)
        for child in children:
            assert child.stdin is not None
            child.stdin.write("\n")
            child.stdin.flush()
        while any(child.poll() is None for child in children):
            events += kernel.drain()
    events += kernel.finish()
    acts = [event for event in events if isinstance(event, Acted | Aggregated)]
    return {scope: [act for act in acts if act.scope == scope] for scope in scopes}


@crowd
def test_the_spray_of_one_job_hides_no_peer_of_another(lab: Lab, programs: Programs) -> None:
    peers, rounds = 25, 40
    spray = programs.flood("sprays", 200, 60, 16, CLOSED_PORT)
    few = programs.flood("sprays", 1, peers, rounds, CLOSED_PORT)
    with kernel_side(without=DNS) as kernel:
        spraying, quiet = at_once(lab, kernel, spray, few).values()
    assert sum(map(attempts_of, spraying)) == 200 * 60 * 16 * 2
    assert any(act.is_other for act in spraying if isinstance(act, Aggregated))
    assert sum(map(attempts_of, quiet)) == peers * rounds * 2
    assert not any(act.is_other for act in quiet if isinstance(act, Aggregated))


HOLDERS, EACH_HOLDS = 10, 2000
HOLDS_OPEN = """
import os, resource, socket, sys
holders, count, peer, port = int(sys.argv[1]), int(sys.argv[2]), sys.argv[3], int(sys.argv[4])
resource.setrlimit(resource.RLIMIT_NOFILE, (count + 100, count + 100))
while holders > 1 and os.fork():
    holders -= 1
held = [socket.socket() for _ in range(count)]
for each in held:
    each.setblocking(False)
    each.connect_ex((peer, port))
os.write(1, b"open\\n")
sys.stdin.read()
"""


def test_the_open_connects_of_one_job_hide_no_outcome_of_another(lab: Lab, programs: Programs) -> None:
    """As many wait for their outcome as there is room for in all."""
    connects = programs.flood("connects", 200, 100, V4.peer, PORT, CLOSED_PORT)
    holds = [sys.executable, "-c", HOLDS_OPEN, str(HOLDERS), str(EACH_HOLDS), V4.blackhole, str(PORT)]
    with kernel_side(without=DNS) as kernel, kernel.beginning(lab, holds) as (holding, _):
        assert holding.stdin is not None
        assert holding.stdout is not None
        holding.stdin.write("\n")
        holding.stdin.flush()
        assert [holding.stdout.readline() for _ in range(HOLDERS)] == ["open\n"] * HOLDERS
        told = kernel.run(lab, connects).events
        scope = kernel.scope
        holding.communicate()
        acts = [act for act in told + kernel.finish() if isinstance(act, Acted | Aggregated)]
    of_other = [act for act in acts if act.scope == scope]
    assert sum(map(attempts_of, of_other)) == 200
    counted = [act for act in of_other if isinstance(act, Aggregated)]
    assert counted
    assert None not in {act.outcome for act in counted}
    assert any(act.outcome is None for act in acts if isinstance(act, Aggregated) and act.scope != scope)
