"""A baseline from files: however spans are spread over them, and whichever process reads them."""

from __future__ import annotations

import gzip
import os
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from exporter.baseline import learn as learning
from exporter.baseline import seen as limits
from exporter.baseline.conclude import conclude
from exporter.baseline.learn import read_files
from exporter.baseline.model import Task
from exporter.baseline.novelty import Novelty
from exporter.baseline.seen import Seen
from exporter.common.errors import UsageError
from exporter.common.net.addresses import address
from exporter.events.destinations import Destination
from exporter.otlp.reading.spans import EgressSpan
from tests.unit.baseline.spans import FIRST_NS, learnt, learnt_from, line, seen_of, span

PEER = bytes(10) + b"\xff\xff" + bytes([192, 0, 2, 80])
HOSTS = ("a.cdn.example", "b.cdn.example", "c.cdn.example", "d.example", "192.0.2.1", "_other")
SPANS = st.builds(
    span,
    st.sampled_from(HOSTS),
    run=st.integers(1, 9),
    task=st.sampled_from((None, "build", "test")),
    pipeline=st.sampled_from((None, "release", "nightly")),
    chain=st.lists(st.sampled_from("xyz"), max_size=3),
    started_ns=st.integers(FIRST_NS, FIRST_NS + 20),
    egress_verdict=st.sampled_from(("allow", "audit", "deny")),
)


@given(parts=st.lists(st.lists(SPANS, max_size=20), max_size=5))
@settings(max_examples=200, deadline=None)
def test_parts_add_up_to_what_one_process_learns(parts: list[list[EgressSpan]]) -> None:
    together = Seen()
    for part in parts:
        together.merge(seen_of(part))
    assert conclude(together) == learnt(each for part in parts for each in part)


