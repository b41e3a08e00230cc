"""Every link of the project's pages leads somewhere: in the repository, and on the site."""

from __future__ import annotations

from pathlib import Path
from urllib.parse import unquote, urlsplit

import pytest

from tests.checkout import ROOT
from tests.docs.pages import DOCS, PAGES, page

each_page = pytest.mark.parametrize("path", PAGES, ids=lambda path: str(path.relative_to(ROOT)))


def _problem(path: Path, target: str) -> str | None:
    """What is wrong with a link to `target` on the page `path`; None where nothing is."""
    url = urlsplit(target)
    if url.scheme == "data":
        return None
    if url.scheme or url.netloc:
        is_sound = url.scheme == "https" and bool(url.hostname) and " " not in target
        return None if is_sound else "no https address"
    if url.path.startswith("/"):
        return "absolute: it leads elsewhere on each site"
    to = (path.parent / unquote(url.path)).resolve() if url.path else path
    if not to.is_relative_to(ROOT) or not to.exists():
        return "no such file"
    if url.fragment and to.suffix == ".md" and unquote(url.fragment) not in page(to).anchors:
        return "no such heading"
    return None


@each_page
def test_what_a_page_links_to_is_there(path: Path) -> None:
    found = {target: _problem(path, target) for target in page(path).targets}
    assert {target: problem for target, problem in found.items() if problem} == {}


@pytest.mark.parametrize(
    ("target", "problem"),
    [
        ("CONTRIBUTING.md", None),
        ("CONTRIBUTING.md#style", None),
        ("https://pypi.org/project/click/", None),
        ("CONTRIBUTING.md#no-such", "no such heading"),
        ("docs/no-such.md", "no such file"),
        ("../elsewhere.md", "no such file"),
        ("http://pypi.org/", "no https address"),
        ("https:///path", "no https address"),
        ("/docs/policy.md", "absolute: it leads elsewhere on each site"),
    ],
)
def test_a_link_that_leads_nowhere_is_found(target: str, problem: str | None) -> None:
    assert _problem(ROOT / "README.md", target) == problem


def test_every_page_of_the_manual_can_be_reached_from_the_readme() -> None:
    reached: set[Path] = set()
    waiting = [ROOT / "README.md"]
    while waiting:
        path = waiting.pop()
        if path in reached:
            continue
        reached.add(path)
        targets = (urlsplit(target) for target in page(path).targets)
        near = (path.parent / unquote(url.path) for url in targets if url.path and not url.netloc)
        waiting += [to.resolve() for to in near if to.suffix == ".md" and to.exists()]
    assert {str(path.relative_to(ROOT)) for path in PAGES if path.is_relative_to(DOCS)} <= {
        str(path.relative_to(ROOT)) for path in reached
    }
