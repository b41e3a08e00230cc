"""`ci-egress report`, as its users run it."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from exporter.report.read import read
from tests.launch import PLAIN_ENVIRONMENT, ci_egress
from tests.unit.report.span_files import Span, account_line, act, job, lines, program, written

JOB = 0xA0
BASELINE = """\
version: 1
entries:
- {pipeline: release, task: build, destination: registry.example, port: 443, transport: tcp, lineage: any}
"""
POLICY = """\
version: 1
mode: enforce
allow: [registry.example:443]
"""


@pytest.fixture
def runs(tmp_path: Path) -> Path:
    """A folder that a run wrote: two destinations, one of which nobody knows yet."""
    acts = [act(2, 1), act(3, 1, server__address="rare.example", network__peer__address="192.0.2.99")]
    written(tmp_path / "runs", lines([job(JOB), program(1, JOB), *acts]))
    written(tmp_path / "runs", account_line("one", 10, 2, 2), "metrics.jsonl")
    return tmp_path / "runs"


def test_markdown_goes_to_stdout(runs: Path) -> None:
    done = ci_egress("report", "runs", cwd=runs.parent)
    assert (done.status, done.stderr) == (0, "")
    told = done.stdout.decode()
    assert "registry.example" in told
    assert "2 attempts, 2 accounted for." in told


def test_a_page_and_a_summary_are_written_where_they_are_asked_for(runs: Path) -> None:
    summary = runs.parent / "summary.md"
    summary.write_text("before\n")
    link = "https://traces.example/t/{trace_id}"
    options = ["--report", "report.html", "--summary", "summary.md", "--trace-url", link]
    done = ci_egress("report", "runs", *options, cwd=runs.parent)
    assert (done.status, done.stdout, done.stderr) == (0, b"", "")
    appended, page = summary.read_text(), (runs.parent / "report.html").read_text()
    assert appended.startswith("before\n")
    assert "https://traces.example/t/7af8cd1de3fa344b938ded2af6d4282f" in appended
    assert "rare.example" in appended
    assert "rare.example" in page
    assert "traces.example" in page
    assert sorted(each.name for each in runs.parent.iterdir()) == ["report.html", "runs", "summary.md"]


def test_a_step_s_summary_is_not_written_to_unasked(runs: Path) -> None:
    step = runs.parent / "step_summary"
    env = {**PLAIN_ENVIRONMENT, "GITHUB_STEP_SUMMARY": str(step)}
    assert ci_egress("report", "runs", cwd=runs.parent, env=env).status == 0
    assert not step.exists()


def test_recorded_acts_are_held_against_a_baseline_and_a_policy(runs: Path) -> None:
    (runs.parent / "baseline.yaml").write_text(BASELINE)
    (runs.parent / "policy.yaml").write_text(POLICY)
    plain = ci_egress("report", "runs", cwd=runs.parent).stdout.decode()
    assert "New destinations" not in plain
    known = ci_egress("report", "runs", "--baseline", "baseline.yaml", cwd=runs.parent).stdout.decode()
    new = known.partition("New destinations")[2].partition("</table>")[0]
    assert ("rare.example" in new, "registry.example" in new) == (True, False)
    ruled = ci_egress("report", "runs", "--policy", "policy.yaml", cwd=runs.parent).stdout.decode()
    denied = ruled.partition("Would be denied")[2].partition("</table>")[0]
    assert ("rare.example" in denied, "registry.example" in denied) == (True, False)


def usage_error(folder: Path, *arguments: str) -> str:
    done = ci_egress("report", *arguments, cwd=folder)
    assert (done.status, done.stdout) == (2, b"")
    (line,) = done.stderr.splitlines()
    return line


def test_errors_say_what_where_and_how_to_mend_it(runs: Path) -> None:
    folder = runs.parent
    (folder / "other.jsonl").write_text("{}\n")
    written(folder / "empty", b"")
    name_them = "name files or folders that `ci-egress run --otlp-dir` wrote"
    assert usage_error(folder, "missing") == (
        f"ci-egress: error: cannot read missing: No such file or directory; {name_them}"
    )
    assert usage_error(folder, "other.jsonl") == (
        f"ci-egress: error: other.jsonl:1:1: not a line of OTLP spans; {name_them}"
    )
    assert usage_error(folder, "empty") == (
        f"ci-egress: error: no job, as traces.jsonl has them, in empty; {name_them}"
    )
    assert usage_error(folder, "runs", "--report", "nowhere/report.html") == (
        "ci-egress: error: cannot write nowhere/report.html: No such file or directory; "
        "name a file in a folder that you can write to, on a disk with room"
    )
    assert usage_error(folder, "runs", "--baseline", "missing.yaml").startswith(
        "ci-egress: error: cannot read the baseline missing.yaml: No such file or directory; "
    )


@pytest.mark.parametrize(
    ("template", "why"),
    [
        ("https://traces.example/", "it has no {trace_id}"),
        ("javascript:alert('{trace_id}')", "it is no link that starts with http:// or https://"),
        ("https:///{trace_id}", "it is no link"),
        ("https://[::1/{trace_id}", "it is no link"),
        ("https://traces.example/{trace_id} x", "it is no link"),
    ],
)
def test_a_link_that_is_none_is_refused(runs: Path, template: str, why: str) -> None:
    told = usage_error(runs.parent, "runs", "--trace-url", template)
    assert "Invalid value for '--trace-url'" in told
    assert why in told


def test_hostile_text_is_inert_in_both(runs: Path) -> None:
    evil = "<script>alert(1)</script>\u202e\x1b[2J"
    spans = [job(JOB), act(9, JOB, server__address=evil, process__command_line=evil, egress__lineage=[evil])]
    written(runs, lines(spans))
    done = ci_egress("report", "runs", "--report", "r.html", "--summary", "s.md", cwd=runs.parent)
    assert done.status == 0
    for text in ((runs.parent / "r.html").read_text(), (runs.parent / "s.md").read_text()):
        assert "alert(1)" in text
        assert "<script>alert" not in text
        assert not {"\u202e", "\x1b"} & {*text}


def test_of_25_000_acts_every_attempt_is_in_both(runs: Path) -> None:
    """More than are told one by one: of each kind one stands for the others."""
    written(runs, lines(*parts(25_000)))
    written(runs, account_line("one", 10, 25_000, 25_000), "metrics.jsonl")
    done = ci_egress("report", "runs", "--report", "r.html", "--summary", "s.md", cwd=runs.parent)
    assert (done.status, done.stderr) == (0, "")
    summary = (runs.parent / "s.md").read_text()
    assert "<b>25,000</b> attempts to <b>700</b> destinations" in summary
    assert "25,000 attempts, 25,000 accounted for." in summary
    assert "5000 further acts counted with another" in summary
    report = read([runs], say=pytest.fail)
    acts = [each for found in report.jobs for each in found.acts]
    assert (len(acts), sum(each.attempts for each in acts), report.left_out) == (20_000, 25_000, 0)


def parts(number: int) -> Iterator[list[Span]]:
    for first in range(0, number, 500):
        yield [
            act(1000 + n, JOB, at_ms=n, server__address=f"{n % 700}.example")
            for n in range(first, first + 500)
        ]
    yield [job(JOB)]
