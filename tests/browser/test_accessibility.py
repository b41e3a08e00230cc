"""axe-core finds nothing, on a phone there is nothing to scroll sideways, and paper and no script will do."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import expect

from exporter.policy.parse import parse_policy
from tests.browser.conftest import unfold
from tests.unit.report.builds import build
from tests.unit.report.samples import large, sample

if TYPE_CHECKING:
    from playwright.sync_api import Page

    from tests.browser.conftest import Open

pytestmark = pytest.mark.timeout(300)  # axe-core looks at every element, several times

VIEWS = ("destinations", "tree", "timeline", "news", "policy")
STANDARDS = ("wcag2a", "wcag2aa", "wcag21a", "wcag21aa", "wcag22aa", "best-practice")
POLICY = parse_policy(b'version: 1\nallow: ["*.npm.example"]\n', "policy.yaml")


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("size", [(1400, 900), (375, 812)])
def test_each_view_is_accessible(open_page: Open, scheme: str, size: tuple[int, int]) -> None:
    jobs = sample(build(), build("enforce"), notes=("A note.",))
    page = open_page(jobs, scheme=scheme, size=size, policy=POLICY).page
    assert violations(page) == []
    for view in VIEWS:
        page.click(f"#tab-{view}")
        unfold(page, view)
        page.locator(f"#view-{view} .open").evaluate_all(
            "all => all.slice(0, 3).forEach((one) => one.click())"
        )
        page.locator(f"#view-{view} [role=treeitem] .line").evaluate_all("all => all.at(-1)?.click()")
        page.evaluate("scrollTo(0, 0)")  # the bar at the top of the window covers what is scrolled below it
        assert violations(page, f"#view-{view}") == [], view


def test_a_report_that_nothing_judged_is_accessible(open_page: Open) -> None:
    page = open_page(sample(build(None))).page
    for view in VIEWS:
        page.click(f"#tab-{view}")
        assert violations(page) == [], view


def test_a_large_report_and_one_without_scripts_are_accessible(open_page: Open) -> None:
    assert violations(open_page(large(1000)).page) == []
    assert violations(without_the_script(open_page)) == []


@pytest.mark.parametrize("view", VIEWS)
def test_on_a_phone_nothing_scrolls_sideways(open_page: Open, view: str) -> None:
    page = open_page(sample(build()), size=(375, 812), policy=POLICY, at=f"#{view}").page
    assert page.locator(f"#view-{view}").is_visible()
    page.locator(f"#view-{view} .open").evaluate_all("all => all.forEach((one) => one.click())")
    page.locator(f"#view-{view} [role=treeitem] .line").evaluate_all("all => all.at(-1)?.click()")
    assert page.evaluate("document.documentElement.scrollWidth") == 375


@pytest.mark.parametrize("size", [(1400, 900), (375, 812)])
def test_without_scripts_there_is_a_table_of_destinations(open_page: Open, size: tuple[int, int]) -> None:
    page = open_page(sample(build(), build("enforce")), scripts=False, size=size).page
    rows = page.locator("#plain section").first.locator("tbody tr")
    assert rows.count() == 12
    telemetry = rows.filter(has_text="telemetry.example:443").inner_text()
    for words in (
        "new",
        "would be denied",
        "sh › npm › node › sh › curl",
        "dependencies",
    ):
        assert words in telemetry
    assert "asks for git.example" in rows.filter(has_text="192.0.2.53:53").inner_text()
    assert "loopback" in rows.last.inner_text()
    assert (
        "attempts 446 = exported 86 + aggregated 360 + dropped 0 + pending 0"
        in page.locator("header").inner_text()
    )
    assert not page.locator("#app").is_visible()


def test_without_scripts_a_large_report_says_what_it_leaves_out(open_page: Open) -> None:
    page = open_page(large(5000), scripts=False).page
    assert page.locator("#plain tbody tr").count() == 200
    assert "more rows" in page.locator("#plain").inner_text()


def test_on_paper_all_views_follow_each_other_without_what_is_to_be_pressed(open_page: Open) -> None:
    page = open_page(sample(build()), scheme="dark").page
    page.emulate_media(media="print")
    page.evaluate("dispatchEvent(new Event('beforeprint'))")
    for view in VIEWS:
        expect(page.locator(f"#view-{view}")).to_be_visible()
    for words in ("telemetry.example:443", "git-remote-https", "# A draft"):
        assert words in page.locator("main").inner_text()
    assert not page.locator(".controls").first.is_visible()
    assert not page.locator(".tabs").is_visible()
    expect(page.locator("body")).to_have_css("background-color", "rgb(255, 255, 255)")
    assert len(page.pdf()) > 10_000


def violations(page: Page, part: str | None = None) -> list[str]:
    """Rules that axe-core finds broken, and where; of all, or of what the selector `part` finds."""
    options = {"resultTypes": ["violations"], "runOnly": {"type": "tag", "values": list(STANDARDS)}}
    found = Axe().run(page, part, options).response["violations"]
    return [
        f"{rule['id']}: {node['html'][:200]} {node['failureSummary']}"
        for rule in found
        for node in rule["nodes"]
    ]


def without_the_script(open_page: Open) -> Page:
    """As it is where scripts are off; axe-core itself is one."""
    opened = open_page(sample(build()), scripts=False)
    markup = opened.page.content().replace('type="module"', 'type="text/plain"')
    opened.path.write_text(markup, encoding="utf-8")
    return open_page(opened.path).page
