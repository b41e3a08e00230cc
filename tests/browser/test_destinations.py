"""The table of destinations, as one uses it."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from exporter.policy.parse import parse_policy
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
    page.click("text=On this machine’s own loopback")
    assert page.locator("details.loopback tr.row").inner_text().startswith("127.0.0.1:5432")


def test_the_head_says_how_much_there_was_and_that_it_is_everything(open_page: Open) -> None:
    head = open_page(sample(build())).page.locator(".head").inner_text()
    for words in ("build", "group/app · release · run 987", "took 9.42 s", "audited: nothing was denied"):
        assert words in head
    assert "Complete record: the kernel counted 223 attempts, and 223 are accounted for" in head
    assert "(222 off this machine + 1 on loopback; 180 of them counted together)" in head
    assert "222 attempts off this machine + 1 on loopback" in head
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
    assert page.evaluate("document.activeElement.id") == "tab-policy"
    page.get_by_role("link", name="learn a baseline").click()
    assert page.locator("#view-news").is_visible()
    assert page.url.endswith("#news")


def test_a_policy_of_the_readers_judges_what_nothing_judged(open_page: Open) -> None:
    policy = parse_policy(b'version: 1\nallow: ["*.npm.example"]\n', "policy.yaml")
    page = open_page(sample(build(None)), policy=policy).page
    assert "Nothing judged" not in page.locator(".head").inner_text()
    page.locator(".tile", has_text="denied by your policy").click()
    status = page.locator(f"{REMOTE} > .status")
    wait_for(status, "9 of 11 rows")
    assert not any("npm" in name for name in destinations(page))
    assert page.get_by_role("columnheader", name="Your policy").first.is_visible()


def test_failures_on_the_loopback_are_told_beside_the_others(open_page: Open) -> None:
    refused = [replace(each, outcome="refused") if each.is_loopback else each for each in build(None).acts]
    page = open_page(sample(replace(build(None), acts=tuple(refused)))).page
    assert page.locator(".tile", has_text="failed").inner_text().split("\n") == [
        "2",
        "failed attempts",
        "and 1 on loopback",
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
    page.get_by_label("Filter by name").fill("no-such")
    wait_for(page.locator(f"{REMOTE} > .status"), "1 row, 4 attempts")
    page.click(f"{REMOTE} .open")
    assert "no-such-host.invalid" in page.locator("tr.details dl").inner_text()


def test_a_column_is_sorted_by_the_keyboard_one_way_then_the_other_then_as_it_was(open_page: Open) -> None:
    page = open_page(sample(build())).page
    as_it_was = destinations(page)
    header = page.get_by_role("columnheader", name="Attempts")
    header.get_by_role("button").focus()
    page.keyboard.press("Enter")
    assert header.get_attribute("aria-sort") == "descending"
    assert destinations(page)[0] == "metrics.example:443"
    page.keyboard.press("Space")
    assert header.get_attribute("aria-sort") == "ascending"
    assert destinations(page)[-1] == "metrics.example:443"
    page.keyboard.press("Enter")
    assert header.get_attribute("aria-sort") is None
    assert destinations(page) == as_it_was


def test_names_sort_by_their_numbers(open_page: Open) -> None:
    page = open_page(large(400)).page
    page.get_by_role("columnheader", name="Destination").get_by_role("button").click()
    numbers = [int(name.split("-")[1].split(".")[0]) for name in destinations(page)]
    assert numbers == sorted(numbers)
    assert len(numbers) == 100


def test_filters_leave_what_has_all_of_it_and_say_how_much_that_is(open_page: Open) -> None:
    page = open_page(sample(build())).page
    page.get_by_label("Filter by name").fill("NPM curl")
    status = page.locator(f"{REMOTE} > .status")
    wait_for(status, "1 of 11 rows, 2 attempts")
    assert destinations(page) == ["telemetry.example:443"]
    page.get_by_label("Filter by name").fill("")
    wait_for(status, "11 rows")
    page.get_by_label("Verdict", exact=True).select_option("audit")
    page.get_by_label("Transport", exact=True).select_option("tcp")
    wait_for(status, "2 of 11 rows")
    page.get_by_label("Verdict", exact=True).select_option("")
    page.get_by_label("Step", exact=True).select_option("test")
    assert destinations(page) == ["metrics.example:443"]
    page.get_by_label("Step", exact=True).select_option("")
    page.get_by_label("only new").check()
    assert destinations(page) == FIRST
    page.get_by_label("Filter by name").fill("no such thing")
    wait_for(status, "0 of 11 rows")
    assert page.locator(f"{REMOTE} tbody").inner_text() == "Nothing is like that."


def test_an_address_or_a_rule_finds_its_row(open_page: Open) -> None:
    page = open_page(sample(build())).page
    page.get_by_label("Filter by name").fill("198.51.100.7")
    wait_for(page.locator(f"{REMOTE} > .status"), "1 of 11 rows")
    assert destinations(page) == ["cdn.npm.example:443"]


def test_a_row_opens_to_all_that_is_known_of_it(open_page: Open) -> None:
    page = open_page(sample(build())).page
    button = page.get_by_role("button", name="203.0.113.99:4444", expanded=False)
    button.focus()
    page.keyboard.press("Enter")
    told = page.locator("tr.details").inner_text()
    for words in ("refused (ECONNREFUSED)", "node install.js", "default", "new to the baseline", "3.50 s"):
        assert words in told
    page.keyboard.press("Enter")
    assert page.locator("tr.details").count() == 0
    page.locator("tr.row").first.locator("td").last.click()
    assert "node install.js" in page.locator("tr.details").inner_text()
    page.locator("tr.details code").last.click()
    assert page.locator("tr.details").count() == 1
    page.locator("tr.row").first.locator("td").last.click()
    assert page.locator("tr.details").count() == 0


def test_each_header_shows_that_it_sorts(open_page: Open) -> None:
    page = open_page(sample(build())).page
    marks = page.locator(f"{REMOTE} thead .way")
    assert set(marks.all_inner_texts()) == {"↕"}
    page.get_by_role("columnheader", name="Sent").get_by_role("button").click()
    assert sorted(set(marks.all_inner_texts())) == ["↕", "▼"]


def test_a_tile_and_what_to_look_at_lead_to_their_rows(open_page: Open) -> None:
    page = open_page(sample(build("enforce"))).page
    page.get_by_role("tab", name="Policy").click()
    page.locator(".tile", has_text="denied").click()
    assert page.get_by_role("tab", name="Destinations").get_attribute("aria-selected") == "true"
    assert destinations(page) == ["telemetry.example:443", "203.0.113.99:4444"]  # what is denied isn't failed
    page.locator(".tile", has_text="failed").click()
    assert destinations(page) == ["[2001:db8::beef]:8443"]
    assert page.get_by_label("only failed").is_checked()
    page.locator(".look").get_by_role("button", name="203.0.113.99:4444").click()
    assert destinations(page) == ["203.0.113.99:4444"]


def test_thousands_of_rows_come_in_portions_and_all_of_them_in_the_end(open_page: Open) -> None:
    opened = open_page(large(1000))
    before = opened.elements
    assert len(destinations(opened.page)) == 100
    total = int(opened.page.locator(f"{REMOTE} > .status").inner_text().split()[0].replace(",", ""))
    assert total > 300
    more = opened.page.locator(f"{REMOTE} > .more-rows")
    more.focus()
    while more.is_visible():
        opened.page.keyboard.press("Enter")
        opened.page.locator(f"{REMOTE} > .more-rows").focus()
    assert len(destinations(opened.page)) == total
    assert before < opened.elements


def destinations(page: Page) -> list[str]:
    """Of the rows that are shown, in their order."""
    return [name.strip() for name in page.locator(f"{REMOTE} tr.row .open").all_inner_texts()]


def wait_for(place: Locator, text: str) -> None:
    """Until it is there."""
    place.filter(has_text=text).wait_for()
