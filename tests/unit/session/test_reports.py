"""Whatever goes wrong with a report or a summary, it is said, and nothing else happens."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from exporter.pipeline.account import Account
from exporter.report.sheet import Sheet, sheet_of_report
from exporter.session.messages import Messages
from exporter.session.reports import Reporting
from exporter.session.settings import ReportConfig
from tests.unit.report.builds import build

ACCOUNT = Account(3, 3, 0)


@pytest.fixture(autouse=True)
def _in_plain_words() -> None:
    Messages(as_json=False, is_verbose=False)


@pytest.fixture
def sheet() -> Sheet:
    return sheet_of_report(build())


def test_without_options_nothing_is_kept_nor_written(tmp_path: Path, sheet: Sheet) -> None:
    with Reporting(ReportConfig(), {"GITHUB_STEP_SUMMARY": ""}) as reporting:
        assert (reporting.transcript, reporting.wants_summary) == (None, False)
        reporting.summarise([sheet], ACCOUNT)
        reporting.report(ACCOUNT)
    assert [*tmp_path.iterdir()] == []


def test_an_option_comes_before_the_step_s_summary(tmp_path: Path, sheet: Sheet) -> None:
    config = ReportConfig(summary=tmp_path / "mine.md")
    with Reporting(config, {"GITHUB_STEP_SUMMARY": str(tmp_path / "step")}) as reporting:
        reporting.summarise([sheet], ACCOUNT)
    assert [each.name for each in tmp_path.iterdir()] == ["mine.md"]


def test_summaries_stay_within_what_github_takes_together(
    tmp_path: Path, sheet: Sheet, capsys: pytest.CaptureFixture[str]
) -> None:
    summary = tmp_path / "summary.md"
    with Reporting(ReportConfig(summary=summary), {}) as reporting:
        for _ in range(400):
            reporting.summarise([sheet], ACCOUNT)
    assert 1_000_000 < summary.stat().st_size <= 1 << 20
    assert "the summary can't be written to" in capsys.readouterr().err


@pytest.mark.parametrize("what", ["report", "summary"])
def test_a_folder_that_is_not_there_is_told_at_the_start_and_may_still_come(
    tmp_path: Path, sheet: Sheet, what: str, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "later" / "document"
    config = ReportConfig(**{what: path})  # type: ignore[arg-type]
    with Reporting(config, {}) as reporting:
        assert capsys.readouterr().err == (
            f"ci-egress: warning: the {what} can't be written to {path} now (No such file or directory); "
            "it is tried again at the end\n"
        )
        path.parent.mkdir()
        reporting.summarise([sheet], ACCOUNT)
        reporting.report(ACCOUNT)
    assert path.stat().st_size
    assert "warning" not in capsys.readouterr().err


@pytest.mark.parametrize("document", ["report", "summary"])
def test_a_fault_of_ours_is_said_and_goes_no_further(
    tmp_path: Path,
    sheet: Sheet,
    document: str,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    def broken(*_: object, **__: object) -> str:
        raise ValueError("a bug")

    monkeypatch.setattr("exporter.report.markdown.render", broken)
    monkeypatch.setattr("exporter.report.html.render", broken)
    path = tmp_path / "out"
    config = ReportConfig(report=path) if document == "report" else ReportConfig(summary=path)
    with Reporting(config, {}) as reporting:
        reporting.summarise([sheet], ACCOUNT)
        reporting.report(ACCOUNT)
    told = capsys.readouterr().err
    assert (
        f"error: the {document} can't be written to {path}: a fault of ci-egress; please report this" in told
    )
    assert "ValueError: a bug" in told
    assert not path.exists()


def test_if_nobody_knows_whose_they_are_there_are_none(
    tmp_path: Path, sheet: Sheet, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(os, "geteuid", lambda: 0)
    config = ReportConfig(report=tmp_path / "report.html", summary=tmp_path / "summary.md")
    with Reporting(config, {"SUDO_UID": "x"}) as reporting:
        reporting.summarise([sheet], ACCOUNT)
        reporting.report(ACCOUNT)
    assert [*tmp_path.iterdir()] == []
    assert "there will be no report and no summary: SUDO_UID='x' is not what sudo sets" in (
        capsys.readouterr().err
    )
