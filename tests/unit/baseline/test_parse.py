"""The baseline file: what it means, and all that is wrong with it, each with its place."""
# ruff: noqa: E501 - a case a line

from __future__ import annotations

from dataclasses import replace
from datetime import date
from ipaddress import ip_address
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from exporter.baseline import parse
from exporter.baseline.model import Entry, History, Task
from exporter.baseline.parse import KIND, BaselineError, load_baseline, parse_baseline
from exporter.common.documents.problems import Problems
from exporter.common.documents.tree import read
from exporter.common.errors import UsageError
from exporter.policy.model import Name
from tests.unit.baseline.files import EXAMPLE, NAME, baseline, errors, with_entries
from tests.unit.document_errors import bomb

RELEASE = Task("release", "build")
PLAIN = "destination: a.example, port: 443, transport: tcp, lineage: any"


def test_a_baseline_means_what_it_says() -> None:
    found = baseline(
        EXAMPLE + "pipelines:\n- {pipeline: release, runs: 412, quiet_runs: 40, last_run: 2026-11-24}\n"
    )
    assert found.entries == (
        Entry(
            RELEASE,
            Name("registry.npm.example"),
            443,
            "tcp",
            frozenset({("bash", "npm", "node")}),
            date(2026, 11, 2),
            date(2026, 11, 24),
            412,
        ),
    )
    assert found.entries[0].line == 3
    assert found.histories == {"release": History(412, 40, date(2026, 11, 24))}


@pytest.mark.parametrize(
    ("written", "host"),
    [
        ("REGISTRY.example.", Name("registry.example")),
        ('"*.wheels.example"', Name("wheels.example", is_wildcard=True)),
        ("192.0.2.1", ip_address("192.0.2.1")),
        ('"2001:DB8:0::1"', ip_address("2001:db8::1")),
    ],
)
def test_a_destination_is_a_name_a_wildcard_or_an_address(written: str, host: object) -> None:
    (entry,) = with_entries(f"destination: {written}, port: 443, transport: tcp, lineage: any").entries
    assert entry.host == host


def test_what_a_person_pastes_needs_no_dates_and_no_names() -> None:
    assert with_entries(PLAIN).entries == (Entry(Task(None, None), Name("a.example"), 443, "tcp", None),)


@pytest.mark.parametrize("transport", ["icmp", "ipv6-icmp", "igmp", "255"])
def test_a_protocol_without_ports_has_none(transport: str) -> None:
    (entry,) = with_entries(f"destination: 192.0.2.1, transport: {transport}, lineage: any").entries
    assert (entry.port, entry.transport) == (None, transport)


def test_chains_are_a_set() -> None:
    (entry,) = with_entries(
        'destination: a.example, port: 0, transport: udp, lineage: [[bash, "a, b"], [b]]'
    ).entries
    assert entry.lineages == frozenset({("bash", "a, b"), ("b",)})
    assert entry.port == 0


def test_values_are_text_whatever_yaml_makes_of_them() -> None:
    (entry,) = with_entries(f"pipeline: no, task: 1_0, {PLAIN}").entries
    assert entry.task == Task("no", "1_0")


def test_entries_are_sorted_by_pipeline_task_destination_port_and_transport() -> None:
    found = with_entries(
        f"pipeline: b, {PLAIN}",
        f"pipeline: a, task: y, {PLAIN}",
        f"pipeline: a, task: x, {PLAIN.replace('443', '80')}",
        f"pipeline: a, task: x, {PLAIN}",
        f"pipeline: a, task: x, {PLAIN.replace('tcp', 'udp')}",
        f"pipeline: a, {PLAIN}",
        PLAIN,
    )
    assert [entry.line for entry in found.entries] == [9, 8, 5, 6, 7, 4, 3]
    assert [entry.line for entry in found.tasks[Task("a", "x")]] == [5, 6, 7]


def test_nothing_known_is_a_baseline_too() -> None:
    assert baseline("version: 1\nentries: []\n").entries == ()


