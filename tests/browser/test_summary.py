"""A job's summary is readable in a pull request, on a phone too, and nothing in it is more than text."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.browser.conftest import Open, Opened
from tests.browser.summaries import example, markdown, page, small
from tests.checkout import ROOT
from tests.unit.report.hostile_report import HOSTILE
from tests.unit.report.sheets import row, sheet

DOCS = ROOT / "docs"
PHONE = (360, 740)
WIDER = "[...document.querySelectorAll('table')].filter(one => one.scrollWidth > one.clientWidth + 1).length"
BEYOND = "document.documentElement.scrollWidth - document.documentElement.clientWidth"


def first_table_ends_px(opened: Opened) -> float:
    box = opened.page.locator("table").first.bounding_box()
    assert box is not None
    return box["y"] + box["height"]


def test_on_a_phone_nothing_has_to_be_scrolled_sideways(open_page: Open, tmp_path: Path) -> None:
    opened = open_page(page(markdown(example()), tmp_path), size=PHONE)
    opened.page.evaluate("document.querySelectorAll('details').forEach(one => one.open = true)")
    assert opened.page.evaluate(BEYOND) == 0
    assert opened.page.evaluate(WIDER) == 0


@pytest.mark.parametrize(
    "name", ["x" * 250, f"{'long-label.' * 20}example", "2001:db8:1111:2222:3333:4444:5555:6666"]
)
def test_names_without_an_end_break_on_a_phone(open_page: Open, tmp_path: Path, name: str) -> None:
    made = sheet(
        row(name, chain=("bash", "n" * 40, name), step=name, sent=10**9, received=10**9, attempts=10**6)
    )
    opened = open_page(page(markdown(made), tmp_path), size=PHONE)
    assert opened.page.evaluate(BEYOND) == 0


def test_the_verdict_the_counts_and_what_is_new_are_on_the_first_screen(
    open_page: Open, tmp_path: Path
) -> None:
    opened = open_page(page(markdown(example()), tmp_path), size=PHONE)
    assert first_table_ends_px(opened) <= PHONE[1]
    opened.picture("summary-phone")


def test_it_is_pictured_for_the_manual(open_page: Open, tmp_path: Path) -> None:
    opened = open_page(page(markdown(example()), tmp_path), size=(912, 760))
    assert opened.page.locator("h3").inner_text().startswith("⚠️")
    opened.picture("summary", of="body")


def test_nothing_of_a_job_runs_loads_or_links(open_page: Open, tmp_path: Path) -> None:
    rows = [
        row(text, chain=(text, text), step=text, novel=True, verdict="deny", rule=text)
        for text in HOSTILE.values()
    ]
    made = sheet(*rows, title="<img src=x onerror=alert(1)>", warnings=list(HOSTILE.values()), mode="enforce")
    opened = open_page(page(markdown(made), tmp_path))
    links = opened.page.evaluate("[...document.links].map(one => one.href)")
    assert links == ["https://jaeger.example/trace/7af8cd1de3fa344b938ded2af6d4282f"]
    assert opened.page.evaluate("document.images.length + document.scripts.length") == 0


def test_the_manuals_example_is_what_it_makes() -> None:
    assert f"````markdown\n{markdown(small()).strip()}\n````" in (DOCS / "reports.md").read_text()
