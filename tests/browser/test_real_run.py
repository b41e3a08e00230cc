"""The report of a real build, traced by the kernel, held against what the run before did; and its pictures.

From the first run of the sample pipeline a baseline is learnt and a policy exported; in the second one a
package is poisoned.
"""

from __future__ import annotations

import subprocess
from dataclasses import dataclass
from typing import TYPE_CHECKING

import pytest

from demo.job import CI_EGRESS, FIRST_RUN, Run, trace_job
from demo.network import network
from demo.sites import Beacon
from tests.browser.conftest import PHONE

if TYPE_CHECKING:
    from pathlib import Path

    from playwright.sync_api import Page

    from tests.browser.conftest import Open

pytestmark = [pytest.mark.kernel, pytest.mark.timeout(300)]  # the first one traces two runs

_SECOND_RUN = Run(1208, 4812)
_TRACES = "https://jaeger.example/trace/{trace_id}"


@dataclass(frozen=True)
class Written:
    """What `ci-egress` wrote."""

    by_run: Path
    """The report of `run --report`."""
    by_report: Path
    """That of `report`, from the same run's files."""


@pytest.fixture(scope="module")
def written(tmp_path_factory: pytest.TempPathFactory) -> Written:
    folder = tmp_path_factory.mktemp("runs")
    first, second = folder / "first", folder / "second"
    baseline, policy, page = folder / "baseline.yaml", folder / "policy.yaml", folder / "report.html"
    with network(None, tmp_path_factory.mktemp("network")) as build:
        assert trace_job(build, tmp_path_factory.mktemp("job"), "--otlp-dir", first, run=FIRST_RUN) == 0
    ci_egress("baseline", "learn", first, "--output", baseline)
    ci_egress("baseline", "export", baseline, "--output", policy)
    known = ("--baseline", baseline, "--policy", policy)
    with network(Beacon(), tmp_path_factory.mktemp("network")) as build:
        told = ("--otlp-dir", second, "--report", page, "--trace-url", _TRACES)
        assert trace_job(build, tmp_path_factory.mktemp("job"), *told, *known, run=_SECOND_RUN) == 0
    again = folder / "again.html"
    ci_egress("report", second, *known, "--report", again, "--trace-url", _TRACES)
    return Written(page, again)


def ci_egress(*arguments: str | Path) -> None:
    """Run it; it succeeds."""
    subprocess.run([CI_EGRESS, *arguments], check=True, capture_output=True)


def test_what_the_poisoned_package_did_is_to_be_looked_at_first(open_page: Open, written: Written) -> None:
    page = open_page(written.by_run).page
    first = page.locator(".look li").all_inner_texts()
    assert all("new" in line and "would be denied" in line for line in first[:2])
    assert all("beacon.example:80" in line for line in first[:2])
    assert any("curl" in line for line in first)
    head = page.locator(".head").inner_text()
    assert "shop/checkout" in head
    assert "Complete record: " in head
    link = page.get_by_role("link", name="Open the trace").get_attribute("href")
    assert link is not None
    assert link.startswith("https://jaeger.example/trace/")


def test_the_report_of_the_files_shows_the_same(open_page: Open, written: Written) -> None:
    shown = [table(open_page(path).page) for path in (written.by_run, written.by_report)]
    assert shown[0] == shown[1]
    assert any(row.startswith("git.example:80") for row in shown[0])


def test_each_view_of_it_has_its_picture(open_page: Open, written: Written) -> None:
    opened = open_page(written.by_run)
    opened.picture("report")
    opened.page.set_viewport_size({"width": 1400, "height": 2400})  # for each view as a whole
    for view in ("tree", "timeline", "news", "policy"):
        opened.view(view)
        if view == "tree":
            opened.page.get_by_role("treeitem").filter(has_text="beacon.example:80").last.press("Enter")
        opened.picture(f"report-{view}", ".views")
    open_page(written.by_run, scheme="dark").picture("report-dark")
    open_page(written.by_run, size=PHONE).picture("report-phone")


def table(page: Page) -> list[str]:
    """Rows of destinations."""
    return page.locator("#view-destinations tr.row").all_inner_texts()
