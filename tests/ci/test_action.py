"""The action under an engine: whole jobs are traced, held to a policy, and told; by the real ci-egress."""

from __future__ import annotations

import errno
import shutil
import subprocess
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from exporter.jobs.ids import github_job_span_id
from tests.checkout import ROOT
from tests.kernel.running_exporter import nothing_left
from tests.kernel.tracing import spans

from . import limits
from .act import USES, Act, Ran
from .job_output import ALL_BUT_EVIL, EVIL, PEER, act, egress

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from tests.kernel.conftest import Programs
    from tests.kernel.lab import Lab
    from tests.kernel.tracing import Span

    from .conftest import User

pytestmark = [pytest.mark.integration, pytest.mark.kernel, pytest.mark.timeout(limits.TEST_S)]


@pytest.fixture(scope="session")
def program() -> Iterator[Path]:
    """The engine's, where every user gets to: root's home, with the cache in it, may be closed to others."""
    done = subprocess.run([ROOT / "tools" / "act.sh"], stdout=subprocess.PIPE, text=True, check=True)
    with tempfile.TemporaryDirectory() as folder:
        place = Path(folder)
        place.chmod(0o755)
        yield Path(shutil.copy(done.stdout.strip(), place))


@pytest.fixture
def as_root(program: Path, tmp_path: Path, path: str) -> Act:
    """A runner that is root."""
    return Act(program, tmp_path, path)


@pytest.fixture
def as_sudoer(program: Path, tmp_path: Path, path: str, sudoer: User) -> Act:
    """One whose user has sudo."""
    sudoer.give(tmp_path)
    return Act(program, tmp_path, path, sudoer.under)


@pytest.fixture(params=["as_root", "as_sudoer"])
def runner(request: pytest.FixtureRequest) -> Act:
    """Either."""
    found = request.getfixturevalue(request.param)
    assert isinstance(found, Act)
    return found


def runs(script: str, name: str, **more: Any) -> dict[str, Any]:
    """A step; its name is its id, too."""
    return {"run": script, "name": name, "id": name, **more}


def uses(**inputs: str) -> dict[str, Any]:
    """The step that uses the action."""
    return {**USES, "with": {key.replace("_", "-"): value for key, value in inputs.items()}}


def stop(**more: Any) -> dict[str, Any]:
    """The step that ends the tracing, as the manual has it."""
    return {
        "uses": "./stop",
        "id": "stop",
        "if": "always()",
        "with": {"token": "${{ steps.egress.outputs.token }}"},
        **more,
    }


def of(programs: Programs, ran: Ran) -> list[Span]:
    """What this test's programs did, in order."""
    mine = str(programs.directory / "act")
    return [one for one in egress(ran.kept) if one.attributes.get("process.executable.path") == mine]


def just_below(span_id: int, span: Span, told: Sequence[Span]) -> Span:
    """The one above `span`, or itself, whose parent has that id."""
    by_id = {each.span_id: each for each in told}
    while span.parent_id != f"{span_id:016x}":
        span = by_id[span.parent_id]
    return span


def denied(command: str) -> str:
    """A script that repeats it until it is denied: what comes before the kernel knows a step isn't."""
    once = f"status=0; {command} || status=$?; test $status = {errno.EPERM} && exit"
    return f"for try in $(seq 1000); do {once}; sleep 0.01; done; exit 1"


@pytest.mark.alone  # what others' jobs do to programs would head the summary, too
def test_every_step_of_a_job_is_in_its_trace_and_a_clean_one_is_told_as_clean(
    as_root: Act, lab: Lab, programs: Programs
) -> None:
    ran = as_root.run(
        uses(check_run_id="4711"),
        runs(act(lab, programs), "build"),
        runs(act(lab, programs), "test"),
    )
    assert (ran.status, ran.errors) == (0, []), ran.output
    assert ran.is_clean, ran.summary
    assert PEER.split()[1] in ran.summary
    found, told = of(programs, ran), spans(ran.kept / "otlp/traces.jsonl")
    assert [span["egress.job.step"] for span in found] == ["build", "test"]
    assert len({span.trace_id for span in told}) == 1
    assert found[0].trace_id in ran.summary
    assert {just_below(github_job_span_id("4711"), span, told).name for span in found} == {"build"}, (
        "the job's"
    )
    assert (ran.kept / "report.html").read_text().startswith("<!doctype html>")


@pytest.mark.alone
def test_what_the_policy_denies_is_denied_told_and_fails_the_job(
    runner: Act, lab: Lab, programs: Programs
) -> None:
    ran = runner.run(
        uses(mode="enforce", policy="policy.yaml", fail_on="deny"),
        runs(denied(f"sudo -n {act(lab, programs, EVIL)}"), "evil"),
        runs(f"sudo -n {act(lab, programs)}", "good"),
        **{"policy.yaml": ALL_BUT_EVIL},
    )
    assert ran.is_good("Main evil"), ran.output
    assert ran.is_good("Main good"), ran.output
    assert ran.status == 1
    *acts, why = ran.errors
    assert any("act " in told and EVIL in told and told.startswith("blocked: ") for told in acts)
    assert why.startswith("--fail-on deny: ")
    assert EVIL in ran.summary
    assert ran.tampering == []


