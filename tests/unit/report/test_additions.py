"""What is offered to be pasted is what the files take, and says just what was met."""

from __future__ import annotations

from dataclasses import replace
from datetime import date

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from exporter.baseline.model import Baseline, Entry, Task
from exporter.baseline.parse import parse_baseline
from exporter.baseline.write import baseline_lines
from exporter.pipeline.summary_table import Counted
from exporter.policy.model import Name, Policy
from exporter.policy.parse import parse_allowed_endpoints, parse_policy
from exporter.report.additions import additions
from exporter.report.markdown import render
from exporter.report.sheet import Sheet
from tests.unit.report.sheets import ACCOUNT, blocks, row, sheet, shown

DAY = date(2026, 11, 24)
TASK = Task("release", "build")
EVIL = ("bash", "npm", "node", "sh", "curl")


def entry(host: str, *chains: tuple[str, ...], runs: int | None = 1) -> Entry:
    return Entry(TASK, Name(host), 443, "tcp", frozenset(chains), DAY, DAY, runs)


def page(made: Sheet) -> str:
    return render([made], account=ACCOUNT, trace_url=None)


def entries(block: str) -> tuple[Entry, ...]:
    return parse_baseline(f"version: 1\nentries:\n{block}".encode(), "baseline").entries


def policy(block: str) -> Policy:
    return parse_policy(f"version: 1\nallow:\n{block}".encode(), "policy")


def rules(made: Policy) -> list[str]:
    return [rule.text for rule in made.rules]


def test_a_baseline_takes_the_entries_as_they_are() -> None:
    made = sheet(
        row("registry.example", novel=False),
        row("evil.example", chain=EVIL, novel=True, attempts=3),
        row("evil.example", chain=("bash", "wget"), novel=True),
        row("192.0.2.53", 53, "udp", novel=True),
        row("2001:db8::9", None, "ipv6-icmp", novel=True),
        row("127.0.0.1", 80, loopback=True, novel=False),
    )
    (block,) = blocks(page(made))
    found = entries(block)
    assert [(str(each.host), each.port, each.transport) for each in found] == [
        ("192.0.2.53", 53, "udp"),
        ("2001:db8::9", None, "ipv6-icmp"),
        ("evil.example", 443, "tcp"),
    ]
    assert found[-1] == entry("evil.example", EVIL, ("bash", "wget"))
    both = Baseline((entry("registry.example", ("bash", "npm")),))
    text = "\n".join(baseline_lines(both)).replace("entries:\n", f"entries:\n{block}")
    assert len(parse_baseline(text.encode(), "baseline").entries) == 4


def test_a_destination_that_is_known_with_other_chains_gets_its_entry_with_more_of_them() -> None:
    known = entry("registry.example", ("bash", "npm"), runs=412)
    made = sheet(row(chain=EVIL, novel=True), row("evil.example", novel=True))
    added, changed = blocks(page(replace(made, baseline=Baseline((known,)))))
    assert entries(added) == (entry("evil.example", ("bash", "npm")),)
    assert entries(changed) == (replace(known, lineages=frozenset({("bash", "npm"), EVIL})),)


def test_what_is_denied_or_has_no_name_is_in_no_entry_and_that_is_said() -> None:
    made = sheet(
        row("evil.example", novel=True),
        row("worse.example", novel=True, verdict="deny", attempts=2, rule="default"),
        row("_other", None, novel=True, attempts=5),
        row("two words", novel=True, attempts=1),
    )
    text = page(made)
    (block,) = blocks(text)
    assert entries(block) == (entry("evil.example", ("bash", "npm")),)
    assert "8 attempts can't be added" in shown(text).text()


def test_a_policy_takes_what_it_has_no_rule_for_but_not_what_was_denied() -> None:
    made = sheet(
        row("registry.example", verdict="allow", rule="registry.example:443"),
        row("evil.example", verdict="audit", rule="default", attempts=3, chain=EVIL),
        row("192.0.2.53", 53, "udp", verdict="audit", rule="default"),
        row("worse.example", verdict="deny", rule="default"),
        row("169.254.169.254", 80, verdict="audit", rule="169.254.169.254"),
        mode="enforce",
    )
    text = page(made)
    (block,) = blocks(text)
    expected = ["udp://192.0.2.53:53", "evil.example:443"]
    assert rules(policy(block)) == expected
    assert "# 3 ×: bash > npm > node > sh > curl" in block
    (line,) = blocks(text, "text")
    option, _, words = line.strip().partition(" ")
    assert option == "--allowed-endpoints"
    assert rules(parse_allowed_endpoints(words.strip('"'))) == expected
    assert "2 attempts can't be added: denied, or without a name" in shown(text).text()


def test_where_there_is_neither_a_whole_policy_is_offered_which_denies_nothing() -> None:
    made = sheet(row(), row("evil.example", chain=EVIL), row("127.0.0.1", loopback=True))
    (block,) = blocks(page(made))
    whole = parse_policy(block.encode(), "policy")
    assert rules(whole) == ["evil.example:443", "registry.example:443"]
    assert whole.mode.value == "audit"


@pytest.mark.parametrize(
    "made",
    [
        sheet(row(novel=False)),
        sheet(row(verdict="allow", rule="registry.example:443"), mode="enforce"),
        sheet(row("127.0.0.1", loopback=True)),
        sheet(),
    ],
    ids=["all is known", "all is allowed", "all is on loopback", "nothing was done"],
)
def test_nothing_is_offered_where_there_is_nothing_to_add(made: Sheet) -> None:
    assert list(blocks(page(made))) == []


_names = st.text(alphabet=st.characters(), min_size=1, max_size=30)
_rows = st.builds(
    row,
    st.one_of(st.none(), _names, st.sampled_from(["a.example", "b.example", "192.0.2.1", "2001:db8::1"])),
    st.one_of(st.none(), st.integers(0, 65535)),
    st.sampled_from(["tcp", "udp", "icmp", "sctp", "132", None]),
    chain=st.lists(_names, max_size=5).map(tuple),
    novel=st.just(True),
    verdict=st.sampled_from(["allow", "audit", "deny"]),
    rule=st.sampled_from([None, "default", "a.example:443"]),
)


@settings(deadline=None)
@given(st.lists(_rows, max_size=8), _names)
def test_whatever_was_met_the_blocks_are_read_back_to_just_what_is_offered(
    rows: list[Counted], name: str
) -> None:
    made = replace(sheet(*rows, mode="audit"), pipeline=name, task=name)
    offered = [each for each in additions(made) if each.pieces]
    found = list(blocks(page(made)))
    assert len(found) == len(offered)
    for each, block in zip(offered, found, strict=True):
        assert block == "".join(f"{piece}\n" for piece in each.pieces)
        if each.inline:
            assert rules(policy(block)) == list(each.inline)
            assert rules(parse_allowed_endpoints(" ".join(each.inline))) == list(each.inline)
        else:
            known = {(row.host or "").lower().removesuffix(".") for row, _ in rows}
            chains = {row.chain for row, _ in rows}
            clean = {tuple(each.encode(errors="replace") for each in chain) for chain in chains}
            for read in entries(block):
                assert str(read.host) in known
                assert read.lineages
                told = {tuple(each.encode(errors="replace") for each in chain) for chain in read.lineages}
                assert told <= clean or any("\ufffd" in "".join(chain) for chain in read.lineages)
