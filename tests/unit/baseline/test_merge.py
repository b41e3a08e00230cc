"""Learning onto a baseline: what it has stays, and what runs have is added."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import date

import pytest
from hypothesis import given

from exporter.baseline import conclude as concluding
from exporter.baseline.compare import compare, difference_lines
from exporter.baseline.conclude import Learnt, conclude
from exporter.baseline.model import Baseline, History
from exporter.baseline.seen import CHAINS_MAX
from exporter.common.errors import UsageError
from exporter.otlp.reading.spans import EgressSpan
from tests.unit.baseline.files import with_entries
from tests.unit.baseline.spans import seen_of, span
from tests.unit.baseline.strategies import baselines

BUILD = "pipeline: release, task: build, port: 443, transport: tcp"


def onto(before: Baseline, spans: Iterable[EgressSpan]) -> Learnt:
    return conclude(seen_of(spans), before)


def gained(before: Baseline, spans: Iterable[EgressSpan]) -> list[str]:
    """As `baseline diff` tells it."""
    return list(difference_lines(compare(before, onto(before, spans).baseline)))


def test_dates_widen_and_runs_and_chains_add_up() -> None:
    seen = "first_seen: 2026-11-03, last_seen: 2026-11-04, runs: 5"
    before = with_entries(f"{BUILD}, destination: registry.example, lineage: [[make]], {seen}")
    (entry,) = onto(before, [span(run=0), span(run=20)]).baseline.entries
    assert entry.lineages == frozenset({("make",), ("bash", "npm")})
    assert (entry.first_seen, entry.last_seen, entry.runs) == (date(2026, 11, 2), date(2026, 11, 22), 7)


def test_what_a_person_wrote_stays_without_being_met() -> None:
    before = with_entries(
        f"{BUILD}, destination: by-hand.example, lineage: any",
        "task: other, destination: 192.0.2.1, transport: icmp, lineage: [[ping]]",
    )
    after = onto(before, [span()]).baseline
    assert {*before.entries} < {*after.entries}
    assert len(after.entries) == 3


def test_any_program_stays_any() -> None:
    before = with_entries(f"{BUILD}, destination: registry.example, lineage: any")
    (entry,) = onto(before, [span()]).baseline.entries
    assert (entry.lineages, entry.runs) == (None, 1)


def test_a_name_that_a_wildcard_knows_counts_for_it_once_a_run() -> None:
    before = with_entries(f'{BUILD}, destination: "*.cdn.example", lineage: [[bash, npm], [make]], runs: 4')
    after = onto(before, [span(f"{name}.cdn.example", run=run) for name in "ab" for run in (1, 2)])
    assert [(str(each.host), each.runs) for each in after.baseline.entries] == [("*.cdn.example", 6)]


def test_another_program_below_a_wildcard_does_not_widen_the_whole_zone() -> None:
    before = with_entries(f'{BUILD}, destination: "*.cdn.example", lineage: [[bash, npm]]')
    told = gained(before, [span("a.cdn.example", chain=("bash", "curl"))])
    assert told == ["+ release, build: a.cdn.example:443  bash > curl"]


def test_names_that_vary_become_a_wildcard_beside_what_is_there() -> None:
    before = with_entries(f"{BUILD}, destination: a.cdn.example, lineage: any")
    spans = [span(f"{name}.cdn.example", run=run) for run, name in enumerate("abcd")]
    hosts = [str(entry.host) for entry in onto(before, spans).baseline.entries]
    assert hosts == ["*.cdn.example", "a.cdn.example"]


def test_more_chains_than_are_told_apart_become_any_and_that_is_told() -> None:
    chains = ", ".join(f"[tool-{number}]" for number in range(CHAINS_MAX))
    before = with_entries(f"{BUILD}, destination: registry.example, lineage: [{chains}]")
    after = onto(before, [span()])
    assert [entry.lineages for entry in after.baseline.entries] == [None]
    assert [note.partition(": `")[2] for note in after.notes] == [
        f"lineage: any`, since more than {CHAINS_MAX} chains reached it"
    ]


@pytest.mark.parametrize(
    ("spans", "quiet_runs"),
    [
        ([span(run=1), span(run=2)], 42),
        ([span(run=1), span("new.example", run=1), span(run=2)], 1),
        ([span(run=1), span("new.example", run=2)], 0),
        ([span(run=1, chain=("bash",)), span(run=2)], 1),
    ],
    ids=["nothing-new", "new-then-quiet", "new-at-last", "new-chain"],
)
def test_quiet_runs_go_on_until_a_run_brings_something(spans: list[EgressSpan], quiet_runs: int) -> None:
    known = with_entries(f"{BUILD}, destination: registry.example, lineage: [[bash, npm]]")
    before = Baseline(known.entries, {"release": History(412, 40, date(2026, 11, 24)), "other": OTHER})
    found = onto(before, spans).baseline.histories
    assert found == {"release": History(414, quiet_runs, date(2026, 11, 24)), "other": OTHER}


OTHER = History(3, 1, date(2026, 1, 1))


@given(baselines)
def test_nothing_that_is_known_gets_lost(before: Baseline) -> None:
    difference = compare(before, onto(before, [span(), span("b.a.example")]).baseline)
    assert (difference.removed, difference.folded) == ((), ())
    assert all(change.lost == [] for change in difference.changed)


def test_learning_onto_nothing_is_learning() -> None:
    spans = [span(f"{name}.cdn.example", run=run) for run, name in enumerate("abcd")]
    assert onto(Baseline(), spans) == conclude(seen_of(spans))


def test_more_entries_than_a_file_holds_are_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(concluding, "ENTRIES_MAX", 1)
    before = with_entries(f"{BUILD}, destination: by-hand.example, lineage: any")
    with pytest.raises(UsageError, match=r"^together they are more than 1 entries; make a baseline for each"):
        onto(before, [span()])


def test_what_was_novel_is_told_unless_it_is_known_already() -> None:
    novel = span("beacon.example", run="1209", egress_novel=True)
    what = "beacon.example:443 of release, build was novel when it was recorded (run 1209)"
    told = f"{what}: look at it before it is known"
    assert onto(Baseline(), [span(run="1208"), novel]).notes == (told,)
    known = with_entries(f"{BUILD}, destination: beacon.example, lineage: [[bash, npm]]")
    assert onto(known, [novel]).notes == ()
    assert onto(with_entries(f"{BUILD}, destination: beacon.example, lineage: [[bash]]"), [novel]).notes == (
        told,
    )