ONE_ERROR = [
    ("", "1:1: the file is empty; a baseline begins with `version: 1`"),
    ("- a", "1:1: a baseline can't be a list; it is a mapping with version, entries, pipelines"),
    ("entries: []", "1:1: `version` is missing; begin the file with `version: 1`"),
    ("version: 2\nentries: []", "1:10: not a version that this program knows; write `version: 1`"),
    ("version: 1", "1:1: `entries` is missing; write `entries: []` where nothing is known"),
    ("version: 1\nentries: []\nentry: []", "3:1: unknown key `entry`; did you mean `entries`?"),
    ("version: 1\nentries:", "2:9: `entries` is empty; it is a list, with `- pipeline: …` for each"),
    ("version: 1\nentries: {}", "2:10: `entries` can't be a mapping; it is a list, with `- pipeline: …` for each"),
    ("version: 1\nentries: [a]", "2:11: an entry can't be a text; it is a mapping with pipeline, task, destination, port, transport, lineage, first_seen, last_seen, runs"),
    ("version: 1\nmode: audit\nallow: [a.example]", "1:1: this is a policy, no baseline; make a baseline with `ci-egress baseline learn`"),
    ('{"resourceSpans": []}\n', "1:1: these are lines of OTLP, no baseline; `ci-egress baseline learn` makes a baseline of spans"),
    ("version: 1\nentries:\n<<<<<<< HEAD\n- {port: 1}\n=======\n- {port: 2}\n>>>>>>> more\n", "3:1: a merge conflict, `<<<<<<<`; settle it, and remove its three marks"),
    ("version: 1\nentries:\n   - task: a\n    port: 1\n", "4:5: not YAML: while parsing a block collection, did not find expected '-' indicator; indent this line, and the one above, as those around them, with spaces; quote text that has `: ` in it"),
    ("version: 1\nentries: []\n---\n", "3:1: a second document; a baseline is one document: remove `---`"),
    ("version: 1\nentries: [{destination: *.a.example}]", '2:25: `*` without quotes is an alias in YAML; write it in double quotes, as in "*.registry.example"'),
    ("version: 1\nentries: []\npipelines: [{pipeline: a, runs: 1, quiet_runs: 0}]", "3:13: an item of `pipelines` without `last_run`; add it, or remove the item"),
    ("version: 1\nentries: []\npipelines: [{runs: 1, quiet_runs: 2, last_run: 2026-11-24}]", "3:35: more `quiet_runs` than `runs`; they are the latest of these"),
    ("version: 1\nentries: []\npipelines:\n- &a {runs: 1, quiet_runs: 1, last_run: 2026-11-24}", "4:3: an anchor, `&a`; remove it"),
    ("version: 1\nentries: []\npipelines:\n- {runs: 1, quiet_runs: 1, last_run: 2026-11-24}\n- {runs: 1, quiet_runs: 1, last_run: 2026-11-24}", "5:3: duplicate: the pipeline `` is there twice; remove one of them"),
]  # fmt: skip