SEARCH = """
test -n "$TOKEN"
! grep -rlse "$TOKEN" "$RUNNER_TEMP" "$GITHUB_WORKSPACE" "$(dirname "$GITHUB_STATE")"
"""
"""For the token, which only this step was given, in all that a step may read."""


def test_a_job_that_stops_it_with_the_token_is_judged_there_and_told_as_clean(
    as_root: Act, lab: Lab, programs: Programs
) -> None:
    known = {"baseline.yaml": "version: 1\nentries: []\n"}
    ran = as_root.run(
        uses(baseline="baseline.yaml", fail_on="novel"),
        runs(f"env > of-a-step; {act(lab, programs)}", "build"),
        runs(SEARCH, "search", env={"TOKEN": "${{ steps.egress.outputs.token }}"}),
        stop(),
        runs(
            'test "$STATUS" = 90',
            "last",
            env={"STATUS": "${{ steps.stop.outputs.status }}"},
            **{"if": "always()"},
        ),
        **known,
    )
    assert ran.is_good("Main search"), ran.output
    assert ran.is_good("Main last"), ran.output
    assert ran.is_good("Post ./"), ran.output
    assert ran.status == 1
    assert ran.errors[-1].startswith("--fail-on novel: ")
    assert [span["egress.novel"] for span in of(programs, ran)] == [True]
    assert ran.tampering == [], ran.summary


def test_a_job_that_fails_is_told_as_clean_and_its_runner_left_as_it_was(
    program: Path, tmp_path: Path, installed: str, sudoer: User, lab: Lab, programs: Programs
) -> None:
    sudoer.give(tmp_path)
    runner = Act(program, tmp_path, installed, sudoer.under)
    with nothing_left():
        ran = runner.run(uses(), runs(f"sudo -n {act(lab, programs)}", "build"), runs("exit 7", "fails"))
    assert ran.is_good("Post ./"), ran.output
    errors = [told for told in ran.errors if not told.startswith("tampering: ")]  # by others' jobs
    assert (ran.status, errors) == (1, []), ran.output
    assert [span["egress.job.step"] for span in of(programs, ran)] == ["build"]
    assert ran.tampering == [], ran.summary
    assert "ci-egress run` works here" in ran.output, "doctor's word"
    assert not list(tmp_path.glob(".cache/act/*/tmp/*")), "what the runner's user can't delete"


def test_a_job_that_is_cancelled_is_told_up_to_then(runner: Act, lab: Lab, programs: Programs) -> None:
    with nothing_left():
        goes_on = runs(f"sudo -n {act(lab, programs)}; echo goes on; exec sleep 300", "build")
        ran = runner.cancel(runner.start(uses(), goes_on), "| goes on")
    assert ran.status != 0
    assert ran.is_good("Post ./"), ran.output
    assert [span["egress.job.step"] for span in of(programs, ran)] == ["build"]
    assert ran.tampering == [], ran.summary


IMITATION = """
const { execFileSync } = require('node:child_process');
execFileSync('sudo', ['-n', '/bin/sh', '-c', 'kill -s "$1" -- "$2"', 'sh', 'TERM', process.argv[2]]);
"""
"""What the action does where the token doesn't help it."""
KILL = """
pid=$(sed -n 's/^pid //p' "$RUNNER_TEMP/ci-egress/record")
touch "$RUNNER_TEMP/ci-egress/end/$(tr '\\0' '\\n' < "/proc/$pid/cmdline" | sed -n 's/^--end-digest=//p')"
sleep 0.5
test -d "/proc/$pid"
node imitation.cjs "$pid"
while test -d "/proc/$pid"; do sleep 0.05; done
"""


@pytest.mark.alone
def test_a_step_that_does_as_the_action_does_is_tampering_and_fails_the_job(runner: Act) -> None:
    ran = runner.run(uses(), runs(KILL, "kills"), **{"imitation.cjs": IMITATION})
    assert ran.is_good("Main kills"), ran.output
    assert ran.status == 1
    *tampering, why = ran.errors
    assert any("sent SIGTERM to ci-egress" in told for told in tampering if told.startswith("tampering: "))
    assert why.startswith("ci-egress ended before the job did, with status 0; ")
    assert "⛔" in ran.summary
    assert "node > sudo > dash" in ran.summary.replace("sudo > sudo", "sudo")
    assert "sent SIGTERM to ci-egress" in ran.summary
    assert "the end was asked for without the token" in ran.summary
    assert len(ran.tampering) == 2


def test_a_policy_with_an_error_fails_the_job_before_its_steps(as_root: Act) -> None:
    wrong = {"policy.yaml": "version: 1\nallow: [registry.example:99999]\n"}
    ran = as_root.run(uses(policy="policy.yaml"), runs("true", "build"), **wrong)
    assert ran.status == 1
    (error,) = ran.errors
    assert "/policy.yaml:2:9: " in error
    assert not ran.is_good("Main build")
    assert ran.is_good("Post ./"), ran.output
