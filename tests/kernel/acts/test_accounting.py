"""The account holds while each of the kernel's stages is full: nothing is lost without being counted."""

from __future__ import annotations

import mmap
import shlex
import sys
from typing import TYPE_CHECKING

import pytest

from exporter.events.decode import Decoder
from exporter.events.facts import Aggregated, Event, Outcome
from exporter.kernel.bpf import U32, U64
from tests.kernel.flood_accounts import EACH_MAX, assert_adds_up, attempts, with_outcome
from tests.kernel.lab import CLOSED_PORT, PORT, V4, Lab
from tests.kernel.running_exporter import running, stopped
from tests.kernel.tracing import copy_with, exports, trace

if TYPE_CHECKING:
    from pathlib import Path

    from tests.kernel.conftest import Programs
    from tests.kernel.kernel_side import KernelSide

SMALL_RINGS = dict.fromkeys(("first", "events"), mmap.PAGESIZE)
"""Bytes of the rings of records."""
RECONNECTS = f"""
import ast, socket, sys
first, second = map(ast.literal_eval, sys.argv[1:])
def connect(*peers):
    with socket.socket() as one:
        for peer in peers:
            one.connect_ex(peer)
for _ in range({EACH_MAX} + 1):
    connect(second)
connect(first, second)
"""
"""The last connect of all is only counted; the one before it, of the same socket, has a record."""
UNSEEN = """
import ast, socket, sys
way, peer, n = sys.argv[1], ast.literal_eval(sys.argv[2]), int(sys.argv[3])
for _ in range(n):
    with socket.socket() as one:
        if way == "fast-open":
            one.setsockopt(socket.IPPROTO_TCP, 30, 1)  # TCP_FASTOPEN_CONNECT
            one.setsockopt(socket.IPPROTO_TCP, 34, 1)  # TCP_FASTOPEN_NO_COOKIE
        one.connect_ex(peer)
        if way == "listen":
            one.listen()
"""
KEPT_OPEN = """
import ast, socket, sys
peer, n = ast.literal_eval(sys.argv[1]), int(sys.argv[2])
kept = [socket.create_connection(peer) for _ in range(n)]
print("open", flush=True)
input()
"""
ROUNDS_MAX = 200
"""Far more than it takes: nothing goes on for good where the exporter has ended."""


def connects(programs: Programs, n: int) -> list[str]:
    return programs.flood("connects", n, 100, V4.peer, PORT, CLOSED_PORT)


@pytest.mark.parametrize(
    "entries",
    [
        pytest.param({"slots": 4, "free_slots": 4, "free_other_slots": 2}, id="slots"),
        pytest.param({"flows_even": 8, "flows_odd": 8}, id="flows"),
        pytest.param(SMALL_RINGS, id="rings"),
        pytest.param({"open_connects": 1}, id="open-connects"),
    ],
)
def test_with_a_map_that_is_full_every_attempt_is_counted(
    lab: Lab, programs: Programs, tmp_path: Path, entries: dict[str, int]
) -> None:
    env = copy_with(tmp_path / "copy", **entries)
    n = 4000
    script = f"{' '.join(connects(programs, n))}; {' '.join(programs.flood('spray', n, PORT))}"
    seen = trace(lab, ["sh", "-c", script], tmp_path / "otlp", env=env, cwd=tmp_path)
    assert_adds_up(seen, 2 * n)


def test_outcomes_are_right_although_hardly_anything_has_a_record(
    lab: Lab, programs: Programs, tmp_path: Path
) -> None:
    n = 4000
    env = copy_with(tmp_path / "copy", **SMALL_RINGS)
    seen = trace(lab, connects(programs, n), tmp_path / "otlp", env=env)
    assert_adds_up(seen, n)
    assert attempts(with_outcome(seen, "refused")) == n // 4
    # Of a connect that was told, the outcome may be lost with its own record: then it is open.
    told = attempts(with_outcome(seen, "established")) + attempts(with_outcome(seen, "open"))
    assert told == n * 3 // 4


@pytest.mark.parametrize("then", ["no-route", "established"])
def test_a_connect_with_a_record_has_its_outcome_although_the_next_of_its_socket_has_none(
    lab: Lab, tmp_path: Path, then: str
) -> None:
    first = V4.no_route, CLOSED_PORT
    second = {"no-route": (V4.no_route, PORT), "established": (V4.peer, PORT)}[then]
    seen = trace(lab, [sys.executable, "-c", RECONNECTS, repr(first), repr(second)], tmp_path)
    assert_adds_up(seen, EACH_MAX + 3)
    (told,) = (span for span in seen.egress if span["network.peer.port"] == CLOSED_PORT)
    assert (told["egress.outcome"], told["error.type"]) == ("unreachable", "ENETUNREACH")
    others = [span for span in seen.egress if span["network.peer.port"] == PORT]
    outcome = {"no-route": "unreachable", "established": "established"}[then]
    assert {span["egress.outcome"] for span in others} == {outcome}


