"""What the page is made from: a tree whatever the files say, bounds, and what others say of recorded acts."""

from __future__ import annotations

from dataclasses import replace
from datetime import date
from ipaddress import ip_address
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from exporter.baseline.model import Baseline, Entry, Task
from exporter.pipeline.account import Account
from exporter.policy.hosts import parse_single_host
from exporter.policy.parse import parse_policy
from exporter.report.model import JobReport, Report
from exporter.report.page import data
from exporter.report.page.data import PageData, shown
from exporter.report.page.drafts import drafted
from exporter.report.page.rows import table_of
from exporter.report.page.tree import NONE, tree_of
from exporter.report.what_if import WhatIf
from tests.unit.report.builds import build
from tests.unit.report.hostile_report import hostile
from tests.unit.report.samples import act, program, sample, span_id

if TYPE_CHECKING:
    from exporter.report.model import ReportedAct

CHAIN = ("sh", "npm")


@given(st.lists(st.tuples(st.integers(0, 12), st.integers(0, 12)), max_size=12))
def test_each_program_is_there_once_behind_its_parent_whoever_that_is_said_to_be(
    pairs: list[tuple[int, int]],
) -> None:
    programs = tuple(program(number, f"p{number}", parent=parent) for number, parent in pairs)
    tree = tree_of(replace(build(), programs=programs), 100)
    assert len(tree.parents) == len({each.span_id for each in programs})
    assert all(parent < place for place, parent in enumerate(tree.parents))


def test_a_chain_of_programs_keeps_its_shape() -> None:
    programs = (program(3, "c", parent=2), program(1, "a"), program(2, "b", parent=1))
    tree = tree_of(replace(build(), programs=programs), 100)
    assert (tree.names, tree.parents) == (["a", "b", "c"], [NONE, 0, 1])


def test_acts_without_a_program_make_the_programs_of_their_lineage_once() -> None:
    tree = tree_of(job(), 100)
    first = act(1, "a.example", by=7, chain=CHAIN, command_line="npm ci", ancestors=("sh ci.sh",))
    second = act(2, "b.example", by=7, chain=CHAIN, command_line="npm test", ancestors=("sh ci.sh",))
    assert [tree.program_of(each) for each in (first, second, first)] == [1, 2, 1]
    assert tree.names == ["sh", "npm", "npm"]
    assert tree.command_lines == ["sh ci.sh", "npm ci", "npm test"]
    assert tree.program_of(replace(first, chain=())) == NONE
    cut = replace(first, ancestors=())  # as an exporter leaves it out where it isn't known
    assert tree.names[tree.program_of(cut)] == "npm"


def test_rows_begin_with_what_is_new_then_denied_then_failed_and_end_with_lookups_and_the_loopback() -> None:
    acts = [
        act(1, "often.example", by=1, chain=CHAIN, attempts=99),
        act(2, "denied.example", by=1, chain=CHAIN, verdict="deny", outcome="denied"),
        act(3, "127.0.0.1", by=1, chain=CHAIN, address="127.0.0.1", is_loopback=True, attempts=500),
        act(4, "new.example", by=1, chain=CHAIN, novel=True),
        act(5, "seldom.example", by=1, chain=CHAIN, outcome="refused"),
        act(6, "192.0.2.53", by=1, chain=CHAIN, port=53, transport="udp", attempts=1000),
        act(7, "large.example", by=1, chain=CHAIN, bytes_received=10**9),
    ]
    table = table_of(acts, WhatIf(job(*acts)))
    hosts = [row.destination.partition(":")[0] for row in table]
    assert hosts == [
        "new.example",
        "denied.example",
        "seldom.example",
        "large.example",
        "often.example",
        "192.0.2.53",
        "127.0.0.1",
    ]
    assert [counts.failed for counts in table.values()] == [0, 0, 1, 0, 0, 0, 0]


