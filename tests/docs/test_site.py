"""The site is built without a warning, shows what the repository's own view of a page shows, asks nobody."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from pathlib import Path
from urllib.parse import urlsplit

import pytest
from playwright.sync_api import expect

from tests.checkout import ROOT
from tests.docs.pages import DOCS, PAGES, of_html
from tests.docs.pages import page as page_of
from tools.pictures.chromium import WAIT_MS, chromium

LOADED = re.compile(r"""<(?:script|img|link|iframe|source)\b[^>]*?\b(?:src|href)=["']?([^"' >]+)""")
BLOCKS = ("li", "ol", "pre", "table", "tr", "td", "h2", "h3", "h4", "img")


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where it was built."""
    folder = tmp_path_factory.mktemp("site")
    command = [sys.executable, "-m", "mkdocs", "build", "--strict", "--site-dir", str(folder)]
    environment = {**os.environ, "NO_MKDOCS_2_WARNING": "1"}
    built = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, check=False)
    assert built.returncode == 0, built.stderr
    return folder


def test_every_page_is_in_its_navigation(site: Path) -> None:
    linked = of_html((site / "index.html").read_text()).targets
    pages = {str(path.relative_to(DOCS).with_suffix(".html")) for path in PAGES if path.is_relative_to(DOCS)}
    assert pages - {"index.html"} <= set(linked)


def test_no_page_loads_anything_from_elsewhere(site: Path) -> None:
    loaded = {
        target for path in site.rglob("*.html") for target in LOADED.findall(path.read_text(encoding="utf-8"))
    }
    assert any(target.endswith(".css") for target in loaded)
    assert {target for target in loaded if urlsplit(target).netloc} == set()
    styles = [path.read_text(encoding="utf-8") for path in site.rglob("*.css")]
    assert [style for style in styles if re.search(r"url\(.?(?:https?:)?//", style)] == []


def test_a_page_has_the_blocks_that_the_repository_shows(site: Path) -> None:
    """Markdown differs in how far lists and code in them must be indented, and tells nobody."""
    differences = {}
    for path in PAGES:
        if not path.is_relative_to(DOCS):
            continue
        built = (site / path.relative_to(DOCS).with_suffix(".html")).read_text(encoding="utf-8")
        article = built.partition("<article")[2].partition("</article>")[0]
        ours, theirs = of_html(article).elements, page_of(path).elements
        if found := {block: (ours[block], theirs[block]) for block in BLOCKS if ours[block] != theirs[block]}:
            differences[path.name] = found
    assert differences == {}


def test_its_search_knows_every_page(site: Path) -> None:
    index = json.loads((site / "search" / "search_index.json").read_text(encoding="utf-8"))
    found = {entry["location"].partition("#")[0] for entry in index["docs"]}
    pages = {str(path.relative_to(DOCS).with_suffix(".html")) for path in PAGES if path.is_relative_to(DOCS)}
    assert pages <= found


def test_from_disk_it_can_be_searched_and_asks_nobody(site: Path) -> None:
    with chromium() as browser:
        page = browser.new_page()
        page.set_default_timeout(WAIT_MS)
        asked: list[str] = []
        page.on("request", lambda request: asked.append(request.url))
        page.goto((site / "reference" / "cli.html").as_uri())
        page.locator(".md-search__input").press_sequentially("lockdown")  # it listens to keys
        found = page.locator(".md-search-result__item").first
        expect(found).to_contain_text("What breaks")  # at last: it also searches for "l", "lo" and so on
    assert {urlsplit(url).scheme for url in asked} <= {"file", "blob", "data"}