@pytest.mark.parametrize(
    ("way", "peer", "outcome"),
    [("fast-open", (V4.peer, PORT), "aborted"), ("listen", (V4.no_route, PORT), "unreachable")],
)
def test_a_connect_whose_end_changes_no_state_does_not_stay_open(
    lab: Lab, tmp_path: Path, way: str, peer: tuple[str, int], outcome: str
) -> None:
    n = EACH_MAX + 8
    seen = trace(lab, [sys.executable, "-c", UNSEEN, way, repr(peer), str(n)], tmp_path)
    assert_adds_up(seen, n)
    assert attempts(with_outcome(seen, outcome)) == n


def test_connects_that_are_open_when_their_job_is_over_take_no_room(lab: Lab, kernel: KernelSide) -> None:
    n = EACH_MAX + 8
    command = [sys.executable, "-c", KEPT_OPEN, repr((V4.peer, PORT)), str(n)]
    with kernel.beginning(lab, command) as (child, _):
        assert child.stdin
        assert child.stdout
        child.stdin.write("\n")
        child.stdin.flush()
        assert child.stdout.readline() == "open\n"
        kernel.drain()
        assert waiting(kernel) == 8
        events: list[Event] = []
        decoder = Decoder()
        kernel.tracer.scopes.close(
            [kernel.scope], lambda data, at, length: events.extend(decoder.decode(bytes(data), at, length))
        )
        left = [event for event in events if isinstance(event, Aggregated)]
        assert [(event.attempts, event.outcome, event.scope) for event in left] == [
            (1, Outcome.OPEN, kernel.scope)
        ] * 8
        assert waiting(kernel) == 0
        child.communicate("\n")


def waiting(kernel: KernelSide) -> int:
    """Return how many connects take room until their outcome is known, by the table and by its numbers."""
    maps = kernel.tracer.maps
    noted, removed = (U64.unpack(maps["open_of_all"].lookup(U32.pack(at)) or b"")[0] for at in range(2))
    number = sum(1 for _ in maps["open_connects"].items())
    assert noted - removed == number
    return number


def test_processes_that_find_no_room_in_the_table_are_still_the_jobs(
    lab: Lab, programs: Programs, tmp_path: Path
) -> None:
    env = copy_with(tmp_path / "copy", procs=2, found_steps=2)
    n = 20
    command = programs.lineage("at-once", n, *programs.act("connect", V4.peer, PORT))
    seen = trace(lab, command, tmp_path / "otlp", env=env, cwd=tmp_path)
    assert_adds_up(seen, n)
    assert {span["cicd.pipeline.run.id"] for span in seen.egress} == {seen.job["cicd.pipeline.run.id"]}
    assert "processes found the table of processes full" in seen.stderr


def test_while_the_exporter_is_stopped_the_kernel_goes_on_counting(
    lab: Lab, programs: Programs, tmp_path: Path
) -> None:
    n = 3000
    crowd = shlex.join(programs.lineage("burst", n, *programs.act("connect", V4.peer, PORT)))
    script = f"echo ready; read go; {crowd} >/dev/null; echo done; read go"
    with running(lab.command(["sh", "-c", script]), tmp_path) as run:
        assert run.next_line() == "ready"
        with stopped(run.pid):
            run.tell("go")
            assert run.next_line() == "done"
        run.tell("end")
        seen = run.end()
    assert_adds_up(seen, n)


def test_the_account_that_is_published_holds_at_every_moment(
    lab: Lab, programs: Programs, tmp_path: Path
) -> None:
    file, each = tmp_path / "metrics.jsonl", 20_000
    flood = f"{shlex.join(programs.flood('sends', each, V4.peer, PORT))} & "
    flood += f"{shlex.join(connects(programs, 400))} >/dev/null; wait"
    enough = f"test -e {file} && test $(wc -l <{file}) -ge 10"
    rounds = f"for _ in $(seq {ROUNDS_MAX}); do {flood}; echo; {enough} && break; done; true"
    seen = trace(lab, ["sh", "-c", rounds], tmp_path, env={"OTEL_METRIC_EXPORT_INTERVAL": "50"})
    n = len(seen.stdout) * (each + 400)
    assert_adds_up(seen, n)
    moments = published(file)
    assert len(moments) >= 10
    assert moments == sorted(moments)
    for told, settled, pending in moments:
        assert told == settled + pending
    assert moments[-1] == [n, n, 0]


def published(path: Path) -> list[list[int]]:
    """Attempts, settled and pending of each export."""
    return [
        [
            sum(point.value for point in found.get(f"cicd.egress.exporter.{name}", ()))
            for name in ("attempts", "events", "pending")
        ]
        for found in exports(path)
    ]
