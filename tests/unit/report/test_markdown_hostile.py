"""Whatever a job is called, runs and connects to: in a summary it is text, and nothing but text."""

from __future__ import annotations

import re

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from markdown_it import MarkdownIt

from exporter.policy.hosts import recorded_host
from exporter.report.inert import code, fenced, prose
from exporter.report.markdown import render
from exporter.report.sheet import Sheet
from tests.unit.report.hostile_report import HOSTILE
from tests.unit.report.sheets import ACCOUNT, TAGS, TRACE, TRACE_URL, row, sheet, shown

MEANT = re.compile(
    r"[@#!$&~`*_\[\]|<]|https?:|www\.|://|\b\w+\.\w+\b|\b[0-9a-f]{7,}\b|\bGH-|:\w+:|[\x00-\x09\x0b-\x1f\x7f-\x9f]"
    r"|[\u200b-\u200f\u2028-\u202e\u2060-\u2069\ufeff\ud800-\udfff]"
)
"""What GitHub or GitLab would make something of, or a reader wouldn't see."""


def of(text: str, *, mode: str | None = "audit") -> Sheet:
    """A job in which everything is called `text`."""
    made = sheet(
        row(text, chain=(text, text), novel=True, step=text),
        row(text, chain=(text,), verdict="audit", rule=text, novel=False, step=text),
        row(None, None, text, chain=(text,), verdict="deny", rule=text, novel=False),
        row("127.0.0.1", chain=(text,), loopback=True, novel=False),
        title=text,
        mode=mode,
    )
    return Sheet(text, text, text, TRACE, made.tally, mode, None, made.day)


def skeleton(text: str) -> tuple[list[str], str]:
    """All but the code of a summary in which everything is called `text`."""
    page = shown(render([of(text)], account=ACCOUNT, trace_url=TRACE_URL))
    assert page.links == [f"https://jaeger.example/trace/{TRACE}"]
    assert set(page.tags) <= TAGS
    assert page.attributes <= {("align", "right"), ("open", ""), ("open", None), ("dir", "ltr")}
    return [tag for tag in page.tags if tag != "wbr"], page.outside_code()


@pytest.mark.parametrize("text", HOSTILE.values(), ids=HOSTILE.keys())
def test_hostile_text_changes_nothing_but_what_stands_as_code(text: str) -> None:
    harmless = "registry.example" if recorded_host(text) else "no host's name"
    assert skeleton(text) == skeleton(harmless)


@settings(max_examples=150, deadline=None)
@given(st.text(alphabet=st.characters(), min_size=1, max_size=60))
def test_no_text_at_all_changes_anything_else(text: str) -> None:
    assert skeleton(f" {text}") == skeleton("no host's name")


@pytest.mark.parametrize("text", HOSTILE.values(), ids=HOSTILE.keys())
def test_a_sentence_that_quotes_it_has_only_words_outside_of_code(text: str) -> None:
    told = f"bash > {text} (123) did {text}: it isn't seen here"
    made = sheet(row(), warnings=[told], notes=[told])
    page = shown(render([made], account=ACCOUNT, trace_url=None, notes=[told]))
    assert not MEANT.search(page.outside_code()), MEANT.search(page.outside_code())
    assert page.links == []
    assert set(page.tags) <= TAGS
    assert page.text().count("isn't seen here") == 3


@settings(deadline=None)
@given(st.text(alphabet=st.characters(), max_size=120))
def test_no_sentence_at_all_has_anything_else(text: str) -> None:
    page = shown(f"<p>{prose(text)}</p>\n")
    assert not MEANT.search(page.outside_code())
    assert page.links == []
    assert set(page.tags) <= {"p", "code", "wbr"}


@settings(deadline=None)
@given(st.text(alphabet=st.characters(), max_size=120))
def test_code_shows_the_text_itself_where_it_is_printable(text: str) -> None:
    page = shown(f"<p>{code(text)}</p>\n")
    assert set(page.tags) <= {"p", "code", "wbr"}
    if text.isprintable():
        assert page.inside_code() == text
    assert page.inside_code().isprintable()


@pytest.mark.parametrize("text", HOSTILE.values(), ids=HOSTILE.keys())
@pytest.mark.parametrize("mode", ["audit", None])
def test_printed_into_a_log_it_is_no_command_either(text: str, mode: str | None) -> None:
    made = of(text, mode=mode)
    made = sheet(*made.tally.rows, row(chain=(text,), novel=True), warnings=[text], notes=[text], mode=mode)
    for line in render([made], account=ACCOUNT, trace_url=None, notes=[text]).splitlines():
        assert not line.lstrip().startswith("::")
        assert "##[" not in line
        assert "##vso[" not in line
        assert "\x1b" not in line


def test_letters_that_run_to_the_left_keep_their_place_in_a_chain() -> None:
    page = render([sheet(row(chain=("bash", "אבג", "דהו", "curl")))], account=ACCOUNT, trace_url=None)
    assert '<code>bash</code> › <code dir="ltr">אבג</code> › <code dir="ltr">דהו</code>' in page


@pytest.mark.parametrize("trace_id", ["", "x" * 32, TRACE + "0", '"><b>', "@octocat"])
def test_what_is_no_trace_id_makes_no_link(trace_id: str) -> None:
    made = sheet(row())
    odd = Sheet("build", None, None, trace_id, made.tally)
    assert shown(render([odd], account=ACCOUNT, trace_url=TRACE_URL)).links == []


@pytest.mark.parametrize(
    "text", ["```", "a\n```\n<script>", "`````\n# owned", "    ````", "``` `` ````\n```", "plain"]
)
def test_no_text_ends_the_fence_that_it_stands_in(text: str) -> None:
    (block,) = MarkdownIt().parse(fenced(text, "yaml"))
    assert (block.type, block.info, block.content) == ("fence", "yaml", f"{text}\n")
