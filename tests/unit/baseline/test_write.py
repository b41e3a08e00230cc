"""A written baseline is the same when it is read, is made for review, and holds nothing that is obeyed."""

from __future__ import annotations

from dataclasses import replace
from datetime import date

import pytest
import yaml
from hypothesis import example, given

from exporter.baseline.model import Baseline, Entry, History, Task
from exporter.baseline.write import NAMES_SHOWN, baseline_lines
from exporter.policy.model import Name
from tests.unit.baseline.files import EXAMPLE, baseline
from tests.unit.baseline.strategies import HOSTILE, baselines

BASH, NPM = ("bash",), ("bash", "npm")


def text(written: Baseline) -> str:
    return "".join(f"{line}\n" for line in baseline_lines(written))


def body(written: Baseline) -> str:
    return text(written).partition("version: 1\n")[2]


def entry(host: str, task: str = "build", **more: object) -> Entry:
    is_wildcard = host.startswith("*.")
    name = Name(host.removeprefix("*."), is_wildcard)
    return Entry(Task("release", task), name, 443, "tcp", frozenset({NPM}), **more)  # type: ignore[arg-type]


def test_an_entry_is_a_block_in_the_order_of_its_keys() -> None:
    written = Baseline(
        (
            entry("a.example", first_seen=date(2026, 11, 2), last_seen=date(2026, 11, 24), runs=412),
            Entry(Task(None, None), Name("b.example"), None, "icmp", None),
            Entry(Task("release", "test"), Name("b.example"), 80, "tcp", frozenset({NPM, BASH, ("a",)})),
        ),
        {"release": History(412, 40, date(2026, 11, 24))},
    )
    assert (
        body(written)
        == """\
entries:
  - destination: b.example
    transport: icmp
    lineage: any
  - pipeline: release
    task: build
    destination: a.example
    port: 443
    transport: tcp
    lineage:
      - [bash, npm]
    first_seen: 2026-11-02
    last_seen: 2026-11-24
    runs: 412
  - pipeline: release
    task: test
    destination: b.example
    port: 80
    transport: tcp
    lineage:
      - [a]
      - [bash]
      - [bash, npm]
pipelines:
  - pipeline: release
    runs: 412
    quiet_runs: 40
    last_run: 2026-11-24
"""
    )


def test_a_wildcard_says_above_it_which_names_it_stands_for() -> None:
    written = body(Baseline((entry("*.cdn.example", folded=("a.cdn.example", "b.cdn.example")),)))
    assert written.startswith(
        "entries:\n  # stands for a.cdn.example, b.cdn.example\n  - pipeline: release\n"
    )
    assert '    destination: "*.cdn.example"\n' in written


def test_of_many_names_the_first_are_told_on_lines_that_fit() -> None:
    names = tuple(f"host-{number}.cdn.example" for number in range(NAMES_SHOWN + 7))
    lines = body(Baseline((entry("*.cdn.example", folded=names),))).splitlines()
    comment = [line for line in lines if line.startswith("  # ")]
    assert max(map(len, lines)) <= 104
    assert len(comment) > 1
    assert comment[-1].endswith(f"host-{NAMES_SHOWN - 1}.cdn.example, and 7 more")


def test_names_in_a_comment_do_not_leave_it() -> None:
    written = Baseline((entry("*.cdn.example", folded=("a\n  - pipeline: evil", "\x1b[2J\u2028")),))
    assert text(written).isascii()
    assert "\x1b" not in text(written)
    assert baseline(text(written)) == written


def test_a_change_of_one_destination_changes_its_lines_alone() -> None:
    before = [entry(f"{letter}.example") for letter in "acd"]
    more = body(Baseline((*before, entry("b.example")))).splitlines()
    less = body(Baseline(tuple(before))).splitlines()
    start = more.index("    destination: b.example") - 2
    assert more[:start] + more[start + 7 :] == less


def test_a_second_chain_is_a_line_of_its_own() -> None:
    one = entry("a.example")
    two = replace(one, lineages=frozenset({BASH, NPM}))
    before, after = (body(Baseline((each,))).splitlines() for each in (one, two))
    after.remove("      - [bash]")
    assert after == before


def test_the_example_is_written_as_it_was_read() -> None:
    lines = [line.partition("  #")[0].rstrip() for line in EXAMPLE.splitlines()]
    chain = lines.index("    lineage: [[bash, npm, node]]")
    lines[chain : chain + 1] = ["    lineage:", "      - [bash, npm, node]"]
    assert body(baseline(EXAMPLE)).splitlines() == lines[1:]


@given(baselines)
@example(Baseline())
@example(Baseline((entry("a.example"),), {None: History(1, 0, date(2026, 1, 1))}))
def test_whatever_the_names_reading_what_was_written_gives_the_same(written: Baseline) -> None:
    assert baseline(text(written)) == written
    assert all(line.isprintable() for line in text(written).split("\n"))


@pytest.mark.parametrize("name", HOSTILE[1:])
def test_other_readers_of_yaml_find_the_same_text(name: str) -> None:
    written = text(Baseline((entry("a.example", name),)))
    assert yaml.safe_load(written)["entries"][0]["task"] == name