def test_destinations_of_parts_that_find_no_room_are_told_as_such(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(limits, "DESTINATIONS_MAX", 3)
    together = seen_of([span(f"{name}.example", egress_attempts=5) for name in "abc"])
    together.merge(seen_of([span(f"{name}.example", egress_attempts=5) for name in "cde"]))
    made = conclude(together)
    assert [str(entry.host) for entry in made.baseline.entries] == ["a.example", "b.example", "c.example"]
    assert [note for note in made.notes if note.startswith("not learnt")] == [
        f"not learnt: 2 destinations of some files, {limits.NO_ROOM}"
    ]


@given(spans=st.lists(SPANS, max_size=40), data=st.data())
@settings(max_examples=100, deadline=None)
def test_the_order_of_spans_makes_no_difference(spans: list[EgressSpan], data: st.DataObject) -> None:
    assert learnt(data.draw(st.permutations(spans))) == learnt(spans)


@given(spans=st.lists(SPANS, max_size=40))
@settings(max_examples=100, deadline=None)
def test_what_was_learnt_is_not_novel(spans: list[EgressSpan]) -> None:
    """And what was left out is."""
    baseline = learnt(spans).baseline
    for each in (one.attributes for one in spans):
        task = Task(each.get("cicd.pipeline.name"), each.get("cicd.pipeline.task.name"))
        peer = address(PEER)
        where = Destination(each["server.address"], each["server.port"], each["network.transport"], peer)
        was_learnt = each["egress.verdict"] != "deny" and where.host != "_other" and each["egress.lineage"]
        if was_learnt:
            assert not Novelty(baseline, task).is_novel(where, tuple(each["egress.lineage"]))
        if where.host == "_other" or not each["egress.lineage"]:
            assert Novelty(baseline, task).is_novel(where, tuple(each["egress.lineage"]))


def many_chains(first: int) -> list[EgressSpan]:
    return [span(chain=("bash", f"tool-{number}")) for number in range(first, first + 40)]


def test_parts_that_each_have_few_chains_have_too_many_together() -> None:
    together = seen_of(many_chains(0))
    together.merge(seen_of(many_chains(30)))
    assert conclude(together) == learnt([*many_chains(0), *many_chains(30)])
    assert [entry.lineages for entry in conclude(together).baseline.entries] == [None]


def test_files_are_read_side_by_side_to_the_same_baseline(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(learning, "_SHARE_BYTES", (1, 2000))
    for number in range(7):
        runs = (span(f"host-{number % 3}.example", run=run) for run in range(number, 4 * number + 3))
        (tmp_path / f"traces.{number}.jsonl").write_bytes(b"".join(line([each]) for each in runs))
    files = sorted(tmp_path.iterdir())
    told: list[int] = []
    together = read_files(files, on_progress=told.append, processes=2)
    assert conclude(together) == conclude(read_files(files, processes=1))
    assert sum(told) == sum(file.stat().st_size for file in files)


def test_an_error_of_another_process_is_told_as_such(tmp_path: Path) -> None:
    (tmp_path / "traces.1.jsonl").write_bytes(line([span()]) + b"broken\n")
    (tmp_path / "traces.2.jsonl").write_bytes(line([span()]))
    with pytest.raises(UsageError, match=r"traces\.1\.jsonl:2:1: not a line of OTLP spans; name files"):
        read_files(sorted(tmp_path.iterdir()), processes=2)


def test_a_run_may_be_spread_over_files_plain_and_compressed(tmp_path: Path) -> None:
    (tmp_path / "traces.jsonl").write_bytes(line([span(), span(run=2)]) + line([span("b.example")]))
    (tmp_path / "traces.1.jsonl.gz").write_bytes(gzip.compress(line([span(), span("b.example")])))
    result = learnt_from(tmp_path)
    assert result == learnt([span(), span(run=2), span("b.example")])
    assert [entry.runs for entry in result.baseline.entries] == [1, 2]


def test_spans_of_other_producers_are_passed_over(tmp_path: Path) -> None:
    path = tmp_path / "collected.jsonl"
    path.write_bytes(line([span("noise.example")], scope="urllib3") + line([span()]))
    assert learnt_from(path) == learnt([span()])


@pytest.mark.parametrize(
    ("text", "found"),
    [(b"", "no egress span in"), (line([span(run=None)] * 2), "2 egress spans, none of a job, in")],
)
def test_files_without_a_job_are_an_error(tmp_path: Path, text: bytes, found: str) -> None:
    path = tmp_path / "traces.jsonl"
    path.write_bytes(text)
    with pytest.raises(UsageError, match=f"^{found} {path}; name"):
        learnt_from(path)


def test_a_job_that_connects_to_nothing_but_itself_has_an_empty_baseline(tmp_path: Path) -> None:
    path = tmp_path / "traces.jsonl"
    path.write_bytes(line([span(network_peer_address="127.0.0.1")]))
    result = learnt_from(path)
    assert result.baseline.entries == ()
    assert result.baseline.histories["release"].runs == 1


def test_a_pipe_is_read_as_well() -> None:
    reading, writing = os.pipe()
    os.write(writing, line([span()]))
    os.close(writing)
    try:
        assert learnt_from(Path(f"/dev/fd/{reading}")) == learnt([span()])
    finally:
        os.close(reading)


@pytest.mark.parametrize("processes", [1, 2])
def test_of_a_repository_only_its_runs_are_learnt(tmp_path: Path, processes: int) -> None:
    for number, (owner, name) in enumerate((("bank", "ledger"), ("shop", "cart"), ("", ""))):
        resource = {"vcs.owner.name": owner, "vcs.repository.name": name}
        (tmp_path / f"traces.{number}.jsonl").write_bytes(
            line([span(f"{number}.example")], resource=resource)
        )
    files = sorted(tmp_path.iterdir())
    result = conclude(read_files(files, repository="shop/cart", processes=processes))
    assert [str(entry.host) for entry in result.baseline.entries] == ["1.example"]
    assert result.notes == ("not learnt: 2 attempts of other repositories, or of none that is known",)
