"""From events to a trace: which spans there are, each once, and how they nest."""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from exporter.events.facts import Acted, Event, Exited, ProcessKey
from exporter.pipeline.flows import HELD_MAX
from exporter.pipeline.process_spans import ProcessSpans
from tests.unit.pipelines import BUILD, CHILD, END_NS, GRANDCHILD, ROOT, acted, execed, forked, run, spans
from tests.unit.records import ACT, AGGREGATE, ENDED, ESTABLISHED
from tests.unit.samples import CLOCK

ALL, NETWORK, NONE = ProcessSpans.ALL, ProcessSpans.NETWORK, ProcessSpans.NONE


QUIET = ProcessKey(53, 850)


def nesting(found: list[dict[str, Any]]) -> list[tuple[str, str | None]]:
    """Each span's name and that of its parent."""
    names = {span["spanId"]: span["name"] for span in found}
    return sorted((span["name"], names.get(span.get("parentSpanId") or "")) for span in found)


EGRESS = "connect 192.0.2.7:443"
TREE = [("bash", "build"), ("build", None), (EGRESS, "curl"), ("curl", "npm"), ("npm", "bash")]


def test_a_trace_nests_job_programs_and_egress(tmp_path: Path) -> None:
    account = run(BUILD, tmp_path)
    assert nesting(spans(tmp_path)) == TREE
    assert str(account) == "attempts 1 = exported 1 + aggregated 0 + dropped 0 + pending 0"


def test_a_program_without_egress_has_a_span_only_when_all_have(tmp_path: Path) -> None:
    quiet: list[Event] = [forked(QUIET, ROOT), execed(QUIET, "true"), Exited(860, QUIET, 0)]
    run([*BUILD, *quiet], tmp_path / "network", process_spans=NETWORK)
    run([*BUILD, *quiet], tmp_path / "all", process_spans=ALL)
    assert nesting(spans(tmp_path / "network")) == TREE
    assert nesting(spans(tmp_path / "all")) == sorted([*TREE, ("true", "bash")])


def test_without_program_spans_there_are_job_and_leaves_alone(tmp_path: Path) -> None:
    run(BUILD, tmp_path, process_spans=NONE)
    assert nesting(spans(tmp_path)) == [("build", None), (EGRESS, "build")]


@pytest.mark.parametrize("mode", [NETWORK, ALL])
def test_an_ancestor_that_ended_before_the_act_has_one_span(tmp_path: Path, mode: ProcessSpans) -> None:
    daemon = [*BUILD[:5], Exited(820, CHILD, 0), acted(GRANDCHILD), acted(GRANDCHILD)]
    run(daemon, tmp_path, process_spans=mode)
    assert nesting(spans(tmp_path)) == sorted([*TREE, (EGRESS, "curl")])


def test_a_child_that_never_execs_is_there_when_all_are_also_left_behind(tmp_path: Path) -> None:
    ended, left = ProcessKey(60, 910), ProcessKey(61, 920)
    events: list[Event] = [
        execed(ROOT, "bash"),
        forked(ended, ROOT),
        Exited(915, ended, 0),
        forked(left, ROOT),
    ]
    run(events, tmp_path, process_spans=ALL)
    assert Counter(span["name"] for span in spans(tmp_path)) == {"bash": 3, "build": 1}


def test_what_runs_when_the_job_ends_ends_with_it_and_the_jobs_span_comes_last(tmp_path: Path) -> None:
    run([execed(ROOT, "bash"), acted(ROOT)], tmp_path)
    *_, bash, job = spans(tmp_path)
    assert (bash["name"], job["name"]) == ("bash", "build")
    assert bash["endTimeUnixNano"] == job["endTimeUnixNano"] == str(CLOCK.wall_ns(END_NS))


def attributes(span: dict[str, Any]) -> dict[str, Any]:
    return {one["key"]: next(iter(one["value"].values())) for one in span["attributes"]}


def named(directory: Path, name: str) -> list[dict[str, Any]]:
    return [span for span in spans(directory) if span["name"] == name]


def test_a_connect_waits_for_its_end_and_one_that_never_comes_is_open(tmp_path: Path) -> None:
    first, second = acted(ROOT), ACT._replace(process=ROOT, cookie=78, at_ns=751)
    account = run([execed(ROOT, "bash"), first, second, ESTABLISHED, ENDED], tmp_path)
    found = [
        (attributes(span)["egress.outcome"], span["endTimeUnixNano"]) for span in named(tmp_path, EGRESS)
    ]
    assert found == [
        ("established", str(CLOCK.wall_ns(ENDED.at_ns))),
        ("open", str(CLOCK.wall_ns(END_NS))),
    ]
    assert str(account) == "attempts 2 = exported 2 + aggregated 0 + dropped 0 + pending 0"


