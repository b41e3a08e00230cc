"""A summary says what matters within ten seconds: what a job comes to, what is new, what is denied."""

from __future__ import annotations

import re
from dataclasses import replace

import pytest

from exporter.pipeline.account import Account
from exporter.pipeline.blind_spots import NOTHING_SEEN
from exporter.report.markdown import render
from exporter.report.sheet import Sheet
from tests.unit.report.sheets import ACCOUNT, TRACE, TRACE_URL, Shown, row, sheet, shown

DOCKER = "what the Docker daemon did"
EVIL = ("bash", "npm", "node", "sh", "curl")


def page(*sheets: Sheet, account: Account | None = ACCOUNT, trace_url: str | None = TRACE_URL) -> str:
    return render(sheets, account=account, trace_url=trace_url)


def heading(*sheets: Sheet) -> str:
    return shown(page(*sheets).partition("</h3>")[0] + "</h3>").text().strip()


def known() -> Sheet:
    return sheet(row(novel=False, attempts=7), row("files.example", novel=False))


@pytest.mark.parametrize(
    ("made", "said"),
    [
        (sheet(), f"ℹ️ build: {NOTHING_SEEN}"),
        (sheet(row("127.0.0.1", loopback=True)), f"ℹ️ build: {NOTHING_SEEN}"),
        (sheet(uncounted=5), "ℹ️ build: at least 0 destinations"),
        (sheet(unseen=[DOCKER]), f"ℹ️ build: {NOTHING_SEEN}; not seen: {DOCKER}"),
        (
            sheet(row(novel=False), unseen=[DOCKER, "what lies behind its proxy"]),
            f"✅ build: 1 destination, which is known; not seen: {DOCKER}, what lies behind its proxy",
        ),
        (sheet(row()), "ℹ️ build: 1 destination"),
        (known(), "✅ build: 2 destinations, all known"),
        (sheet(row(rule="*.example:443"), mode="audit"), "✅ build: 1 destination, which is allowed"),
        (sheet(row(novel=False), mode="enforce"), "✅ build: 1 destination, which is known and allowed"),
        (sheet(row(novel=True), row("x.example", novel=False)), "⚠️ build: 1 destination is new"),
        (sheet(row(verdict="audit"), mode="audit"), "⚠️ build: 1 destination would be denied"),
        (
            sheet(row(verdict="deny"), row("x.example", verdict="deny", novel=True), mode="enforce"),
            "⛔ build: 2 destinations were denied, 1 destination is new",
        ),
        (sheet(row(novel=False), warnings=["bash (1) did it"]), "⛔ build: there was tampering"),
        (sheet(row(novel=True), uncounted=5), "⚠️ build: at least 1 destination is new"),
    ],
)
def test_it_begins_with_what_the_job_comes_to(made: Sheet, said: str) -> None:
    assert heading(made) == said


def test_counts_come_next() -> None:
    made = sheet(
        row(attempts=1100, received=55_000_000, sent=300_000, novel=False),
        row("evil.example", attempts=3, failed=2, novel=True, verdict="audit"),
        row("127.0.0.1", loopback=True, attempts=9, novel=False),
        mode="audit",
    )
    counts = page(made).split("\n\n")[1]
    assert shown(counts).text().strip() == (
        "1,103 attempts to 2 destinations · 3 new · 3 would be denied · 2 failed"
        " · 300.0 kB sent · 55.0 MB received · 9 on this machine · policy in audit"
    )


def test_the_order_is_denied_new_all_additions_trace_account() -> None:
    made = sheet(
        row(attempts=40, novel=False),
        row("evil.example", novel=True, verdict="audit", chain=EVIL),
        row("worse.example", novel=False, verdict="deny"),
        row("bad.example", novel=False, verdict="audit"),
        row("127.0.0.1", loopback=True, novel=False),
        mode="audit",
        notes=["note: docker ran: what the Docker daemon did on its behalf isn't seen here"],
    )
    text = shown(page(made)).text()
    order = [
        "Denied",
        "New destinations",
        "Would be denied\n",
        "All destinations: 4",
        "On this machine",
        "Add to the baseline",
        "Allow in the policy",
        "docker ran",
        "Open the trace",
        "1,204 attempts, 1,204 accounted for.",
    ]
    places = [text.index(each) for each in order]
    assert places == sorted(places)


