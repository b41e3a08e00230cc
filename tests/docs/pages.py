"""The project's pages as a reader of the repository sees them: their links, and the places in them."""

from __future__ import annotations

import re
from collections import Counter
from functools import cache
from html.parser import HTMLParser
from pathlib import Path
from typing import NamedTuple

from markdown_it import MarkdownIt
from pymdownx.slugs import slugify

from tests.checkout import ROOT

DOCS = ROOT / "docs"
PAGES = sorted([*ROOT.glob("*.md"), *DOCS.rglob("*.md")])

_MARKDOWN = MarkdownIt("commonmark").enable("table")
_slug = slugify(case="lower")


class _Reader(HTMLParser):
    def __init__(self) -> None:
        super().__init__()
        self.targets: list[str] = []
        self.headings: list[str] = []
        self.places: list[str] = []
        self.elements: Counter[str] = Counter()
        self._is_heading = False

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements[tag] += 1
        named = dict(attrs)
        self.targets += [target for name in ("href", "src", "srcset") if (target := named.get(name))]
        if place := named.get("id"):
            self.places.append(place)
        if re.fullmatch(r"h[1-6]", tag):
            self._is_heading = True
            self.headings.append("")

    def handle_endtag(self, tag: str) -> None:
        if re.fullmatch(r"h[1-6]", tag):
            self._is_heading = False

    def handle_data(self, data: str) -> None:
        if self._is_heading:
            self.headings[-1] += data


class Page(NamedTuple):
    """What is in one."""

    targets: tuple[str, ...]
    """Of links and pictures."""
    anchors: frozenset[str]
    """What comes behind `#` in a link to it, as GitHub and GitLab make it of a heading."""
    elements: Counter[str]
    """How many of each element of HTML it makes."""


@cache
def page(path: Path) -> Page:
    """The page in the file `path`."""
    return of_html(_MARKDOWN.render(path.read_text(encoding="utf-8")))


def of_html(text: str) -> Page:
    """The page in HTML, whose places are its headings and what has an id."""
    reader = _Reader()
    reader.feed(text)
    reader.close()
    met: Counter[str] = Counter()
    anchors = set(reader.places)
    for heading in reader.headings:
        slug = _slug(heading, "-")
        anchors.add(f"{slug}-{met[slug]}" if met[slug] else slug)
        met[slug] += 1
    return Page(tuple(reader.targets), frozenset(anchors), reader.elements)


@cache
def fences(path: Path) -> list[tuple[str, str]]:
    """The language and the text of each code block of the page `path`, in their order."""
    tokens = _MARKDOWN.parse(path.read_text(encoding="utf-8"))
    return [(token.info.strip(), token.content) for token in tokens if token.type == "fence"]


@cache
def quoted(path: Path) -> list[str]:
    """What the page `path` has between backticks, in running text."""
    tokens = _MARKDOWN.parse(path.read_text(encoding="utf-8"))
    inline = (child for token in tokens for child in token.children or ())
    return [child.content for child in inline if child.type == "code_inline"]