def test_what_is_of_a_job_that_is_over_ends_with_what_is_of_none(tmp_path: Path) -> None:
    stray = execed(CHILD, "curl")._replace(scope=7)
    account = run([stray, acted(CHILD)], tmp_path, process_spans=ALL)
    assert (account.attempts, account.exported, sum(account.pending.values())) == (1, 1, 0)
    assert nesting(spans(tmp_path)) == [
        ("build", None),
        ("connect 192.0.2.7:443", "curl"),
        ("curl", "build"),
        ("unknown", "build"),
    ]


def test_connecting_a_socket_twice_is_two_attempts_and_the_first_has_the_outcome(tmp_path: Path) -> None:
    again = ACT._replace(process=ROOT, exec_id=1, at_ns=800)
    run([execed(ROOT, "bash"), acted(ROOT), again, ENDED], tmp_path)
    found = [attributes(span).get("egress.outcome") for span in named(tmp_path, EGRESS)]
    assert found == [None, "established"]


def test_beyond_the_most_that_are_held_the_oldest_is_told_as_open(tmp_path: Path) -> None:
    many = [
        ACT._replace(process=ROOT, cookie=number, at_ns=700 + number) for number in range(1, HELD_MAX + 4)
    ]
    late = ENDED._replace(cookie=1)
    account = run([execed(ROOT, "bash"), *many, late], tmp_path)
    first, *_ = named(tmp_path, EGRESS)
    assert attributes(first)["egress.outcome"] == "open"
    assert account.attempts == HELD_MAX + 3
    assert str(account).endswith("+ pending 0")


def test_what_was_counted_of_a_program_that_ended_is_its_own(tmp_path: Path) -> None:
    counted = AGGREGATE._replace(process=GRANDCHILD, exec_id=1, attempts=5_000)
    account = run([*BUILD[:5], *BUILD[6:], counted], tmp_path)
    (span,) = named(tmp_path, "send 192.0.2.7:53")
    assert attributes(span)["process.executable.name"] == "curl"
    assert attributes(span)["egress.attempts"] == "5000"
    assert nesting(spans(tmp_path)) == sorted(
        [*(pair for pair in TREE if pair[0] != EGRESS), ("send 192.0.2.7:53", "curl")]
    )
    assert str(account) == "attempts 5000 = exported 0 + aggregated 5000 + dropped 0 + pending 0"


def test_what_was_counted_for_nobody_hangs_on_the_job(tmp_path: Path) -> None:
    nobody = AGGREGATE._replace(process=ProcessKey(0, 0), exec_id=0, is_other=True, protocol=0)
    run([execed(ROOT, "bash"), nobody], tmp_path)
    assert nesting(spans(tmp_path)) == [("build", None), ("send _other", "build")]


def test_a_reused_pid_does_not_inherit_what_was_counted_of_another(tmp_path: Path) -> None:
    unknown = AGGREGATE._replace(process=ProcessKey(ROOT.pid, 1), exec_id=7)
    run([execed(ROOT, "bash"), unknown, acted(ROOT)], tmp_path)
    assert (EGRESS, "bash") in nesting(spans(tmp_path))
    assert ("send 192.0.2.7:53", "unknown") in nesting(spans(tmp_path))


HISTORY = [*BUILD[:5], acted(CHILD), Exited(820, CHILD, 0), acted(GRANDCHILD), Exited(900, GRANDCHILD, 0)]


@pytest.mark.parametrize("mode", [NETWORK, ALL])
@given(lost=st.sets(st.integers(0, len(HISTORY) - 1)))
def test_whatever_is_lost_every_attempt_has_one_leaf_and_every_parent_is_there(
    tmp_path_factory: pytest.TempPathFactory, mode: ProcessSpans, lost: set[int]
) -> None:
    directory = tmp_path_factory.mktemp("otlp")
    kept = [event for number, event in enumerate(HISTORY) if number not in lost]
    account = run(kept, directory, process_spans=mode)
    found = spans(directory)
    ids = Counter(span["spanId"] for span in found)
    assert set(ids.values()) == {1}
    assert all(span["parentSpanId"] in ids for span in found if span.get("parentSpanId"))
    leaves = sum(span["name"] == EGRESS for span in found)
    assert leaves == account.exported == sum(isinstance(event, Acted) for event in kept)
