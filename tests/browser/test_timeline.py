"""The timeline: marks that are read with the pointer, by keys, and as a table."""

from __future__ import annotations

from typing import TYPE_CHECKING

from tests.unit.report.builds import build
from tests.unit.report.samples import large, sample

if TYPE_CHECKING:
    from playwright.sync_api import Page

    from tests.browser.conftest import Open


def test_each_program_that_acted_has_a_lane_in_the_order_in_which_they_began(open_page: Open) -> None:
    page = open_page(sample(build()), at="#timeline").page
    lanes = page.locator(".lane-line").evaluate_all("all => all.map((one) => one.getAttribute('aria-label'))")
    assert lanes[:2] == ["sh 4001: 1 act", "git-remote-https 4003: 2 acts"]
    assert "npm 4004: 25 acts" in lanes
    assert len(lanes) == 7


def test_a_mark_under_the_pointer_tells_what_it_is(open_page: Open) -> None:
    page = open_page(sample(build()), at="#timeline").page
    page.locator(".chart .mark.audit").first.hover()
    assert told(page) == (
        "node: an attempt to 203.0.113.99:4444, would be denied, 3.50 s after the job began"
    )


def test_arrow_keys_go_from_mark_to_mark_and_from_lane_to_lane(open_page: Open) -> None:
    page = open_page(sample(build()), at="#timeline").page
    page.locator(".chart [tabindex='0']").focus()
    assert told(page).startswith("sh: an attempt to 192.0.2.1, allowed, 9.30 s")
    page.keyboard.press("ArrowRight")
    assert told(page).startswith("git-remote-https: 2 attempts to 192.0.2.53:53, git.example:443")
    page.keyboard.press("ArrowDown")
    assert told(page).startswith("npm: an attempt to registry.npm.example:443")
    page.keyboard.press("End")
    assert "3.17 s" in told(page)
    page.keyboard.press("Home")
    page.keyboard.press("ArrowUp")
    assert told(page).startswith("git-remote-https")
    assert page.locator(".chart [tabindex='0']").count() == 1


def test_the_table_says_the_same_in_the_order_of_time(open_page: Open) -> None:
    page = open_page(sample(build()), at="#timeline").page
    page.get_by_text("The same as a table").click()
    rows = page.locator("details.as-table tbody tr")
    assert rows.count() == 44
    assert rows.first.inner_text().split("\t")[:3] == ["95 ms", "git-remote-https", "192.0.2.53:53"]
    assert "192.0.2.1" in rows.last.inner_text()


def test_of_thousands_of_acts_few_are_drawn_and_all_are_told(open_page: Open) -> None:
    opened = open_page(large(5000), at="#timeline")
    assert opened.page.locator(".lane-line").count() == 40
    assert opened.elements < 6000
    opened.page.get_by_role("button", name="Show 40 more").click()
    assert opened.page.locator(".lane-line").count() == 80


def told(page: Page) -> str:
    """Of the mark that is looked at."""
    return page.locator(".told").inner_text()
