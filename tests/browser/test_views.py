"""Tabs, jobs, what is new, and policies: what they say, and what can be taken along."""

from __future__ import annotations

import re
from dataclasses import replace
from datetime import date
from typing import TYPE_CHECKING

import pytest
from playwright.sync_api import expect

from exporter.baseline.model import Baseline, Entry, Task
from exporter.baseline.parse import parse_baseline
from exporter.pipeline.account import Account
from exporter.policy.hosts import parse_single_host
from exporter.policy.parse import parse_allowed_endpoints, parse_policy
from exporter.report.model import Report
from tests.browser.conftest import COPIED_FOR_MS, copied, stop_clock
from tests.unit.report.builds import build
from tests.unit.report.samples import act, sample

if TYPE_CHECKING:
    from playwright.sync_api import Page

    from tests.browser.conftest import Open

NPM, POST = ("sh", "npm"), ("sh", "npm", "node", "sh", "curl")


def test_tabs_are_chosen_by_arrow_keys_and_remembered_in_the_address(open_page: Open) -> None:
    page = open_page(sample(build())).page
    page.locator("#tab-destinations").focus()
    for key, view in (
        ("ArrowRight", "tree"),
        ("End", "policy"),
        ("ArrowRight", "destinations"),
        ("ArrowLeft", "policy"),
    ):
        page.keyboard.press(key)
        expect(page.locator(f"#tab-{view}")).to_be_focused()
        expect(page.locator("[role=tabpanel]:not([hidden])")).to_have_id(f"view-{view}")
    expect(page).to_have_url(re.compile("#policy$"))
    page.reload()
    expect(page.locator("#view-policy")).to_be_visible()


def test_what_another_name_s_rule_allowed_is_said_on_top_and_at_its_row(open_page: Open) -> None:
    made = build("enforce")
    shared = act(900, "evil.example", by=1, chain=("sh",), at_ms=9000, rule="git.example:443")
    page = open_page(sample(replace(made, acts=[*made.acts, shared]))).page
    told = "1 attempt to evil.example:443 was allowed by the rule for another name of its address"
    assert page.locator("ul.notes li").all_inner_texts() == [f"{told}: git.example:443"]
    page.get_by_role("button", name="evil.example:443").click()
    verdict = page.locator(".detail dd").first.inner_text()
    assert verdict.endswith("by git.example:443, which is for another name of the address")


def test_each_job_of_several_is_shown_by_itself(open_page: Open) -> None:
    other = replace(build("enforce"), title="deploy", trace_id="ab" * 16)
    page = open_page(sample(build(), other)).page
    assert page.locator("h1").inner_text() == "build"
    choice = page.get_by_label("Job", exact=True)
    assert choice.locator("option").all_inner_texts() == [
        "1. 11:06 build (11 destinations, 2 new)",
        "2. 11:06 deploy (11 destinations, 2 new, 2 denied)",
    ]
    page.click("#tab-tree")
    choice.select_option("1")
    expect(page.locator("h1")).to_have_text("deploy")
    expect(page.locator("#view-tree")).to_be_visible()
    expect(page).to_have_url(re.compile("#tree/2$"))
    page.reload()
    expect(page.locator("h1")).to_have_text("deploy")
    expect(choice).to_have_value("1")
    page.evaluate("location.hash = '#timeline/1'")
    expect(page.locator("h1")).to_have_text("build")
    expect(page.locator("#view-timeline")).to_be_visible()


def test_what_is_new_is_told_with_who_did_it(open_page: Open) -> None:
    page = open_page(sample(build()), at="#news").page
    card = page.locator("#view-news .cards > li", has_text="telemetry.example").inner_text()
    for words in ("telemetry.example:443", "2 attempts over tcp", "in step dependencies", "curl -s https://"):
        assert words in card


def test_a_baseline_of_the_readers_says_what_is_new_and_why(open_page: Open) -> None:
    page = open_page(
        sample(build()), at="#news", baseline=known(("cdn.npm.example", NPM), ("telemetry.example", NPM))
    ).page
    texts = page.locator("#view-news .cards > li").all_inner_texts()
    assert len(texts) == 10
    assert not any(text.startswith("cdn.npm.example") for text in texts)
    telemetry = next(text for text in texts if text.startswith("telemetry.example"))
    assert "the destination is known, but not from these processes" in telemetry
    assert all("isn’t in the baseline" in text for text in texts if text != telemetry)


