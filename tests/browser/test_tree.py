"""The tree of programs, by keyboard only, and that however many there are, few are made."""

from __future__ import annotations

import re
from dataclasses import replace
from typing import TYPE_CHECKING

from playwright.sync_api import expect

from tests.browser.conftest import PHONE, copied
from tests.unit.report.builds import build
from tests.unit.report.samples import act, large, program, sample

if TYPE_CHECKING:
    from playwright.sync_api import Locator, Page

    from tests.browser.conftest import Open


LINE_PX = 30
"""At most the height of one, in the page's type."""


def test_programs_hang_on_who_started_them_and_destinations_on_who_went_there(open_page: Open) -> None:
    opened = open_page(sample(build()), at="#tree")
    lines = tree(opened.page)
    assert lines[0].startswith("1 sh 4001")
    curl = next(place for place, line in enumerate(lines) if line.startswith("5 curl 4007"))
    assert lines[curl + 1].startswith("6 → telemetry.example:443")
    assert "× 2, established" in lines[curl + 1]
    assert "99.2 kB sent, 620 B received" in lines[curl + 1]
    assert any("192.0.2.53:53" in line and "asks for git.example" in line for line in lines)
    assert any(line.startswith("3 → registry.npm.example:443") and "× 24" in line for line in lines)
    assert not any("tar 4010" in line for line in lines)
    opened.page.get_by_label("also 1 program that made no connection").check()
    expect(line(opened.page, "tar 4010")).to_have_attribute("aria-level", "3")


def test_the_keys_of_a_tree_move_open_and_close(open_page: Open) -> None:
    page = open_page(sample(build())).page
    page.locator("#tab-destinations").focus()
    page.keyboard.press("ArrowRight")
    expect(page.locator("#tab-tree")).to_have_attribute("aria-selected", "true")
    for _ in range(2 + page.get_by_label("also 1 program").count()):
        page.keyboard.press("Tab")
    expect_focus(page, "sh 4001")
    page.keyboard.press("ArrowLeft")
    expect(page.get_by_role("treeitem")).to_have_count(1)
    page.keyboard.press("ArrowRight")
    page.keyboard.press("ArrowRight")
    expect_focus(page, "→192.0.2.1")
    page.keyboard.press("ArrowDown")
    expect_focus(page, "git 4002")
    page.keyboard.press("ArrowLeft")
    expect_focus(page, "sh 4001")
    page.keyboard.press("n")
    expect_focus(page, "npm 4004")
    page.keyboard.press("*")
    expect(line(page, "git-remote-https")).to_have_attribute("aria-level", "3")
    page.keyboard.press("End")
    expect_focus(page, "→metrics.example:443")
    page.keyboard.press("ArrowUp")
    page.keyboard.press("Home")
    expect_focus(page, "sh 4001")
    page.keyboard.press("Enter")
    expect(page.get_by_role("treeitem")).to_have_count(1)
    expect(page.locator("[role=tree] [tabindex='0']")).to_have_count(1)


def test_a_search_leaves_what_matches_and_the_way_there(open_page: Open) -> None:
    page = open_page(sample(build()), at="#tree").page
    page.get_by_label("Search programs and destinations").fill("files.wheels")
    page.locator(".status", has_text="1 program found").wait_for()
    found = tree(page)
    assert [line.split(" ")[:2] for line in found] == [["1", "sh"], ["2", "python3"], ["3", "→"]]
    page.get_by_label("Search programs and destinations").fill("nothing of the kind")
    page.locator(".status", has_text="0 programs found").wait_for()
    assert tree(page) == []


def test_a_name_that_was_asked_for_is_found(open_page: Open) -> None:
    acts = [replace(each, question="beacon.example") if each.question else each for each in build().acts]
    page = open_page(sample(replace(build(), acts=tuple(acts))), at="#tree").page
    page.get_by_label("Search programs and destinations").fill("beacon")
    page.locator(".status", has_text="1 program found").wait_for()
    assert tree(page)[-1].startswith("4 → 192.0.2.53:53  udp asks for beacon.example")


def test_enter_on_what_was_done_tells_all_of_it_and_escape_leads_back(open_page: Open) -> None:
    page = open_page(sample(build()), at="#tree").page
    leaf = page.get_by_role("treeitem").filter(has_text="203.0.113.99:4444").last
    leaf.focus()
    page.keyboard.press("Enter")
    details = page.get_by_role("region", name="Details")
    expect(details).to_be_visible()
    told = details.inner_text()
    for words in (
        "node install.js",
        "would be denied by default",
        "after 3.50 s: refused (ECONNREFUSED), 203.0.113.99",
        "new to the baseline that the job had",
    ):
        assert words in told
    assert told.partition("root first")[2].strip().split("\n") == [
        "sh 4001 /bin/sh -e ci/build.sh",
        "npm 4004 npm ci --no-audit",
        "node 4005 node install.js",
    ]
    assert copied(page, "Copy the command line") == "node install.js"
    page.keyboard.press("Escape")
    expect(page.locator(".pane")).to_be_hidden()
    expect_focus(page, "→203.0.113.99:4444")


