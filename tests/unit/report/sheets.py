"""Sheets of jobs, and how GitHub would show what is made of them."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from datetime import date
from html.parser import HTMLParser

import cmarkgfm
from cmarkgfm.cmark import Options

from exporter.pipeline.account import Account
from exporter.pipeline.summary import Tally
from exporter.pipeline.summary_table import Counted, SummaryKey, Traffic, ordered
from exporter.report.sheet import Sheet

TRACE = "7af8cd1de3fa344b938ded2af6d4282f"
TRACE_URL = "https://jaeger.example/trace/{trace_id}"
ACCOUNT = Account(1204, 1100, 104)
VOID = frozenset({"br", "wbr"})
TAGS = VOID | frozenset(
    {"h3", "h4", "p", "b", "code", "a", "ul", "li", "table", "tr", "th", "td", "details", "summary", "pre"}
)
"""All that a summary consists of."""


def row(
    host: str | None = "registry.example",
    port: int | None = 443,
    transport: str | None = "tcp",
    *,
    chain: tuple[str, ...] = ("bash", "npm"),
    loopback: bool = False,
    verdict: str = "allow",
    novel: bool | None = None,
    step: str | None = None,
    rule: str | None = None,
    attempts: int = 1,
    failed: int = 0,
    sent: int = 0,
    received: int = 0,
) -> Counted:
    counted = Traffic(attempts, failed, sent, received, rule)
    return SummaryKey(host, port, transport, chain, loopback, verdict, novel, step), counted


def sheet(
    *rows: Counted,
    title: str = "build",
    uncounted: int = 0,
    warnings: Sequence[str] = (),
    notes: Sequence[str] = (),
    unseen: Sequence[str] = (),
    mode: str | None = None,
) -> Sheet:
    verdicts: dict[str, int] = {}
    for each, traffic in rows:
        verdicts[each.verdict] = verdicts.get(each.verdict, 0) + traffic.attempts
    novel = sum(traffic.attempts for each, traffic in rows if each.novel)
    tally = Tally(ordered(rows), uncounted, verdicts, novel, warnings, notes, unseen)
    return Sheet(title, "release", "build", TRACE, tally, mode, None, date(2026, 11, 24))


@dataclass
class Shown:
    """A document as a browser has it."""

    tags: list[str] = field(default_factory=list)
    links: list[str | None] = field(default_factory=list)
    attributes: set[tuple[str, str | None]] = field(default_factory=set)
    texts: list[tuple[str, str]] = field(default_factory=list)
    """Each with the element that it stands in; what is in code stands in `code` or `pre`."""
    cells: list[list[str]] = field(default_factory=list)
    """Of all tables, by row."""

    def outside_code(self) -> str:
        return "".join(text for tag, text in self.texts if tag not in {"code", "pre"})

    def inside_code(self) -> str:
        return "".join(text for tag, text in self.texts if tag in {"code", "pre"})

    def text(self) -> str:
        return "".join(text for _, text in self.texts)

    def rows_with(self, text: str) -> list[list[str]]:
        return [cells for cells in self.cells if any(text in cell for cell in cells)]


def shown(markdown: str) -> Shown:
    """As GitHub's renderer makes it, before what GitHub sanitizes besides; elements must be whole."""
    html = cmarkgfm.github_flavored_markdown_to_html(markdown, Options.CMARK_OPT_UNSAFE)
    parser = _Parser()
    parser.feed(html)
    parser.close()
    assert parser.open == [], html[-2000:]
    return parser.shown


def blocks(markdown: str, language: str = "yaml") -> Iterator[str]:
    """The content of blocks of code."""
    html = cmarkgfm.github_flavored_markdown_to_html(markdown, Options.CMARK_OPT_UNSAFE)
    parser = _Parser()
    parser.feed(html)
    yield from (text for lang, text in parser.blocks if lang == language)


class _Parser(HTMLParser):
    def __init__(self) -> None:
        super().__init__(convert_charrefs=True)
        self.shown = Shown()
        self.open: list[str] = []
        self.blocks: list[tuple[str, str]] = []
        self._language = ""

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.shown.tags.append(tag)
        self.shown.attributes |= {(name, value) for name, value in attrs if name not in {"href", "lang"}}
        if tag == "a":
            self.shown.links.append(dict(attrs).get("href"))
        if tag == "tr":
            self.shown.cells.append([])
        if tag in {"td", "th"}:
            self.shown.cells[-1].append("")
        if tag == "pre":
            self._language = dict(attrs).get("lang") or ""
            self.blocks.append((self._language, ""))
        if tag not in VOID:
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        where = next((tag for tag in reversed(self.open) if tag in {"code", "pre"}), None)
        where = where or (self.open[-1] if self.open else "")
        self.shown.texts.append((where, data))
        if "td" in self.open or "th" in self.open:
            self.shown.cells[-1][-1] += data
        if "pre" in self.open:
            language, text = self.blocks[-1]
            self.blocks[-1] = (language, text + data)

    def handle_comment(self, data: str) -> None:
        raise AssertionError(f"a comment: {data}")

    def handle_decl(self, decl: str) -> None:
        raise AssertionError(f"a declaration: {decl}")

    def handle_pi(self, data: str) -> None:
        raise AssertionError(f"an instruction: {data}")
