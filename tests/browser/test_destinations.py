"""The table of destinations, as one uses it."""

from __future__ import annotations

from typing import TYPE_CHECKING

from tests.unit.report.builds import build
from tests.unit.report.samples import large, sample

if TYPE_CHECKING:
    from playwright.sync_api import Locator, Page

    from tests.browser.conftest import Open

REMOTE = "#view-destinations > div > .destinations"


def test_what_is_new_and_against_the_policy_comes_first_and_the_loopback_is_apart(open_page: Open) -> None:
    page = open_page(sample(build())).page
    assert destinations(page)[:2] == ["telemetry.example:443", "203.0.113.99:4444"]
    assert "127.0.0.1:5432" not in destinations(page)
    page.click("text=On this machine’s own loopback")
    assert page.locator("details.loopback tr.row").inner_text().startswith("127.0.0.1:5432")


def test_the_head_says_how_much_there_was_and_that_it_is_everything(open_page: Open) -> None:
    head = open_page(sample(build())).page.locator(".head").inner_text()
    for words in ("build", "group/app · release · run 987", "took 9.42 s", "audited: nothing was denied"):
        assert words in head
    assert "Complete: 223 attempts, 223 accounted for (43 one by one, 180 counted together)" in head


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
    assert destinations(page) == ["telemetry.example:443", "203.0.113.99:4444"]
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


def test_a_tile_and_what_to_look_at_lead_to_their_rows(open_page: Open) -> None:
    page = open_page(sample(build("enforce"))).page
    page.get_by_role("tab", name="Policy").click()
    page.locator(".tile", has_text="denied").click()
    assert page.get_by_role("tab", name="Destinations").get_attribute("aria-selected") == "true"
    assert destinations(page) == ["telemetry.example:443", "203.0.113.99:4444"]
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