def test_a_click_on_a_program_tells_what_is_known_of_it(open_page: Open) -> None:
    long = "curl " + " ".join(f"https://{n}.example" for n in range(100))
    programs = [
        replace(each, command_line=long) if each.name == "curl" else each for each in build().programs
    ]
    page = open_page(sample(replace(build(), programs=tuple(programs))), at="#tree").page
    page.locator("[role=treeitem] b", has_text="curl").click()
    pane = page.get_by_role("region", name="Details")
    expect(pane.locator("code.whole")).to_have_text(long)
    for words in (
        "curl 4007",
        "from 2.92 s after the job began, for 600 ms",
        "99.2 kB sent",
        "npm ci --no-audit",
    ):
        assert words in pane.inner_text()
    pane.get_by_role("button", name="Close the details").click()
    expect(pane).to_be_hidden()
    expect(page.locator("[role=tree] [aria-selected]")).to_have_count(0)


def test_without_spans_of_programs_the_tree_is_made_of_lineages(open_page: Open) -> None:
    page = open_page(sample(replace(build(), programs=())), at="#tree").page
    lines = tree(page)
    assert [line for line in lines if " python3 " in line and line.startswith("2 ")]
    assert any(line.startswith("6 → telemetry.example:443") for line in lines)


def test_an_act_of_nobody_stands_at_the_top(open_page: Open) -> None:
    stray = act(1, "stray.example", by=77, chain=())
    page = open_page(sample(replace(build(), programs=(), acts=(stray,))), at="#tree").page
    assert tree(page)[0].startswith("1 → stray.example:443")


def test_a_tree_of_thousands_is_made_as_far_as_it_is_opened(open_page: Open) -> None:
    assert open_page(large(5000), at="#tree").elements < 4000


def test_many_children_come_in_portions(open_page: Open) -> None:
    programs = [program(1, "make"), *(program(n, f"cc{n}", parent=1) for n in range(2, 252))]
    acts = [act(n, "cache.example", by=n, chain=("make", f"cc{n}")) for n in range(2, 252)]
    page = open_page(sample(replace(build(), programs=tuple(programs), acts=tuple(acts))), at="#tree").page
    page.get_by_role("treeitem").first.focus()
    page.keyboard.press("End")
    expect_focus(page, "Show 100 more of 150")
    page.keyboard.press("Enter")
    expect_focus(page, "cc102 ")
    page.keyboard.press("End")
    expect_focus(page, "Show 50 more of 50")
    page.keyboard.press("Enter")
    expect(page.get_by_text("Show ")).to_have_count(0)
    assert sum(each.startswith("2 cc") for each in tree(page)) == 250


def test_a_chain_of_a_thousand_programs_stays_within_the_page(open_page: Open) -> None:
    chain = [program(n, f"p{n}", parent=n - 1 if n > 1 else None) for n in range(1, 1000)]
    deep = act(1, "deep.example", by=999, chain=("p1", "p999"))
    opened = open_page(sample(replace(build(), programs=tuple(chain), acts=(deep,))), at="#tree")
    opened.page.get_by_label("Search programs and destinations").fill("p142")
    opened.page.locator(".status", has_text="1 program found").wait_for()
    assert tree(opened.page)[-1].startswith("142 p142 ")
    assert opened.page.evaluate("document.documentElement.scrollWidth <= innerWidth")


def test_however_deep_it_is_opened_a_phone_has_room_for_names(open_page: Open) -> None:
    chain = [program(n, f"p{n}", parent=n - 1 if n > 1 else None) for n in range(1, 201)]
    deep = act(1, "deep.example", by=200, chain=("p1", "p200"))
    report = sample(replace(build(), programs=tuple(chain), acts=(deep,)))
    page = open_page(report, at="#tree", size=PHONE).page
    page.get_by_role("treeitem").first.focus()
    page.evaluate(
        """() => { for (let press = 0; press < 400; press += 1) document.activeElement.dispatchEvent(
            new KeyboardEvent("keydown", {key: "ArrowRight", bubbles: true})); }"""
    )
    expect_focus(page, "→deep.example:443")
    assert page.evaluate("document.documentElement.scrollWidth <= innerWidth")
    box = page.get_by_text("deep.example:443", exact=True).last.bounding_box()
    assert box
    assert box["height"] < 2 * LINE_PX


def tree(page: Page) -> list[str]:
    """Level and text of each item."""
    return page.get_by_role("treeitem").evaluate_all(  # type: ignore[no-any-return]
        """items => items.map((item) => [item.getAttribute("aria-level"),
          ...[...item.querySelector(".line").children].filter((part) => part.className !== "twist")
          .map((part) => part.textContent)].join(" "))"""
    )


def line(page: Page, text: str) -> Locator:
    """The item that has the text, and not one above it."""
    return page.get_by_role("treeitem").filter(has_text=text).last


def expect_focus(page: Page, start: str) -> None:
    """The line of the item that has the focus begins so."""
    focused = page.locator("[role=treeitem]:focus > .line")
    expect(focused).to_have_text(re.compile(rf"^{re.escape(start)}"))
