"""How long a report takes to open, by how much was recorded.

What: the time from asking Chromium for the file until it has drawn the table of destinations; then until each
other view is drawn; and how long `ci-egress report` takes to make the page of spans that it has read.

How: reports of one program and its act, of 5,000 and of 50,000 spans, opened in turns, each time in a new
context of the same Chromium, from disk. The figures are medians; for 5,000 spans also the ratio to one act,
whose time is that of the browser and of the page's own frame. Needs no root.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path
from statistics import median

from playwright.sync_api import Browser, Page, sync_playwright

from benchmarks.compare import middle
from benchmarks.figures import LIMITS, Figure
from benchmarks.workshop import Workshop
from exporter.report.html import render
from tests.unit.report.samples import large

_CHROMIUM = Path("/usr/bin/chromium")
_ROUNDS = 9
_ONE, _MANY, _MOST = 2, 5_000, 50_000
_VIEWS = ("tree", "timeline", "news", "policy")
_DRAWN = """() => new Promise((drawn) => {
  const look = () => document.querySelector("#app:not([hidden]) tr.row")
    ? requestAnimationFrame(() => requestAnimationFrame(() => drawn(performance.now())))
    : requestAnimationFrame(look);
  look();
})"""
_OPENED = """(view) => new Promise((drawn) => {
  const began = performance.now();
  document.getElementById(`tab-${view}`).click();
  requestAnimationFrame(() => requestAnimationFrame(() => drawn(performance.now() - began)));
})"""


def measure(shop: Workshop) -> Iterator[Figure]:
    """Yield the times of making and opening pages, and of the slowest views."""
    pages = {}
    for spans in (_ONE, _MANY, _MOST):
        pages[spans], took_s = _made(shop, spans)
        if spans != _ONE:
            note = f"{pages[spans].stat().st_size / 1e6:.1f} MB"
            yield Figure(f"report, making a page of {spans:,} spans", took_s, "s", note)
    opened: dict[int, list[float]] = {spans: [] for spans in pages}
    views: dict[tuple[int, str], list[float]] = {}
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=_CHROMIUM, args=["--no-sandbox"])
        for _ in range(shop.rounds(_ROUNDS)):
            for spans, path in pages.items():
                took_s, of_views = _opened(browser, path)
                opened[spans].append(took_s)
                for view, view_s in of_views.items():
                    views.setdefault((spans, view), []).append(view_s)
        browser.close()
    yield from _figures(opened, views)


def _figures(opened: dict[int, list[float]], views: dict[tuple[int, str], list[float]]) -> Iterator[Figure]:
    yield middle("report, opening one of one act", opened[_ONE], "s")
    yield middle("report, opening 5,000 spans", opened[_MANY], "s", limit=LIMITS.open_s)
    ratios = [many / one for many, one in zip(opened[_MANY], opened[_ONE], strict=True)]
    yield middle("report, opening 5,000 spans ÷ one act", ratios, "×")
    yield middle("report, opening 50,000 spans", opened[_MOST], "s")
    for spans in (_MANY, _MOST):
        slowest = max(_VIEWS, key=lambda view: median(views[spans, view]))
        times_s = views[spans, slowest]
        limit = LIMITS.open_s if spans == _MANY else None
        figure = middle(f"report, the slowest view of {spans:,} spans", times_s, "s", limit=limit)
        yield figure.with_note(slowest)


def _made(shop: Workshop, spans: int) -> tuple[Path, float]:
    report = large(spans)
    began_s = time.perf_counter()
    text = render(report)
    took_s = time.perf_counter() - began_s
    path = shop.folder / f"report-{spans}.html"
    path.write_text(text, encoding="utf-8")
    return path, took_s


def _opened(browser: Browser, path: Path) -> tuple[float, dict[str, float]]:
    """Return the seconds until the page was drawn, and the seconds of each view."""
    context = browser.new_context(viewport={"width": 1400, "height": 900})
    page: Page = context.new_page()
    page.goto(path.as_uri(), wait_until="commit")
    took_s = float(page.evaluate(_DRAWN)) / 1000
    of_views = {view: float(page.evaluate(_OPENED, view)) / 1000 for view in _VIEWS}
    context.close()
    return took_s, of_views