def test_rows_are_destination_chain_and_step_count_and_bytes() -> None:
    made = sheet(
        row(attempts=1100, failed=2, sent=1500, received=2_000_000, step="install"),
        row("2001:db8::53", 53, "udp", chain=EVIL, step="test"),
        row(None, None, "icmp", chain=()),
    )
    assert shown(page(made)).cells == [
        ["destination", "process chain, step", "attempts"],
        ["registry.example:443", "bash › npmin install", "1,1002 failed↑\xa01.5\xa0kB↓\xa02.0\xa0MB"],
        ["icmp socket", "?", "1"],
        ["[2001:db8::53]:53 udp", "bash › npm › node › sh › curlin test", "1"],
    ]


def test_where_no_step_is_known_none_is_spoken_of() -> None:
    assert shown(page(sheet(row()))).cells[0] == ["destination", "process chain", "attempts"]


def test_what_was_denied_stands_apart_with_the_rule_that_says_so_also_where_it_is_new() -> None:
    made = sheet(
        row("169.254.169.254", 80, novel=True, verdict="deny", rule="169.254.169.254"), mode="enforce"
    )
    text = page(made)
    found = shown(text).rows_with("169.254.169.254:80")
    assert found == [["169.254.169.254:80newby 169.254.169.254", "bash › npm", "1"]]
    assert "<h4>Denied</h4>" in text
    assert "<h4>New destinations</h4>" not in text
    assert "<summary>All" not in text


def test_jobs_that_are_called_alike_are_told_apart_by_their_start() -> None:
    first, second = (replace(sheet(row()), began_ns=seconds * 10**9) for seconds in (0, 1_764_115_200))
    other = replace(first, title="test", began_ns=1)
    text = shown(render([first, second, other], account=None, trace_url=None)).text()
    assert "build 2025-11-26 00:00:00 UTC: 1 destination" in text
    assert "build: 1 destination" in text
    assert "test: 1 destination" in text


def test_in_the_table_of_all_rows_say_what_is_new_or_denied() -> None:
    made = sheet(row(novel=False), row("evil.example", novel=True, verdict="audit"), mode="audit")
    assert shown(page(made)).rows_with("evil")[-1][0] == "evil.example:443newwould be denied"


@pytest.mark.parametrize(("number", "is_open"), [(10, True), (11, False)])
def test_a_long_table_is_folded(number: int, *, is_open: bool) -> None:
    text = page(sheet(*(row(f"h{index}.example") for index in range(number))))
    assert (f"<details open><summary>All destinations: {number}<" in text) is is_open


def test_names_break_on_a_narrow_screen_and_are_copied_whole() -> None:
    name = "artifacts.eu-central-1.storage.example"
    text = page(sheet(row(name)))
    assert f"{name}:443" in shown(text).inside_code()
    cell = re.search(r"<td>(.*?)</td>", text)
    assert cell is not None
    assert max(map(len, shown(f"<p>{cell[1]}</p>").text().split())) > 40
    assert max(map(len, re.sub("<code>|</code>", "", cell[1]).split("<wbr>"))) <= 16


def test_the_trace_is_linked_or_named() -> None:
    assert shown(page(known())).links == [f"https://jaeger.example/trace/{TRACE}"]
    without = shown(page(known(), trace_url=None))
    assert without.links == []
    assert f"Trace {TRACE}" in without.text()


def test_a_template_of_a_url_is_an_attribute_whatever_is_in_it() -> None:
    text = page(known(), trace_url='https://jaeger.example/{trace_id}?a="><script>&b=1')
    assert shown(text).links == [f'https://jaeger.example/{TRACE}?a="><script>&b=1']


