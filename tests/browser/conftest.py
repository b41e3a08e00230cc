"""Chromium, and pages opened in it from disk, which may neither load nor complain about anything."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import Browser, BrowserContext, Page, Route, expect

from exporter.report.html import render
from exporter.report.model import Report
from tools.pictures.chromium import CHROMIUM, FOLDER, WAIT_MS, chromium

WIDE, PHONE = (1400, 900), (375, 812)
COPIED_FOR_MS = 2000
"""How long a button says so: the same as in exporter/report/page/js/dom.js."""


@dataclass
class Opened:
    """A page, and what it did that it may not."""

    page: Page
    path: Path
    requests: list[str] = field(default_factory=list)
    complaints: list[str] = field(default_factory=list)

    def view(self, name: str) -> None:
        """Open a tab by its id."""
        self.page.click(f"#tab-{name}")

    def picture(self, name: str, of: str | None = None) -> None:
        """Keep how it looks, or how what the selector `of` finds does, for the documentation."""
        FOLDER.mkdir(parents=True, exist_ok=True)
        path = FOLDER / f"{name}.png"
        self.page.mouse.move(0, 0)
        if of is None:
            self.page.screenshot(path=path)
        else:
            self.page.locator(of).screenshot(path=path)

    @property
    def elements(self) -> int:
        """How many there are."""
        return int(self.page.evaluate("document.querySelectorAll('*').length"))


Open = Callable[..., Opened]


@pytest.fixture(scope="package")
def browser() -> Iterator[Browser]:
    """One for all tests here. It ends before others begin: they may want an event loop of their own."""
    assert CHROMIUM.exists(), "tests/browser need Debian's chromium: make setup-dev installs it"
    with chromium() as running:
        yield running


@pytest.fixture
def open_page(browser: Browser, tmp_path: Path) -> Iterator[Open]:
    """Opens a report, or a page that was written; in the end nothing was loaded or complained about."""
    opened: list[Opened] = []
    contexts: list[BrowserContext] = []

    def open_it(
        report: Report | Path,
        *,
        size: tuple[int, int] = WIDE,
        scheme: str = "light",
        scripts: bool = True,
        at: str = "",
        **settings: Any,
    ) -> Opened:
        if isinstance(report, Report):
            path = tmp_path / f"report-{len(opened)}.html"
            path.write_text(render(report, **settings), encoding="utf-8")
        else:
            path = report
        context = browser.new_context(
            viewport={"width": size[0], "height": size[1]},
            color_scheme="dark" if scheme == "dark" else "light",
            java_script_enabled=scripts,
            reduced_motion="reduce",
        )
        contexts.append(context)
        context.set_default_timeout(WAIT_MS)
        opened.append(_watched(context, path))
        opened[-1].page.goto(path.as_uri() + at)
        return opened[-1]

    yield open_it
    for context in contexts:
        context.close()
    for each in opened:
        assert each.requests == []
        assert each.complaints == []


def _watched(context: BrowserContext, path: Path) -> Opened:
    made = Opened(context.new_page(), path)

    def decide(route: Route) -> None:
        if route.request.url.partition("#")[0] == path.as_uri():
            route.continue_()
        else:
            made.requests.append(route.request.url)
            route.abort()

    context.route("**/*", decide)
    made.page.on("console", lambda message: made.complaints.append(message.text))
    made.page.on("pageerror", lambda error: made.complaints.append(str(error)))
    made.page.on("dialog", lambda dialog: made.complaints.append(f"a dialog: {dialog.message}"))
    context.on("page", lambda page: made.complaints.append(f"another page: {page.url}"))
    return made


def unfold(page: Page, view: str) -> None:
    """Open what is folded in a view. What is inside is made in an event, which comes when it comes."""
    page.locator(f"#view-{view} summary").evaluate_all("all => all.forEach((one) => one.click())")
    expect(page.locator(f"#view-{view} summary:only-child")).to_have_count(0)


def stop_clock(page: Page) -> None:
    """From now on time goes by in the page by `page.clock.run_for` alone, however slow the machine."""
    page.clock.install(time=0)
    page.clock.pause_at(3600)  # ahead of whatever went by since


def copied(page: Page, button: str) -> str:
    """What is in the clipboard once `button` was pressed, which says so for a while; the clock stands."""
    page.context.grant_permissions(["clipboard-read", "clipboard-write"])
    stop_clock(page)
    page.get_by_role("button", name=button).click()
    said = page.get_by_text("Copied ✓")
    expect(said).to_be_visible()
    page.clock.run_for(COPIED_FOR_MS)
    expect(said).to_have_count(0)
    return str(page.evaluate("navigator.clipboard.readText()"))
