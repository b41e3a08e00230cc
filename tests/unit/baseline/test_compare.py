"""What differs between two baselines: what is known and by whom, and never when or how often."""

from __future__ import annotations

from dataclasses import replace
from datetime import date

import pytest
from hypothesis import given

from exporter.baseline.compare import NAMES_SHOWN, Difference, compare, difference_fields, difference_lines
from exporter.baseline.model import Baseline, Entry, History, Task
from exporter.common.text import json_line
from exporter.policy.model import Name
from tests.unit.baseline.files import with_entries
from tests.unit.baseline.strategies import baselines

BUILD = "pipeline: release, task: build, port: 443, transport: tcp"


def known(*entries: str) -> Baseline:
    return with_entries(*(f"{BUILD}, {entry}" for entry in entries))


def lines(old: Baseline, new: Baseline) -> list[str]:
    return list(difference_lines(compare(old, new)))


def test_what_was_added_removed_and_changed_is_told_sorted() -> None:
    old = known(
        "destination: b.example, lineage: [[bash, curl]]",
        "destination: c.example, lineage: [[bash], [bash, git]]",
        "destination: d.example, lineage: any",
        "destination: e.example, lineage: [[bash]]",
    )
    new = known(
        "destination: a.example, lineage: [[bash, npm], [bash, npm, node]]",
        "destination: c.example, lineage: [[bash], [bash, npm]]",
        "destination: d.example, lineage: [[bash]]",
        "destination: e.example, lineage: any",
    )
    assert lines(old, new) == [
        "+ release, build: a.example:443  bash > npm; bash > npm > node",
        "- release, build: b.example:443  bash > curl",
        "~ release, build: c.example:443  now also bash > npm, no longer bash > git",
        "~ release, build: d.example:443  no longer any program",
        "~ release, build: e.example:443  now also any program",
    ]


def test_names_that_became_a_wildcard_are_told_with_it_alone() -> None:
    old = known(*(f"destination: {name}.cdn.example, lineage: [[bash]]" for name in "abc"))
    new = known('destination: "*.cdn.example", lineage: [[bash], [npm]]')
    names = "a.cdn.example, b.cdn.example, c.cdn.example"
    told = f"any name below cdn.example is known now, in place of {names}; now also npm"
    assert lines(old, new) == [f"* release, build: *.cdn.example:443  {told}"]
    assert compare(old, new).added == compare(old, new).removed == ()
    assert lines(new, old)[0] == "- release, build: *.cdn.example:443  bash; npm"
    assert len(lines(new, old)) == 4


def test_of_many_names_the_first_are_told() -> None:
    old = known(*(f"destination: {name}.cdn.example, lineage: any" for name in "abcdefg"))
    (line,) = lines(old, known('destination: "*.cdn.example", lineage: any'))
    assert line.endswith("e.cdn.example and 2 more")
    assert line.count(".cdn.example") == NAMES_SHOWN + 1  # and the wildcard


@pytest.mark.parametrize("other", ["port: 80", "transport: udp", "task: test", "destination: cdn.example"])
def test_a_name_of_another_port_transport_or_task_and_the_apex_are_no_part_of_a_wildcard(other: str) -> None:
    key = other.partition(":")[0]
    fields = {
        **{each.partition(":")[0]: each for each in BUILD.split(", ")},
        "destination": "destination: a.cdn.example",
    }
    old = with_entries(", ".join({**fields, key: other}.values()) + ", lineage: any")
    assert [line[0] for line in lines(old, known('destination: "*.cdn.example", lineage: any'))].count(
        "*"
    ) == 0


def test_dates_counts_and_the_order_in_the_file_are_no_difference() -> None:
    entry = Entry(Task("release", "build"), Name("a.example"), 443, "tcp", None, date(2026, 1, 1), runs=3)
    old = Baseline((entry,), {"release": History(3, 1, date(2026, 1, 1))})
    new = Baseline((replace(entry, first_seen=None, runs=9, line=7),))
    assert compare(old, new).is_none
    assert lines(old, new) == []


@given(baselines, baselines)
def test_a_difference_is_none_only_of_what_knows_the_same(old: Baseline, new: Baseline) -> None:
    difference = compare(old, new)
    told = [{entry.subject: entry.lineages for entry in each.entries} for each in (old, new)]
    assert difference.is_none == (told[0] == told[1])
    assert all(line.isprintable() for line in difference_lines(difference))
    assert json_line(difference_fields(difference))
    assert counted_of(difference) == {
        "gone": len(told[0].keys() - told[1].keys()),
        "come": len(told[1].keys() - told[0].keys()),
    }


def counted_of(difference: Difference) -> dict[str, int]:
    return {
        "gone": len(difference.removed) + sum(len(fold.names) for fold in difference.folded),
        "come": len(difference.added) + len(difference.folded),
    }
