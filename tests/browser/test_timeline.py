"""The timeline: marks that are read with the pointer, by keys, and as a table."""

from __future__ import annotations

import re
from dataclasses import replace
from typing import TYPE_CHECKING

import pytest
from playwright.sync_api import expect

from tests.unit.report.builds import build
from tests.unit.report.samples import BEGAN_NS, MS, act, large, sample, span_id

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
    expect(page.locator(".told")).to_have_text(
        "node: an attempt to 203.0.113.99:4444, would be denied, failed (refused), 3.50 s after the job began"
    )


def test_what_failed_is_drawn_apart_from_what_did_not(open_page: Open) -> None:
    page = open_page(sample(build(None)), at="#timeline").page
    failed = page.locator(".chart .mark.failed")
    names = failed.evaluate_all("all => all.map((one) => one.getAttribute('aria-label'))")
    assert [name.split(", ")[:3] for name in names] == [
        ["node: an attempt to 203.0.113.99:4444", "not judged", "failed (refused)"],
        ["python3: an attempt to [2001:db8::beef]:8443", "not judged", "failed (timeout)"],
    ]
    fills = "all => [...new Set(all.map((one) => getComputedStyle(one).fill))]"
    others = page.locator(".chart .mark:not(.failed) path").evaluate_all(fills)
    assert set(failed.locator("path").evaluate_all(fills)).isdisjoint(others)
    assert "hollow: failed" in page.locator(".legend").inner_text()


def test_destinations_are_named_beside_marks_as_far_as_there_is_room(open_page: Open) -> None:
    page = open_page(sample(build()), at="#timeline").page
    lanes = page.locator(".lane-line").evaluate_all(
        "all => all.map((one) => [...one.querySelectorAll('.label')].map((each) => each.textContent))"
    )
    assert lanes[0] == ["192.0.2.1"]
    assert lanes[1] == ["git.example:443"]  # and before, a lookup of that
    assert lanes[2] == ["registry.npm.example:443"]
    assert all(len(labels) == 1 for labels in lanes)
    assert page.locator(".lane .label").evaluate_all(
        """all => all.every((one) => one.querySelector("text").getBoundingClientRect().right
            <= one.closest(".lane").getBoundingClientRect().right + 1)"""
    )


def test_a_lookup_is_named_by_what_that_program_asked_for(open_page: Open) -> None:
    (lookup,) = [each for each in build().acts if each.question]
    acts = [
        replace(lookup, question=f"host-{by}.example", parent_id=span_id(by), started_ns=BEGAN_NS + by * MS)
        for by in (3, 7)
    ]
    page = open_page(sample(replace(build(), acts=tuple(acts))), at="#timeline").page
    assert page.locator(".lane .label").all_text_contents() == ["host-3.example", "host-7.example"]


@pytest.mark.parametrize(
    ("took_ms", "ticks"),
    [
        (9420, ["0", "2 s", "4 s", "6 s", "8 s"]),
        (1130, ["0", "200 ms", "400 ms", "600 ms", "800 ms", "1 s"]),
        (200_000, ["0", "1 min", "2 min", "3 min"]),
        (3 * 3_600_000, ["0", "30 min", "1 h", "1 h 30 min", "2 h", "2 h 30 min", "3 h"]),
    ],
)
def test_the_axis_has_round_times(open_page: Open, took_ms: int, ticks: list[str]) -> None:
    job = replace(build(), programs=(), acts=(act(1, "a.example", by=1, chain=("sh",)),))
    page = open_page(sample(replace(job, ended_ns=BEGAN_NS + took_ms * MS)), at="#timeline").page
    assert page.locator(".axis text").all_text_contents() == ticks


def test_arrow_keys_go_from_mark_to_mark_and_from_lane_to_lane(open_page: Open) -> None:
    page = open_page(sample(build()), at="#timeline").page
    page.locator(".chart [tabindex='0']").focus()
    expect_told(page, "sh: an attempt to 192.0.2.1, allowed, 9.30 s")
    page.keyboard.press("ArrowRight")
    expect_told(page, "git-remote-https: 2 attempts to 192.0.2.53:53, git.example:443")
    page.keyboard.press("ArrowDown")
    expect_told(page, "npm: an attempt to registry.npm.example:443")
    page.keyboard.press("End")
    expect(page.locator(".told")).to_contain_text("3.17 s")
    page.keyboard.press("Home")
    page.keyboard.press("ArrowUp")
    expect_told(page, "git-remote-https")
    expect(page.locator(".chart [tabindex='0']")).to_have_count(1)


def test_the_table_says_the_same_in_the_order_of_time(open_page: Open) -> None:
    page = open_page(sample(build()), at="#timeline").page
    page.get_by_text("The same as a table").click()
    rows = page.locator("details.as-table tbody tr")
    expect(rows).to_have_count(44)
    assert rows.first.inner_text().split("\t")[:3] == [
        "95 ms",
        "git-remote-https",
        "192.0.2.53:53\nasks for git.example\n",
    ]
    assert "192.0.2.1" in rows.last.inner_text()


def test_of_thousands_of_acts_few_are_drawn_and_all_are_told(open_page: Open) -> None:
    opened = open_page(large(5000), at="#timeline")
    assert opened.page.locator(".lane-line").count() == 40
    assert opened.elements < 6000
    opened.page.get_by_role("button", name="Show 40 more").click()
    expect(opened.page.locator(".lane-line")).to_have_count(80)


def expect_told(page: Page, start: str) -> None:
    """What is told of the mark that is looked at begins so."""
    expect(page.locator(".told")).to_have_text(re.compile(rf"^{re.escape(start)}"))