def test_without_a_baseline_it_is_said_how_to_get_one(open_page: Open) -> None:
    page = open_page(sample(build(None)), at="#news").page
    assert "ci-egress baseline learn" in page.locator("#view-news").inner_text()
    assert "no baseline to compare with" in page.locator(".tiles").inner_text()
    first = "ci-egress baseline learn ci-egress --output baseline.yaml"
    assert copied(page, "Copy the commands").splitlines()[0] == first


def test_the_draft_is_valid_and_can_be_copied(open_page: Open) -> None:
    page = open_page(sample(build()), at="#policy").page
    text = copied(page, "Copy the policy")
    rules = [rule.text for rule in parse_policy(text.encode(), "policy.yaml").rules]
    assert "registry.npm.example:443" in rules
    assert "udp://192.0.2.53:53" in rules
    assert len(rules) == 9
    expect(page.locator("#announced")).to_have_text("Copied the policy")


def test_a_second_copy_is_said_as_long_as_the_first(open_page: Open) -> None:
    page = open_page(sample(build()), at="#policy").page
    page.context.grant_permissions(["clipboard-write"])
    stop_clock(page)
    for _ in range(2):
        page.locator("#announced").evaluate("(told) => told.replaceChildren()")
        page.get_by_role("button", name="Copy the policy").click()
        expect(page.locator("#announced")).to_have_text("Copied the policy")
        page.clock.run_for(COPIED_FOR_MS - 1)
        expect(page.get_by_text("Copied ✓")).to_be_visible()
    page.clock.run_for(1)
    expect(page.get_by_text("Copied ✓")).to_have_count(0)


def test_the_same_policy_as_an_option_means_the_same(open_page: Open) -> None:
    page = open_page(sample(build()), at="#policy").page
    text = page.get_by_role("region", name="As an option").inner_text()
    option = text.partition('"')[2].rpartition('"')[0]
    drafted = page.get_by_role("region", name="policy.yaml").inner_text()
    by_option = {rule.meaning for rule in parse_allowed_endpoints(option).rules}
    assert by_option == {rule.meaning for rule in parse_policy(drafted.encode(), "policy.yaml").rules}


def test_what_the_baseline_and_the_policy_lack_can_be_pasted_into_them(open_page: Open) -> None:
    page = open_page(sample(build()), at="#news").page
    entries = page.get_by_role("region", name="Add to the baseline").inner_text()
    baseline = parse_baseline(f"version: 1\nentries:\n{entries}".encode(), "baseline.yaml")
    assert [entry.subject.shown for entry in baseline.entries] == [
        "203.0.113.99:4444",
        "telemetry.example:443",
    ]
    page.click("#tab-policy")
    rules = page.get_by_role("region", name="Allow in the policy").inner_text()
    policy = parse_policy(f"version: 1\nallow:\n{rules}".encode(), "policy.yaml")
    assert {rule.text for rule in policy.rules} == {"telemetry.example:443", "203.0.113.99:4444"}


def test_a_destination_that_is_known_by_other_chains_replaces_its_entry(open_page: Open) -> None:
    baseline = known(("telemetry.example", NPM))
    page = open_page(sample(build()), at="#news", baseline=baseline).page
    changed = page.get_by_role("region", name="Change in the baseline").inner_text()
    (entry,) = parse_baseline(f"version: 1\nentries:\n{changed}".encode(), "baseline.yaml").entries
    assert entry.lineages == frozenset((NPM, POST))


@pytest.mark.parametrize(("mode", "reason"), [("enforce", "was denied"), ("audit", "would be denied")])
def test_what_the_policy_was_against_stands_in_a_draft_as_a_comment(
    open_page: Open, mode: str, reason: str
) -> None:
    page = open_page(sample(build(mode)), at="#policy").page
    assert "2 destinations that were denied, or would be, aren’t allowed by it" in (
        page.locator("#view-policy").inner_text()
    )
    drafted = page.get_by_role("region", name="policy.yaml").inner_text()
    assert drafted.rstrip().splitlines()[-3:] == [
        f"  # Left out: {reason}, no rule allows it",
        '  # - "203.0.113.99:4444"  # 1 ×: sh > npm > node',
        '  # - "telemetry.example:443"  # 2 ×: sh > npm > node > sh > curl',
    ]
    assert "telemetry" not in page.get_by_role("region", name="As an option").inner_text()
    added = page.get_by_role("region", name="Allow in the policy")
    assert added.count() == (1 if mode == "audit" else 0)