def test_a_row_has_all_names_that_its_lookups_asked_for() -> None:
    lookup = act(1, "192.0.2.53", by=1, chain=CHAIN, port=53, transport="udp")
    several = replace(lookup, question="a.example", names=("a.example", "b.example"))
    acts = [lookup, replace(lookup, question="c.example"), several]
    (counts,) = table_of(acts, WhatIf(job(*acts))).values()
    assert list(counts.questions) == ["c.example", "a.example", "b.example"]


def test_a_draft_allows_nothing_that_was_denied_or_would_be() -> None:
    acts = [
        act(1, "a.example", by=1, chain=CHAIN),
        act(2, "b.example", by=1, chain=CHAIN, verdict="deny", rule="b.example\nallow: ['*']"),
        act(3, "a.example", by=1, chain=("sh", "curl"), verdict="audit", rule="default"),
    ]
    made = drafted(job(*acts))
    assert made.endpoints == ["a.example:443"]
    assert [rule.text for rule in parse_policy("\n".join(made.lines).encode(), "policy.yaml").rules] == (
        made.endpoints
    )
    assert made.lines[-4:] == [
        "  # Left out: was denied, by b.example\\nallow: ['*']",
        '  # - "b.example:443"  # 1 ×: sh > npm',
        "  # Left out: would be denied, no rule allows it",
        '  # - "a.example:443"  # 1 ×: sh > curl; allowed above, as others reached it',
    ]
    nothing = drafted(job(acts[1]))
    assert nothing.endpoints == []
    assert parse_policy("\n".join(nothing.lines).encode(), "policy.yaml").rules == ()
    assert drafted(job()).lines == []


@pytest.mark.parametrize(
    ("changes", "novel", "is_known"),
    [
        ({}, False, None),
        ({"chain": ("sh", "curl")}, True, True),
        ({"chain": ()}, True, True),
        ({"host": "other.example"}, True, False),
        ({"host": "127.0.0.1", "address": "127.0.0.1", "is_loopback": True}, False, None),
        ({"transport": "udp", "rule": "answer", "host": "other.example"}, False, None),
        ({"transport": "udp", "port": 9, "outcome": None}, False, None),  # puts addresses in order
        ({"transport": "udp", "port": 9, "outcome": "sent"}, True, False),
    ],
)
def test_a_baseline_is_asked_as_a_run_asks_it(
    changes: dict[str, Any], novel: bool, is_known: bool | None
) -> None:
    day = date(2026, 11, 1)
    host = parse_single_host("known.example")
    entry = Entry(Task("release", "build"), host, 443, "tcp", frozenset({CHAIN}), day, day, 1)
    made = replace(act(1, "known.example", by=1, chain=CHAIN, novel=None), **changes)
    seen = WhatIf(job(), Baseline((entry,))).seen(made)
    assert (seen.novel, seen.is_known) == (novel, is_known)


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({}, ("allow", "*.example", 3)),
        ({"chain": ("sh", "git")}, ("allow", "*.example", 3)),
        ({"host": "192.0.2.9", "address": "192.0.2.9"}, ("deny", "192.0.2.0/24", 5)),
        ({"address": "192.0.2.9"}, ("deny", "192.0.2.0/24", 5)),
        ({"port": 80}, ("deny", "default", None)),
        ({"host": "_other", "address": None}, ("deny", "default", None)),
        ({"transport": "udp", "rule": "answer"}, ("allow", None, None)),
        (
            {"host": "198.51.100.53", "address": "198.51.100.53", "port": 53},
            ("allow", "resolvers: system", 2),
        ),
    ],
)
def test_a_policy_is_asked_with_what_is_known_of_an_act(
    changes: dict[str, Any], said: tuple[str, str | None, int | None]
) -> None:
    text = 'version: 1\nresolvers: system\nallow: ["*.example"]\ndeny:\n  - 192.0.2.0/24\n'
    policy = parse_policy(text.encode(), "policy.yaml")
    made = replace(act(1, "a.example", by=1, chain=CHAIN, address="198.51.100.1"), **changes)
    seen = WhatIf(job(), policy=policy, resolvers=[ip_address("198.51.100.53")]).seen(made)
    assert (seen.effect, seen.rule, seen.line) == said


