"""The table of destinations, as one uses it."""

from __future__ import annotations

import re
from dataclasses import replace
from typing import TYPE_CHECKING

from playwright.sync_api import expect

from exporter.policy.parse import parse_policy
from tests.browser.conftest import stop_clock
from tests.unit.report.builds import build
from tests.unit.report.samples import large, sample

if TYPE_CHECKING:
    from playwright.sync_api import Locator, Page

    from tests.browser.conftest import Open

REMOTE = "#view-destinations > div > .destinations"
VIEWS = ("destinations", "tree", "timeline", "news", "policy")
FIRST = ["203.0.113.99:4444", "telemetry.example:443"]
"""What is new and would be denied: what failed, then what didn't."""


def test_what_is_new_and_against_the_policy_comes_first_and_the_loopback_is_apart(open_page: Open) -> None:
    page = open_page(sample(build())).page
    assert destinations(page)[:2] == FIRST
    assert destinations(page)[-1] == "192.0.2.53:53"
    assert "127.0.0.1:5432" not in destinations(page)
    page.click("text=On this machine:")
    expect(page.locator("details.loopback tr.row")).to_have_text(re.compile(r"^127\.0\.0\.1:5432"))


def test_the_head_says_how_much_there_was_and_that_it_is_everything(open_page: Open) -> None:
    head = open_page(sample(build())).page.locator(".head").inner_text()
    for words in ("build", "group/app · release · run 987", "took 9.42 s", "audited: nothing was denied"):
        assert words in head
    assert "Complete record: the kernel counted 223 attempts, and 223 are accounted for" in head
    assert "(222 off this machine + 1 on it; 180 of them counted together)" in head
    assert "222 attempts off this machine + 1 on it" in head
    assert "/bin/sh -e ci/build.sh" in head


def test_without_a_policy_nothing_is_called_allowed_and_the_next_step_is_named(open_page: Open) -> None:
    page = open_page(sample(build(None))).page
    assert "no policy" in page.locator(".tile", has_text="denied").inner_text()
    assert "Nothing judged this run." in page.locator(".head").inner_text()
    assert page.get_by_role("columnheader", name="Verdict").count() == 0
    page.locator("tr.row").first.click()
    assert "not judged" in page.locator("tr.details").inner_text()
    for view in VIEWS:
        page.click(f"#tab-{view}")
        assert page.locator(".badge.allow").count() == 0
        assert "✓ allowed" not in page.locator(f"#view-{view}").inner_text()
    page.get_by_role("link", name="start with the drafted policy").click()
    expect(page.locator("#tab-policy")).to_be_focused()
    page.get_by_role("link", name="learn a baseline").click()
    expect(page.locator("#view-news")).to_be_visible()
    expect(page).to_have_url(re.compile("#news$"))


def test_a_policy_of_the_readers_judges_what_nothing_judged(open_page: Open) -> None:
    policy = parse_policy(b'version: 1\nallow: ["*.npm.example"]\n', "policy.yaml")
    page = open_page(sample(build(None)), policy=policy).page
    assert "Nothing judged" not in page.locator(".head").inner_text()
    page.locator(".tile", has_text="denied by your policy").click()
    expect(status(page)).to_contain_text("9 of 11 rows")
    assert not any("npm" in name for name in destinations(page))
    assert page.get_by_role("columnheader", name="Your policy").first.is_visible()


def test_failures_on_the_loopback_are_told_beside_the_others(open_page: Open) -> None:
    refused = [replace(each, outcome="refused") if each.is_loopback else each for each in build(None).acts]
    page = open_page(sample(replace(build(None), acts=tuple(refused)))).page
    assert page.locator(".tile", has_text="failed").inner_text().split("\n") == [
        "2",
        "failed attempts",
        "and 1 on this machine",
    ]


def test_a_name_that_was_asked_for_is_shown_and_found(open_page: Open) -> None:
    asks = [
        replace(each, question=name, started_ns=each.started_ns + place)
        for each in build(None).acts
        if each.question
        for place, name in enumerate(("a.example", "b.example", "c.example", "no-such-host.invalid"))
    ]
    page = open_page(sample(replace(build(None), acts=tuple(asks)))).page
    row = page.locator(f"{REMOTE} tr.row")
    assert "asks for a.example, b.example, c.example and 1 more" in row.inner_text()
    page.get_by_label("Filter by name").fill("nothing of the kind")
    expect(row).to_have_count(0)
    page.get_by_label("Filter by name").fill("no-such")
    expect(status(page)).to_have_text("1 row, 4 attempts")
    expect(row).to_have_count(1)
    page.click(f"{REMOTE} .open")
    expect(page.locator("tr.details dl")).to_contain_text("no-such-host.invalid")


def test_a_column_is_sorted_by_the_keyboard_one_way_then_the_other_then_as_it_was(open_page: Open) -> None:
    page = open_page(sample(build())).page
    as_it_was = destinations(page)
    header = page.get_by_role("columnheader", name="Attempts")
    header.get_by_role("button").focus()
    page.keyboard.press("Enter")
    expect(header).to_have_attribute("aria-sort", "descending")
    expect(names(page).first).to_have_text("metrics.example:443")
    page.keyboard.press("Space")
    expect(header).to_have_attribute("aria-sort", "ascending")
    expect(names(page).last).to_have_text("metrics.example:443")
    page.keyboard.press("Enter")
    expect(names(page)).to_have_text(as_it_was)
    assert header.get_attribute("aria-sort") is None