def test_of_an_enforced_run_nobody_says_that_its_policy_would_break_it(open_page: Open) -> None:
    allowed = ["*.example", "any://192.0.2.0/24", "[2001:db8::beef]:8443"]
    text = f"version: 1\nallow: {allowed}\ndeny: [telemetry.example, 203.0.113.99]\n"
    policy = parse_policy(text.encode(), "policy.yaml")
    page = open_page(sample(build("enforce")), at="#policy", policy=policy).page
    lead = page.locator(".judged .verdict-line").inner_text()
    assert lead.endswith(
        "It denies what was denied: 3 attempts to 2 destinations. Every other attempt is allowed."
    )
    narrow = parse_policy(b"version: 1\nallow: [git.example]\n", "policy.yaml")
    page = open_page(sample(build("enforce")), at="#policy", policy=narrow).page
    assert "It would deny more than was denied" in page.locator(".judged .verdict-line").inner_text()


def test_a_policy_of_the_readers_is_held_against_each_destination_with_its_rule(open_page: Open) -> None:
    policy = parse_policy(
        b"""
version: 1
allow:
  - "*.npm.example:443"
  - git.example
  - {host: metrics.example, ports: [443], lineage: [pytest]}
  - {host: telemetry.example, ports: [443], lineage: [git]}
deny: [203.0.113.99]
""",
        "policy.yaml",
    )
    page = open_page(sample(build()), at="#policy", policy=policy).page
    lead = page.locator(".judged .verdict-line").inner_text()
    assert lead.endswith("It would break this job: 16 attempts to 7 destinations would be denied.")
    lines = {
        line.split("\t")[0]: line.split("\t")[1:3]
        for line in page.locator(".judged tbody tr").all_inner_texts()
    }
    assert lines["registry.npm.example:443"] == ["✓ allows", "*.npm.example:443 (line 4)"]
    assert lines["metrics.example:443"][0] == "✓ allows"
    assert lines["telemetry.example:443"] == ["✕ denies", "default"]
    assert lines["203.0.113.99:4444"] == ["✕ denies", "203.0.113.99 (line 8)"]
    page.click("#tab-destinations")
    expect(page.locator("#view-destinations thead").first).to_contain_text("Your policy")


def test_what_is_missing_is_said_first(open_page: Open) -> None:
    lost = Account(223, 200, 10, {("kernel", "ring_full"): 8}, {"spool": 5})
    report = Report([replace(build(), span_id="")], lost, left_out=3, notes=("a note of the reader’s",))
    head = open_page(report).page.locator(".head").inner_text()
    assert "Incomplete record: 223 attempts, 210 accounted for; 8 dropped, 5 still on their way." in head
    for words in (
        "a note of the reader’s",
        "3 attempts went to further destinations",
        "it still runs, or was killed",
    ):
        assert words in head
    assert "Completeness isn’t known" in text_of_head(open_page(Report([build()])).page)


def test_a_report_of_nothing_says_so(open_page: Open) -> None:
    assert "There is no job" in open_page(Report([])).page.locator("body").inner_text()
    empty = replace(build(), acts=(), programs=())
    page = open_page(sample(empty)).page
    shown = page.locator("#view-destinations").inner_text()
    assert "None of its processes reached beyond this machine." in shown
    for view in ("tree", "timeline", "news", "policy"):
        page.click(f"#tab-{view}")
        expect(page.locator(f"#view-{view} .empty")).to_be_visible()


def test_a_trace_is_linked_where_it_is_known_where_it_is(open_page: Open) -> None:
    page = open_page(sample(build()), trace_url="https://jaeger.example/trace/{trace_id}").page
    link = page.get_by_role("link", name="Open the trace")
    assert link.get_attribute("href") == "https://jaeger.example/trace/7af8cd1de3fa344b938ded2af6d4282f"
    assert link.get_attribute("rel") == "noopener noreferrer"


def known(*entries: tuple[str, tuple[str, ...]]) -> Baseline:
    """A baseline of the build's that has these."""
    day = date(2026, 11, 1)
    return Baseline(
        tuple(
            Entry(
                Task("release", "build"), parse_single_host(host), 443, "tcp", frozenset({chain}), day, day, 4
            )
            for host, chain in entries
        )
    )


def text_of_head(page: Page) -> str:
    """All that it says."""
    return page.locator(".head").inner_text()
