"""Texts of those who mean harm: shown, and nothing else."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

import pytest

from exporter.report.html import render
from tests.browser.conftest import unfold
from tests.unit.report.builds import build
from tests.unit.report.hostile_report import SPECIMENS, hostile
from tests.unit.report.samples import sample

if TYPE_CHECKING:
    from playwright.sync_api import Page

    from tests.browser.conftest import Open

VIEWS = ("destinations", "tree", "timeline", "news", "policy")
KNOWN = frozenset(
    re.findall(
        r"\w+",
        "a b body button caption circle code dd details div dl dt g h1 h2 h3 head header html input label li"
        " line link main meta ol option p path pre rect script section select span style summary svg table"
        " tbody td text th thead title tr ul",
    )
)
"""Elements that the page is made of."""


@pytest.mark.parametrize("scripts", [True, False])
def test_no_text_becomes_an_element_an_attribute_or_a_script(open_page: Open, *, scripts: bool) -> None:
    page = open_page(hostile(), scripts=scripts, trace_url="https://jaeger.example/{trace_id}").page
    if scripts:
        open_everything(page)
        assert page.evaluate("window.hurt") is None
    tags = set(page.locator("*").evaluate_all("all => all.map((one) => one.localName)"))
    assert tags <= KNOWN
    attributes = page.locator("*").evaluate_all("all => all.flatMap((one) => one.getAttributeNames())")
    assert [
        name for name in attributes if name.startswith("on") or name in {"style", "autofocus", "src"}
    ] == []
    assert page.locator("script").count() == 2
    links = page.locator("a").evaluate_all("all => all.map((one) => one.href)")
    assert links == []


def test_what_hides_or_turns_text_around_is_shown_by_its_number(open_page: Open) -> None:
    page = open_page(hostile()).page
    open_everything(page)
    shown = page.locator("body").inner_text()
    for sign in ("\\u202e", "\\x1b[31m", "\\u2028", "\\u200b", "\\x00"):
        assert sign in shown
    assert "{{ 7 * 7 }}" in shown
    assert not re.search("[\x00-\x08\x0b-\x1f\u200b\u202e\u2028\u2029\ufeff]", shown)


def test_no_text_ends_the_block_that_it_stands_in() -> None:
    text = render(hostile())
    data = text.partition('<script type="application/json" id="data">')[2].partition("</script>")[0]
    assert not set("<>&\u2028\u2029") & set(data)
    assert text.count("</script") == 2


@pytest.mark.parametrize("size", [(1400, 900), (375, 812)])
def test_no_text_makes_the_page_wider_than_the_screen(open_page: Open, size: tuple[int, int]) -> None:
    page = open_page(hostile(), size=size).page
    for view in VIEWS:
        page.click(f"#tab-{view}")
        assert page.evaluate("document.documentElement.scrollWidth <= innerWidth"), view


def test_an_address_of_the_page_chooses_among_views_and_nothing_else(open_page: Open) -> None:
    page = open_page(hostile()).page
    for odd in ("#__proto__/constructor", "#tree/-1", "#tree/99", "#%3Cscript%3E", "#/2"):
        page.evaluate("(odd) => history.replaceState(null, '', odd)", odd)
        page.reload()
        assert page.locator("[role=tabpanel]:not([hidden])").count() == 1


@pytest.mark.parametrize(
    "url", ["javascript:alert(1)//{trace_id}", "data:text/html,{trace_id}", "//x/{trace_id}"]
)
def test_a_trace_is_linked_only_to_the_web(open_page: Open, url: str) -> None:
    assert open_page(hostile(), trace_url=url).page.locator("a").count() == 0


@pytest.mark.parametrize(
    ("attempt", "refused_by"),
    [
        (
            "document.body.append(Object.assign(document.createElement('img'), {src: 'https://x.example/'}))",
            "img-src",
        ),
        ("fetch('https://x.example/').catch(() => 0)", "default-src 'none'"),
        ("document.body.setAttribute('style', 'color: red')", "style-src"),
        ("document.body.innerHTML = '<b>b</b>'", "TrustedHTML"),
        ("document.body.setAttribute('onclick', 'hurt = 1')", "TrustedScript"),
        ("document.createElement('script').textContent = 'hurt = 1'", "TrustedScript"),
    ],
)
def test_the_policy_of_the_page_refuses(open_page: Open, attempt: str, refused_by: str) -> None:
    opened = open_page(sample(build()))
    with opened.page.expect_console_message(lambda message: refused_by in message.text):
        opened.page.evaluate(f"() => {{ try {{ {attempt} }} catch {{}} }}")
    opened.page.close()  # some refusals are told twice: after this there is none to come
    opened.complaints.clear()
    assert opened.requests == []


def open_everything(page: Page) -> None:
    """Each view, each row, each branch."""
    for view in VIEWS:
        page.click(f"#tab-{view}")
        unfold(page, view)
        page.locator(f"#view-{view} .open").evaluate_all("all => all.forEach((one) => one.click())")
        page.locator(f"#view-{view} [aria-expanded=false]").evaluate_all(
            "all => all.forEach((one) => one.click())"
        )
    assert page.locator("tr.details").count() >= len(SPECIMENS)