WRONG_ENTRIES = [  # the error is at the ¦, else at the entry as a whole
    ("port: 443, transport: tcp, lineage: any", "an entry without `destination`; name a host, as in `destination: registry.example`"),
    ("destination: a.example, port: 443, lineage: any", "an entry without `transport`; write `transport: tcp`, or another protocol"),
    ("destination: a.example, transport: tcp, lineage: any", "an entry without `port`; tcp has ports: write one, as in `port: 443`"),
    ("destination: a.example, port: 443, transport: tcp", "an entry without `lineage`; write the chains that were seen, as in [[bash, npm]], or `any`"),
    (f"{PLAIN}, ¦host: b", "unknown key `host`; known here are pipeline, task, destination, port, transport, lineage, first_seen, last_seen, runs"),
    (f"{PLAIN}, ¦port: 80", "`port` is there twice; merge it with line 3"),
    (PLAIN.replace("a.example", "¦[a]"), "`destination` can't be a list; it is a single text"),
    (PLAIN.replace("a.example", "¦"), "`destination` is empty; write something behind it, or remove it"),
    (PLAIN.replace("a.example", "¦a..b"), "`a..b` is not a host's name; labels of letters, digits, - and _ with dots between, 251 characters in all"),
    (PLAIN.replace("a.example", '¦"*.com"'), "`*.com`: com is a public suffix; anybody can have a name there: name the hosts, or a zone of one owner, as in *.x.com"),
    (PLAIN.replace("a.example", "¦192.0.2.300"), "`192.0.2.300` is no address; write 192.0.2.1, 10.0.0.0/8 or [2001:db8::/32]"),
    (PLAIN.replace("a.example", "¦10.0.0.0/8"), "`10.0.0.0/8` is no single host; name hosts and addresses one by one"),
    (PLAIN.replace("a.example", "¦a.example:443"), "`a.example:443` has a port; write `a.example`, and `port: 443` below it"),
    (PLAIN.replace("a.example", '¦"[2001:db8::1]:443"'), "`[2001:db8::1]:443` has a port; write `2001:db8::1`, and `port: 443` below it"),
    (PLAIN.replace("a.example", "¦https://a.example/x"), "`https://a.example/x` is a URL; write the host alone: `a.example`"),
    (PLAIN.replace("a.example", '¦"http://[a"'), "`http://[a` is a URL; write the host alone"),
    (PLAIN.replace("a.example", '¦"::ffff:192.0.2.1"'), "`::ffff:192.0.2.1` is IPv4 in IPv6; write 192.0.2.1/32: it means both forms"),
    (PLAIN.replace("443", "¦65536"), "port `65536` is out of range; ports are 0 to 65535"),
    (PLAIN.replace("443", "¦-1"), "port `-1` is not a port; ports are 0 to 65535"),
    (PLAIN.replace("443", "¦https"), "port `https` is not a port; ports are 0 to 65535"),
    (PLAIN.replace("tcp", "¦TCP"), "unknown transport `TCP`; name it as `network.transport` does, in lower case: tcp, udp, icmp, ipv6-icmp, sctp, udplite"),
    (PLAIN.replace("tcp", '¦"6"'), "unknown transport `6`; name it as `network.transport` does, in lower case: tcp, udp, icmp, ipv6-icmp, sctp, udplite"),
    (PLAIN.replace("tcp", "icmp").replace("443", "¦443"), "a port for icmp; icmp has no ports: remove it"),
    (PLAIN.replace("any", "¦all"), "`lineage` can't be `all`; write the chains that were seen, as in [[bash, npm]], or `any`"),
    (PLAIN.replace("any", "¦[]"), "`lineage` holds no chain; write the chains that were seen, as in [[bash, npm]], or `any`"),
    (PLAIN.replace("any", "¦{a: b}"), "`lineage` holds no chain; write the chains that were seen, as in [[bash, npm]], or `any`"),
    (PLAIN.replace("any", "¦"), "`lineage` is empty; write the chains that were seen, as in [[bash, npm]], or `any`"),
    (PLAIN.replace("any", "[¦bash]"), "`bash` is no chain; a chain is a list of executables: [[bash, npm]]"),
    (PLAIN.replace("any", "[[bash, ¦[npm]]]"), "no executable's name; name executables, as in [[bash, npm]]"),
    (PLAIN.replace("any", '[[¦""]]'), "no executable's name; name executables, as in [[bash, npm]]"),
    (PLAIN.replace("any", "[[a], ¦[]]"), "what has no executables in it is no chain; a chain is a list of executables: [[bash, npm]]"),
    (PLAIN.replace("any", "[[a], [b], ¦[a]]"), "a chain that stands in line 3 already; remove one of them"),
    (f'task: ¦"", {PLAIN}', "an empty name; remove the key for a job that has none"),
    (f"pipeline: ¦, {PLAIN}", "`pipeline` is empty; write something behind it, or remove it"),
    (f"{PLAIN}, runs: ¦0", "`runs` can't be `0`; it is a number from 1 on"),
    (f"{PLAIN}, runs: ¦1e3", "`runs` can't be `1e3`; it is a number from 1 on"),
    (f"{PLAIN}, last_seen: ¦24.11.2026", "`24.11.2026` is no date; write year, month and day: 2026-11-24"),
    (f"{PLAIN}, last_seen: ¦2026-11-31", "`2026-11-31` is no date; write year, month and day: 2026-11-24"),
    (f"{PLAIN}, last_seen: ¦20261124", "`20261124` is no date; write year, month and day: 2026-11-24"),
    (f"{PLAIN}, first_seen: ¦2026-11-03, last_seen: 2026-11-02", "`first_seen` is after `last_seen`; swap them"),
]  # fmt: skip


@pytest.mark.parametrize(("text", "told"), ONE_ERROR)
def test_each_error_of_a_file_has_its_place_and_a_way_to_mend_it(text: str, told: str) -> None:
    assert errors(text) == [told]