@pytest.mark.parametrize(
    ("at_ms", "said"),
    [(0, ("deny", "default", False)), (20, ("allow", "a.example", True))],
    ids=["before", "after"],
)
def test_a_policy_lets_a_name_pass_once_the_job_was_at_its_address_by_an_allowed_one(
    at_ms: int, said: tuple[str, str, bool]
) -> None:
    policy = parse_policy(b"version: 1\nallow: [a.example]\n", "policy.yaml")
    acts = [
        act(1, "a.example", by=1, chain=CHAIN, at_ms=10),
        act(2, "b.example", by=1, chain=CHAIN, at_ms=at_ms),
    ]
    seen = WhatIf(job(*acts), policy=policy).seen(acts[1])
    assert (seen.effect, seen.rule, seen.is_shared) == said


def test_a_denied_name_is_denied_to_all_names_of_its_address() -> None:
    policy = parse_policy(b"version: 1\nallow: [a.example]\ndeny: [b.example]\n", "policy.yaml")
    acts = [act(1, "b.example", by=1, chain=CHAIN), act(2, "a.example", by=1, chain=CHAIN, at_ms=10)]
    seen = WhatIf(job(*acts), policy=policy).seen(acts[1])
    assert (seen.effect, seen.rule, seen.is_shared) == ("deny", "b.example", False)


def test_what_is_beyond_the_bounds_is_counted_and_said(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(data, "ACTS_MAX", 10)
    monkeypatch.setattr(data, "PROGRAMS_MAX", 3)
    fields = PageData(sample(build(), build())).fields
    first, second = fields["jobs"]
    assert len(first["acts"]["row"]) == 10
    assert len(second["acts"]["row"]) == 0
    assert sum(row["attempts"] for row in second["rows"]) == 223
    assert fields["notes"] == ["78 acts are counted in the tables, and not listed one by one."]


def test_texts_take_no_more_than_their_share(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(data, "TEXTS_MAX", 5000)
    acts = [act(n, "a.example", by=1, chain=CHAIN, command_line=f"{n}" * 3000) for n in range(1, 50)]
    fields = PageData(Report([job(*acts)])).fields
    assert sum(map(len, fields["texts"])) < 5000 + 2 * data.TEXT_MAX + 50 * 80
    assert fields["notes"] == ["Long command lines are cut."]


def test_the_account_stands_for_all_jobs_and_says_what_is_missing() -> None:
    account = Account(10, 4, 1, {("kernel", "ring_full"): 2, ("queue", "full"): 1}, {"ring": 0, "spool": 2})
    fields = PageData(Report([build()], account, left_out=1234)).fields
    assert fields["account"] == {"attempts": 10, "exported": 4, "aggregated": 1, "dropped": 3, "pending": 2}
    assert "1,234 attempts went to further destinations" in fields["notes"][0]


def test_what_a_reader_would_not_see_is_written_out() -> None:
    assert shown("a\u202eb\x1b[0m\nc") == "a\\u202eb\\x1b[0m\\nc"
    assert shown("ordinary – text") == "ordinary – text"
    assert shown("x" * 500, 20) == "x" * 19 + "…"
    assert all(text.isprintable() for text in PageData(hostile()).fields["texts"])


@given(st.integers(-(1 << 63), 1 << 63), st.integers(-(1 << 63), 1 << 63))
def test_no_time_is_too_odd(started_ns: int, ended_ns: int) -> None:
    odd = replace(build(), started_ns=started_ns, ended_ns=ended_ns)
    (fields,) = PageData(Report([odd])).fields["jobs"]
    assert fields["duration"] >= 0
    assert fields["started"] is None or fields["started"].endswith("UTC")


def job(*acts: ReportedAct) -> JobReport:
    """The build's, with these acts and no program."""
    return replace(build(), programs=(), acts=acts, span_id=span_id(9))