@pytest.mark.parametrize(
    ("account", "said"),
    [
        (Account(1204, 1100, 104), "1,204 attempts, 1,204 accounted for."),
        (Account(1, 1, 0, {}, {"ring": 0, "queue": 0, "spool": 0}), "1 attempt, 1 accounted for."),
        (
            Account(1204, 1000, 100, {("kernel", "ring_full"): 54}, {"spool": 50, "queue": 0}),
            "⚠️ 1,204 attempts, 1,100 accounted for: 50 on disk until the collector takes them;"
            " 54 lost (kernel: ring_full).",
        ),
        (
            Account(10, 7, 0, {}, {"ring": 1, "queue": 2}),
            "⚠️ 10 attempts, 7 accounted for: 1 not read from the kernel's ring; 2 not sent yet.",
        ),
        (None, "⚠️ Whether these are all attempts isn't known: there is no account of them."),
    ],
)
def test_it_says_whether_that_is_all_and_what_is_missing(account: Account | None, said: str) -> None:
    assert said in shown(page(known(), account=account)).text().splitlines()


def test_of_several_jobs_the_most_urgent_comes_first_and_many_harmless_ones_are_folded() -> None:
    calm = [sheet(row(novel=False), title=f"calm{index}") for index in range(4)]
    loud = sheet(row(novel=True, verdict="deny"), title="loud", mode="enforce")
    found = shown(page(*calm, loud))
    titles = [text for _, text in found.texts if re.fullmatch("calm[0-9]|loud", text)]
    assert titles == ["loud", "calm0", "calm1", "calm2", "calm3"]
    assert found.tags.count("h3") == 1
    assert shown(page(*calm[:3])).tags.count("h3") == 3


def rows_told(found: Shown) -> tuple[int, int]:
    """How many rows of the table of all are there, and how many are said to be left out."""
    more = [int(told.replace(",", "")) for told in re.findall(r"… and ([0-9,]+) more rows?", found.text())]
    return sum(1 for cells in found.cells if cells[0] != "destination"), sum(more)


@pytest.mark.parametrize(
    ("filler", "number"), [("x", 10_000), ("<", 500), ("\x1b", 500), ("é", 500), ("a.", 500), ("`", 500)]
)
def test_it_is_bounded_and_rows_are_whole(filler: str, number: int) -> None:
    long = filler * (8192 // len(filler))
    rows = [
        row(f"{index}{long}", chain=(long,) * 8, novel=True, step=long, verdict="audit")
        for index in range(number)
    ]
    made = sheet(*rows, title=long, warnings=[long] * 1000, notes=[long] * 1000, mode="audit")
    for limit_bytes in (1 << 20, 1 << 16, 5_000, 300, 0):
        text = render(
            [made], account=ACCOUNT, trace_url=TRACE_URL, notes=[long] * 1000, limit_bytes=limit_bytes
        )
        assert len(text.encode()) <= limit_bytes
        found = shown(text)  # elements are whole
        there, left_out = rows_told(found)
        assert there + left_out == (number if there else 0)
        if limit_bytes >= 1 << 16:
            assert 0 < there <= 100
        if limit_bytes >= 5_000:
            assert f"{number} destinations would be denied" in found.text()
            assert "1,204 accounted for" in found.text()


@pytest.mark.parametrize("limit_bytes", [1 << 20, 50_000, 5_000])
def test_of_more_jobs_than_fit_the_rest_is_counted(limit_bytes: int) -> None:
    sheets = [sheet(row(attempts=3), title=f"job {index}") for index in range(1000)]
    text = render(sheets, account=ACCOUNT, trace_url=None, limit_bytes=limit_bytes)
    assert len(text.encode()) <= limit_bytes
    there = len(set(re.findall(r"job ([0-9]+)</code>", text)))
    more = re.search(r"… and ([0-9,]+) more jobs? with ([0-9,]+) attempts", text)
    left_out = 1000 - there
    told = (int(more[1].replace(",", "")), int(more[2].replace(",", ""))) if more else (0, 0)
    assert told == (left_out, 3 * left_out)
    assert there >= 1


def test_entries_that_do_not_fit_are_counted_and_no_allowlist_is_offered_that_lacks_some() -> None:
    made = sheet(
        *(row(f"h{index}.example", verdict="audit", rule="default") for index in range(3000)), mode="audit"
    )
    text = render([made], account=ACCOUNT, trace_url=None, limit_bytes=30_000)
    there = text.count('.example:443"')
    assert f"# … and {3000 - there:,} more, for which there was no room" in text
    assert 0 < there < 3000
    assert "--allowed-endpoints" not in text