@pytest.mark.parametrize(("entry", "told"), WRONG_ENTRIES)
def test_each_error_of_an_entry_has_its_place_and_a_way_to_mend_it(entry: str, told: str) -> None:
    line = f"- {{{entry}}}"
    column = line.find("¦") + 1 or 3
    text = line.replace("¦", "")
    assert errors(f"version: 1\nentries:\n{text}\n") == [f"3:{column}: {told}"]


def test_two_entries_for_the_same_are_an_error_of_the_second() -> None:
    text = f"version: 1\nentries:\n- {{pipeline: a, {PLAIN}}}\n- {{{PLAIN}}}\n- {{{PLAIN.replace('a.ex', 'A.ex')}}}\n"
    assert errors(text) == ["5:3: duplicate: `a.example:443` of this task stands in line 4; merge the two"]


def test_all_errors_are_told_at_once() -> None:
    told = errors("version: 3\nentries: [{}, 7]\npipelines: 1\n")
    assert [line.partition(";")[0] for line in told] == [
        "1:10: not a version that this program knows",
        "2:11: an entry without `destination`",
        "2:11: an entry without `transport`",
        "2:11: an entry without `lineage`",
        "2:15: an entry can't be a text",
        "3:12: `pipelines` can't be a text",
    ]


@pytest.mark.parametrize(
    ("data", "told"),
    [
        (b"#" * (KIND.size_max + 1), "1:1: larger than 32 MiB; make a baseline for each group of pipelines"),
        (b"[" * 900, "1:13: nested too deep; a baseline has no more than five levels"),
        (b"[" * 100_000, "1:1001: nested too deep; a baseline has no more than five levels"),
        (b"\xff", "1:1: not UTF-8 (byte 0xff); save it as UTF-8"),
        (b"version: 1\0", "1:11: a control character; remove it, or write it as an escape in quotes"),
        (b"a: &x [1]\nb: [*x, *x]", "1:4: an anchor, `&x`; remove it"),
    ],
    ids=["size", "depth", "brackets", "encoding", "control", "alias"],
)  # fmt: skip
def test_a_hostile_file_is_refused_in_bounds(data: bytes, told: str) -> None:
    assert told in errors(data)


def test_a_bomb_of_aliases_is_told_in_two_lines() -> None:
    anchors, aliases = errors("version: 1\nentries:\n" + bomb(levels=10))
    assert anchors == "3:5: an anchor, `&a0` and 9 more; remove it"
    assert aliases.startswith("4:10: an alias, `*a0` and 80 more; write out what it stands for; ")
    assert len(aliases) < 150


def test_more_values_than_it_may_have_are_not_read() -> None:
    problems = Problems()
    assert read(b"version: 1\nentries: [1, 2, 3]", replace(KIND, nodes_max=6), problems) is None
    assert [problem.what for problem in problems] == ["more than 6 values"]


def test_of_many_errors_the_first_are_told() -> None:
    with pytest.raises(BaselineError) as caught:
        parse_baseline(b"version: 1\nentries:\n" + b"- a\n" * 1200, NAME)
    assert len(caught.value.lines) == 1000
    assert caught.value.what == "baseline.yaml is not a valid baseline: 1200 errors, the first 1,000 above"


def test_too_many_entries_are_one_error_that_is_told_beside_those_of_the_first(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(parse, "ENTRIES_MAX", 2)
    found = errors(f"version: 1\nentries:\n- {{{PLAIN}}}\n- a\n- b\n- c\n")
    assert [line.partition(";")[0] for line in found] == [
        "4:3: an entry can't be a text",
        "5:3: more than 2 entries",
    ]


def test_it_is_a_usage_error_that_names_the_file() -> None:
    with pytest.raises(BaselineError) as caught:
        parse_baseline(b"", NAME)
    assert caught.value.exit_status == 2
    assert caught.value.what == "baseline.yaml is not a valid baseline: 1 error"


def test_a_file_that_cannot_be_read_is_a_usage_error(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"cannot read the baseline .*none.yaml: No such file or directory"):
        load_baseline(tmp_path / "none.yaml")
    (tmp_path / NAME).write_text(EXAMPLE)
    assert load_baseline(tmp_path / NAME) == baseline(EXAMPLE)


@given(st.binary(max_size=200) | st.text(max_size=200).map(lambda text: text.encode(errors="surrogatepass")))
def test_any_bytes_are_a_baseline_or_errors_with_places(data: bytes) -> None:
    errors(b"version: 1\nentries: " + data)
    errors(data)
