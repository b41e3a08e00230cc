"""Names that vary become a wildcard; names that are there each time, or of several owners, never do."""

from __future__ import annotations

from collections.abc import Sequence

import pytest
from hypothesis import given
from hypothesis import strategies as st

from exporter.baseline import seen as limits
from exporter.baseline.conclude import Learnt
from exporter.baseline.fold import folds, registrable
from exporter.policy.model import Name
from tests.unit.baseline.spans import CHAIN, learnt, span


def hosts(result: Learnt) -> list[str]:
    return [str(entry.host) for entry in result.baseline.entries]


def met_once_each(names: Sequence[str], *, of_runs: int = 10) -> Learnt:
    """Each name in a run of its own; a host that all runs have, too."""
    spans = [span("always.example", run=run) for run in range(of_runs)]
    return learnt(spans + [span(name, run=run) for run, name in enumerate(names)])


def test_three_names_that_vary_become_a_wildcard_that_says_so() -> None:
    result = met_once_each(["a1.cdn.files.example", "b2.cdn.files.example", "c3.cdn.files.example"])
    assert hosts(result) == ["*.cdn.files.example", "always.example"]
    wildcard = result.baseline.entries[0]
    assert wildcard.folded == ("a1.cdn.files.example", "b2.cdn.files.example", "c3.cdn.files.example")
    assert wildcard.runs == 3
    assert wildcard.lineages == frozenset({CHAIN})
    (note,) = result.notes
    assert note.startswith(
        "release/build: *.cdn.files.example:443 stands for 3 names that vary from run to run; "
    )


def test_two_names_stay_what_they_are() -> None:
    assert hosts(met_once_each(["a.cdn.example", "b.cdn.example"])) == [
        "a.cdn.example",
        "always.example",
        "b.cdn.example",
    ]


@pytest.mark.parametrize("runs", [2, 5, 10])
def test_names_that_every_run_has_never_fold(runs: int) -> None:
    names = ["api.x.example", "cdn.x.example", "www.x.example", "x.example"]
    assert hosts(learnt(span(name, run=run) for name in names for run in range(runs))) == names


def test_names_in_half_of_the_runs_do_not_vary_enough() -> None:
    names = ["a.cdn.example", "b.cdn.example", "c.cdn.example"]
    spans = [span(name, run=2 * run + number % 2) for number, name in enumerate(names) for run in range(5)]
    assert hosts(learnt(spans)) == names


def test_one_run_says_nothing_of_what_varies() -> None:
    names = [f"{letter}.cdn.example" for letter in "abcdef"]
    assert hosts(learnt(span(name) for name in names)) == names


def test_runs_that_are_not_counted_say_nothing_of_what_varies(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(limits, "RUNS_MAX", 1)
    names = ["a.cdn.example", "b.cdn.example", "c.cdn.example"]
    spans = [span(pipeline="nightly"), *(span(name, run=run) for run in range(3) for name in names)]
    assert hosts(learnt(spans)) == ["registry.example", *names]


def test_a_name_that_is_always_there_stays_beside_the_wildcard() -> None:
    spans = [span("www.cdn.example", run=run) for run in range(10)]
    spans += [span(f"{letter}.cdn.example", run=run) for run, letter in enumerate("abc")]
    assert hosts(learnt(spans)) == ["*.cdn.example", "www.cdn.example"]


@pytest.mark.parametrize(
    "zone", ["cloudfront.net", "s3.amazonaws.com", "github.io", "blob.core.windows.net", "com", "co.uk"]
)
def test_tenants_of_one_provider_are_never_folded_together(zone: str) -> None:
    names = [f"{letter}.{zone}" for letter in "abcd"]
    assert hosts(met_once_each(names)) == sorted([*names, "always.example"])


def test_names_of_one_tenant_are() -> None:
    names = [f"{letter}.bucket.s3.amazonaws.com" for letter in "abcd"]
    assert hosts(met_once_each(names)) == ["*.bucket.s3.amazonaws.com", "always.example"]


def test_ports_transports_and_tasks_are_folded_apart() -> None:
    spans = [span("always.example", run=run) for run in range(10)]
    spans += [
        span("a.cdn.example", run=1),
        span("b.cdn.example", run=2, port=80),
        span("c.cdn.example", run=3, network_transport="udp"),
        span("d.cdn.example", run=4, task="test"),
    ]
    assert not any(host.startswith("*") for host in hosts(learnt(spans)))


def test_addresses_never_fold() -> None:
    names = [f"192.0.2.{number}" for number in range(5)]
    assert hosts(met_once_each(names)) == [*names, "always.example"]


def test_a_folded_name_that_is_met_again_is_nothing_new() -> None:
    spans = [span(f"n{run}.cdn.example", run=run) for run in range(20)]
    assert learnt(spans).baseline.histories["release"].quiet_runs == 19


@pytest.mark.parametrize(
    ("names", "expected"),
    [
        ("a.x.example b.x.example c.x.example", {"x.example": 3}),
        ("a.d.x.example b.d.x.example c.d.x.example f.x.example", {"d.x.example": 3}),
        ("a.d.x.example b.d.x.example c.e.x.example", {"x.example": 3}),
        ("a.1.x.example a.2.x.example a.3.x.example", {"x.example": 3}),
        ("1.d.x.example 2.d.x.example 3.d.x.example d.x.example", {"d.x.example": 3}),
        ("1.d.x.example 2.d.x.example d.x.example", {"x.example": 3}),
        (
            "1.d.x.example 2.d.x.example 3.d.x.example 1.e.x.example 2.e.x.example 3.e.x.example",
            {"d.x.example": 3, "e.x.example": 3},
        ),
        ("a.x.example b.x.example", {}),
    ],
)
def test_a_wildcard_is_as_narrow_as_three_names_allow(names: str, expected: dict[str, int]) -> None:
    assert {parent: len(found) for parent, found in folds(names.split()).items()} == expected


LABELS = st.sampled_from(("a", "b", "c", "d", "cdn"))
OWNERS = st.sampled_from(("x.example", "y.example", "t1.github.io", "t2.github.io", "shop.co.uk"))
NAMES = st.builds(lambda labels, owner: ".".join([*labels, owner]), st.lists(LABELS, max_size=4), OWNERS)


@given(names=st.lists(NAMES, unique=True, max_size=30))
def test_each_name_is_covered_and_no_wildcard_goes_beyond_its_owner(names: list[str]) -> None:
    result = met_once_each(names, of_runs=max(len(names), 3) + 1)
    entries = [entry for entry in result.baseline.entries if str(entry.host) != "always.example"]
    for name in names:
        (entry,) = [each for each in entries if name in each.folded or str(each.host) == name]
        assert isinstance(entry.host, Name)
        assert entry.host.covers(name)
    for entry in entries:
        if entry.folded:
            assert isinstance(entry.host, Name)
            assert entry.host.is_wildcard
            assert len(entry.folded) >= 3
            assert not entry.host.covers(entry.host.text)
            owners = {registrable(name) for name in (*entry.folded, entry.host.text)}
            assert len(owners) == 1
            assert None not in owners
