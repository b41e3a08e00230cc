"""Every picture that the manual shows is one that the tests make."""

from __future__ import annotations

import re

from tests.checkout import ROOT
from tests.docs.pages import DOCS, PAGES

SHOWN = re.compile(r"!\[([^\]]*)\]\((?:docs/)?(?:\.\./)?pictures/([^)]+)\)")
MADE = re.compile(r"""picture\((?:\w+, \w+, )?f?"([^"]+)\"""")


def made() -> list[re.Pattern[str]]:
    """Names of the pictures, as the tests have them; of some a part is only known when they run."""
    names = {name for path in (ROOT / "tests").rglob("*.py") for name in MADE.findall(path.read_text())}
    return [re.compile(re.sub(r"\\\{.*?\\\}", "[a-z]+", re.escape(name))) for name in sorted(names)]


def test_what_is_shown_is_there_is_made_by_a_test_and_is_described() -> None:
    shown = [(page, *found) for page in PAGES for found in SHOWN.findall(page.read_text())]
    assert shown
    patterns = made()
    for page, described, name in shown:
        assert (DOCS / "pictures" / name).is_file(), f"{page.name}: make pictures"
        assert any(each.fullmatch(name.removesuffix(".png")) for each in patterns), f"{page.name}: {name}"
        assert len(described.split()) > 3, f"{page.name}: {name} has no description"


def test_what_is_kept_is_made_by_a_test() -> None:
    patterns = made()
    kept = [path.stem for path in (DOCS / "pictures").glob("*.png")]
    assert [name for name in kept if not any(each.fullmatch(name) for each in patterns)] == []