def test_names_sort_by_their_numbers(open_page: Open) -> None:
    page = open_page(large(400)).page
    header = page.get_by_role("columnheader", name="Destination")
    header.get_by_role("button").click()
    expect(header).to_have_attribute("aria-sort", "ascending")
    numbers = [int(name.split("-")[1].split(".")[0]) for name in destinations(page)]
    assert numbers == sorted(numbers)
    assert len(numbers) == 100


def test_filters_leave_what_has_all_of_it_and_say_how_much_that_is(open_page: Open) -> None:
    page = open_page(sample(build())).page
    page.get_by_label("Filter by name").fill("NPM curl")
    expect(status(page)).to_have_text("1 of 11 rows, 2 attempts")
    expect(names(page)).to_have_text(["telemetry.example:443"])
    page.get_by_label("Filter by name").fill("")
    expect(status(page)).to_have_text("11 rows, 222 attempts")
    page.get_by_label("Verdict", exact=True).select_option("audit")
    page.get_by_label("Transport", exact=True).select_option("tcp")
    expect(status(page)).to_contain_text("2 of 11 rows")
    page.get_by_label("Verdict", exact=True).select_option("")
    page.get_by_label("Step", exact=True).select_option("test")
    expect(names(page)).to_have_text(["metrics.example:443"])
    page.get_by_label("Step", exact=True).select_option("")
    page.get_by_label("only new").check()
    expect(names(page)).to_have_text(FIRST)
    page.get_by_label("Filter by name").fill("no such thing")
    expect(status(page)).to_contain_text("0 of 11 rows")
    expect(page.locator(f"{REMOTE} tbody")).to_have_text("Nothing is like that.")


def test_a_search_that_a_tile_took_the_place_of_filters_no_more(open_page: Open) -> None:
    page = open_page(sample(build())).page
    stop_clock(page)  # a search begins a moment after its last letter
    page.get_by_label("Filter by name").fill("git.example")
    page.locator(".tile", has_text="new").click()
    expect(names(page)).to_have_text(FIRST)
    page.clock.run_for(1000)
    expect(page.get_by_label("Filter by name")).to_have_value("")
    expect(names(page)).to_have_text(FIRST)


def test_an_address_or_a_rule_finds_its_row(open_page: Open) -> None:
    page = open_page(sample(build())).page
    page.get_by_label("Filter by name").fill("198.51.100.7")
    expect(status(page)).to_contain_text("1 of 11 rows")
    expect(names(page)).to_have_text(["cdn.npm.example:443"])


def test_a_row_opens_to_all_that_is_known_of_it(open_page: Open) -> None:
    page = open_page(sample(build())).page
    button = page.get_by_role("button", name="203.0.113.99:4444", expanded=False)
    button.focus()
    page.keyboard.press("Enter")
    details = page.locator("tr.details")
    for words in ("refused (ECONNREFUSED)", "node install.js", "default", "new to the baseline", "3.50 s"):
        expect(details).to_contain_text(words)
    page.keyboard.press("Enter")
    expect(details).to_have_count(0)
    page.locator("tr.row").first.locator("td").last.click()
    expect(details).to_contain_text("node install.js")
    details.locator("code").last.click()
    expect(details).to_have_count(1)
    page.locator("tr.row").first.locator("td").last.click()
    expect(details).to_have_count(0)


def test_each_header_shows_that_it_sorts(open_page: Open) -> None:
    page = open_page(sample(build())).page
    marks = page.locator(f"{REMOTE} thead .way")
    assert set(marks.all_inner_texts()) == {"↕"}
    page.get_by_role("columnheader", name="Sent").get_by_role("button").click()
    expect(marks.filter(has_text="▼")).to_have_count(1)
    assert sorted(set(marks.all_inner_texts())) == ["↕", "▼"]


def test_a_tile_and_what_to_look_at_lead_to_their_rows(open_page: Open) -> None:
    page = open_page(sample(build("enforce"))).page
    page.get_by_role("tab", name="Policy").click()
    page.locator(".tile", has_text="denied").click()
    expect(page.get_by_role("tab", name="Destinations")).to_have_attribute("aria-selected", "true")
    denied = ["telemetry.example:443", "203.0.113.99:4444"]
    expect(names(page)).to_have_text(denied)  # what is denied isn't failed
    page.locator(".tile", has_text="failed").click()
    expect(names(page)).to_have_text(["[2001:db8::beef]:8443"])
    expect(page.get_by_label("only failed")).to_be_checked()
    page.locator(".look").get_by_role("button", name="203.0.113.99:4444").click()
    expect(names(page)).to_have_text(["203.0.113.99:4444"])


def test_thousands_of_rows_come_in_portions_and_all_of_them_in_the_end(open_page: Open) -> None:
    opened = open_page(large(1000))
    before = opened.elements
    total = int(status(opened.page).inner_text().split()[0].replace(",", ""))
    assert total > 300
    more = opened.page.locator(f"{REMOTE} > .more-rows")
    for shown in range(100, total, 100):
        expect(names(opened.page)).to_have_count(shown)
        more.focus()
        opened.page.keyboard.press("Enter")
    expect(names(opened.page)).to_have_count(total)
    expect(more).to_be_hidden()
    assert before < opened.elements


def names(page: Page) -> Locator:
    """Of the rows that are shown, in their order."""
    return page.locator(f"{REMOTE} tr.row .open")


def destinations(page: Page) -> list[str]:
    """The same as texts, as they are now."""
    return [name.strip() for name in names(page).all_inner_texts()]


def status(page: Page) -> Locator:
    """What is said of how many they are."""
    return page.locator(f"{REMOTE} > .status")
