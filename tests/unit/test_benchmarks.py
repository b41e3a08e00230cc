"""What the benchmarks conclude from what they measured, and that what they feed in is real."""

from __future__ import annotations

import json
import os
from contextlib import closing
from typing import TYPE_CHECKING

import pytest

from benchmarks.baseline import runs_like
from benchmarks.compare import Round, alternate, middle, ratio
from benchmarks.figures import Figure
from benchmarks.records import build, connects, ring_of
from benchmarks.report import as_json, as_markdown, shown
from exporter.events.decode import Decoder
from exporter.events.facts import Acted, Event, Flowed, Outcome, ProcessKey
from exporter.kernel.maps.rings import Ring, drain

if TYPE_CHECKING:
    from collections.abc import Iterable

ROOT = ProcessKey(4242, 1_000_000)


def test_each_round_begins_with_another_measurement_and_keeps_them_apart() -> None:
    order: list[str] = []

    def measure(name: str, value: float) -> float:
        order.append(name)
        return value

    rounds = alternate(3, lambda: measure("without", 1.0), lambda: measure("with", 2.0))
    assert order == ["without", "with", "without", "with", "without", "without", "without", "without", "with"]
    assert rounds == [Round(1.0, 2.0, 1.0)] * 3


def test_a_ratio_is_taken_within_rounds_so_that_a_machine_that_slows_down_cancels_out() -> None:
    rounds = [Round(100 * speed, 110 * speed, 100 * speed) for speed in (1, 2, 9)]
    figure = ratio("loop", rounds, limit=1.05)
    assert figure.value == pytest.approx(1.1)
    assert "control ×1.000" in figure.note
    assert not figure.is_kept


def test_one_disturbed_round_does_not_move_a_ratio() -> None:
    rounds = [Round(100, 101, 100), Round(100, 900, 100), Round(100, 102, 100)]
    assert ratio("loop", rounds).value == pytest.approx(1.02)


def test_a_median_shows_its_extremes() -> None:
    figure = middle("start", [0.5, 0.4, 0.9], "s", limit=0.7)
    assert (figure.value, figure.note, figure.is_kept) == (0.5, "0.4 to 0.9 in 3", True)


@pytest.mark.parametrize(
    ("value", "limit", "kept"), [(600, 600, True), (600.1, 600, False), (9e9, None, True)]
)
def test_a_limit_is_kept_up_to_itself(value: float, limit: float | None, *, kept: bool) -> None:
    assert Figure("kernel", value, "ns", limit=limit).is_kept is kept


@pytest.mark.parametrize(
    ("value", "unit", "text"),
    [(1.0526, "×", "×1.053"), (183.4, "ns", "183 ns"), (61.14, "ns", "61.1 ns"), (0.561, "s", "0.56 s")],
)
def test_values_are_shown_with_the_digits_that_mean_something(value: float, unit: str, text: str) -> None:
    assert shown(value, unit) == text


def test_a_broken_limit_stands_out_in_markdown_and_json() -> None:
    figures = [Figure("start", 0.9, "s", "15 runs", 0.7), Figure("first", 1.5, "s")]
    assert as_markdown({"kernel": "6.18"}, figures).splitlines()[-2:] == [
        "| start | 0.90 s | 0.70 s | NO | 15 runs |",
        "| first | 1.50 s |  |  |  |",
    ]
    told = json.loads(as_json({"kernel": "6.18"}, figures))
    assert [figure["is_kept"] for figure in told["figures"]] == [False, True]


def drained(records: Iterable[bytes]) -> list[Event]:
    """What the exporter's own code reads from a ring of `records`."""
    listed = list(records)
    descriptor, size = ring_of(listed)
    decoder, events = Decoder(), list[Event]()
    try:
        with closing(Ring(descriptor, size)) as ring:
            drained = drain(
                [ring], lambda *record: events.extend(decoder.decode(*record)), limit=len(listed) + 1
            )
    finally:
        os.close(descriptor)
    assert drained.number == len(listed)
    return events


def test_connects_are_the_roots_and_each_succeeds_and_ends() -> None:
    events = drained(connects(ROOT, 100))
    assert [type(event).__name__ for event in events] == ["Acted", "Flowed", "Flowed"] * 100
    assert {event.process for event in events if isinstance(event, Acted)} == {ROOT}
    assert {event.outcome for event in events if isinstance(event, Flowed)} == {Outcome.ESTABLISHED}


def test_a_build_is_processes_that_live_connect_and_end() -> None:
    events = drained(build(ROOT, 40))
    connection = ["Acted", "Flowed", "Flowed"]
    life = ["Forked", "Execed", *connection, *connection, "Exited"]
    assert [type(event).__name__ for event in events] == life * 40
    assert len({event.process for event in events if isinstance(event, Acted)}) == 40


def test_runs_of_a_fleet_differ_in_run_time_and_one_host_only() -> None:
    def model(run: str, started_ns: int, pipeline: str, host: str) -> str:
        return f'["{run}", "{started_ns}", "{pipeline}", "connect {host}:80", "x 1207", "192.0.2.1"]\n'

    first_ns = 1_795_633_494_528_748_259
    lines = runs_like(model("1207", first_ns, "release", "mirror.example"), 7, 3)
    day_ns = 86_400 * 10**9
    assert [*lines] == [
        model(str(run), first_ns + run * day_ns, "pipeline-007", f"m{run}.mirror.example") for run in range(3)
    ]
