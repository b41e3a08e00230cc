"""GitLab's include: its very lines, run as the runner's shell executor runs a job's scripts."""

from __future__ import annotations

import errno
import shlex
import subprocess
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
import yaml

from tests.checkout import ROOT
from tests.unit.jobs.provider_environments import environment

from . import limits
from .conftest import AS_SHOWN, NO_UTF_8, SHOW_BYTES, SHOW_TAKEN, TAKEN_BY_SUDO, UNSET_AS_EVER
from .job_output import ALL_BUT_EVIL, EVIL, PEER, act, egress, text_of

if TYPE_CHECKING:
    from collections.abc import Sequence

    from tests.integration.receivers import Collector
    from tests.kernel.conftest import Programs
    from tests.kernel.lab import Lab

    from .conftest import User

pytestmark = [pytest.mark.integration, pytest.mark.kernel, pytest.mark.timeout(limits.TEST_S)]

TEMPLATE = yaml.safe_load((ROOT / "deploy" / "gitlab" / "ci-egress.gitlab-ci.yml").read_text())[".ci-egress"]


def run_job(
    project: Path,
    script: Sequence[str],
    path: str,
    *,
    shell: str = "bash",
    under: Sequence[str] = (),
    **env: str,
) -> subprocess.CompletedProcess[str]:
    """A job that extends the template, as GitLab Runner's script for that shell does it."""
    lines = "\n".join([*TEMPLATE["before_script"], *script])
    options = "set -eo pipefail\nset +o noclobber" if shell == "bash" else "set -e"
    # In a subshell, so that its status is seen: the runner's FF_USE_NEW_BASH_EVAL_STRATEGY.
    whole = f"{options}\n: | (eval {shlex.quote(lines)})\n"
    own = {"PATH": path, "CI_PROJECT_DIR": str(project)}
    return subprocess.run(
        [*under, shell],
        input=whole,
        capture_output=True,
        text=True,
        errors="backslashreplace",
        cwd=project,
        env={**environment("gitlab"), **TEMPLATE["variables"], **own, **env},
        timeout=limits.COMMAND_S,
        check=False,
    )


@pytest.fixture
def project(tmp_path: Path) -> Path:
    """The checkout."""
    folder = tmp_path / "project"
    folder.mkdir()
    return folder


@pytest.mark.parametrize("shell", ["bash", "dash"])
def test_a_command_of_a_job_is_traced(
    shell: str, project: Path, path: str, lab: Lab, programs: Programs
) -> None:
    done = run_job(project, [f"ci_egress {act(lab, programs)}", "echo went on"], path, shell=shell)
    assert (done.returncode, done.stdout.splitlines()[-1]) == (0, "went on"), done.stderr
    (span,) = egress(project)
    assert span.resource["cicd.pipeline.run.id"] == "987"
    assert span.resource["cicd.pipeline.task.run.id"] == "4321"
    assert len(kept(project)) == 1


def kept(project: Path) -> list[Path]:
    """The folders of what was traced, each with all that a person wants; what the job keeps as artifacts."""
    assert TEMPLATE["artifacts"]["paths"] == ["ci-egress/"]
    folders = list((project / "ci-egress").iterdir())
    for folder in folders:
        assert {entry.name for entry in folder.iterdir()} == {"otlp", "report.html", "summary.md"}
    return folders


def test_a_failing_command_fails_the_job_as_ever(project: Path, path: str) -> None:
    done = run_job(project, ["ci_egress sh -c 'exit 7'", "echo went on"], path)
    assert done.returncode == 7
    assert "went on" not in done.stdout


WITHOUT = "/usr/sbin:/usr/bin:/sbin:/bin"
"""A PATH on which no ci-egress is, so that `ci-egress doctor` fails."""


@pytest.mark.parametrize("shell", ["bash", "dash"])
@pytest.mark.parametrize(
    ("env", "status", "said"),
    [
        ({}, 91, ""),
        ({"CI_EGRESS_REQUIRED": "false"}, 0, "ran\nwent on\n"),
        ({"CI_EGRESS_REQUIRED": "false", "CI_EGRESS_MODE": "enforce"}, 91, ""),
    ],
    ids=["by default", "where it isn't required", "where a policy is enforced"],
)
def test_where_tracing_is_impossible_a_script_runs_only_if_that_was_asked_for(
    shell: str, env: dict[str, str], status: int, said: str, project: Path
) -> None:
    done = run_job(project, ["ci_egress echo ran", "echo went on"], WITHOUT, shell=shell, **env)
    assert (done.returncode, done.stdout) == (status, said), done.stderr
    assert "ci_egress: tracing isn't possible here\n" in done.stderr


def test_a_policy_is_enforced_and_fails_the_job(
    project: Path, path: str, lab: Lab, programs: Programs
) -> None:
    (project / "policy.yaml").write_text(ALL_BUT_EVIL)
    script = [f"ci_egress sh -c {shlex.quote(act(lab, programs, EVIL) + f'; test $? = {errno.EPERM}')}"]
    env = {"CI_EGRESS_POLICY": "policy.yaml", "CI_EGRESS_MODE": "enforce", "CI_EGRESS_FAIL_ON": "deny"}
    done = run_job(project, script, path, **env)
    assert done.returncode == 90, done.stderr
    assert EVIL in text_of(kept(project)[0].joinpath("summary.md").read_text())


def test_each_command_has_a_folder_of_its_own(project: Path, path: str) -> None:
    assert run_job(project, ["ci_egress true", "ci_egress true"], path).returncode == 0
    assert len(kept(project)) == 2


@pytest.mark.parametrize("shell", ["bash", "dash"])
def test_a_job_whose_user_has_sudo_can_remove_what_it_leaves(
    shell: str,
    project: Path,
    installed: str,
    lab: Lab,
    programs: Programs,
    sudoer: User,
    sudo_path: str,
) -> None:
    sudoer.give(project)
    script = [f"ci_egress sudo -n {act(lab, programs)}", "id -u"]
    done = run_job(project, script, sudo_path + installed, shell=shell, under=sudoer.under)
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines()[-1] == str(sudoer.uid)
    (span,) = egress(project)
    assert (span.name, span.resource["cicd.pipeline.task.run.id"]) == (PEER, "4321")
    subprocess.run([*sudoer.under, "rm", "-r", project / "ci-egress"], check=True)


@pytest.mark.parametrize("shell", ["bash", "dash"])
def test_a_command_has_the_variables_that_it_would_have(
    shell: str, project: Path, path: str, sudoer: User, sudo_path: str, collector: Collector
) -> None:
    """And root those that say where telemetry goes, but not where it waits."""
    sudoer.give(project)
    script = [f"ci_egress sh -ec {shlex.quote(f'{UNSET_AS_EVER}; echo $OWN; {SHOW_TAKEN}')}"]
    env = {**TAKEN_BY_SUDO, "OWN": "a b", "OTEL_EXPORTER_OTLP_ENDPOINT": collector.url}
    done = run_job(project, script, sudo_path + path, shell=shell, under=sudoer.under, **env)
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines()[-len(TAKEN_BY_SUDO) - 1 :] == ["a b", *TAKEN_BY_SUDO.values()]
    assert [entry.name for entry in project.iterdir()] == ["ci-egress"]
    assert collector.taken


@pytest.mark.parametrize("shell", ["bash", "dash"])
def test_no_byte_of_a_value_hides_its_variable(
    shell: str, project: Path, path: str, sudoer: User, sudo_path: str
) -> None:
    sudoer.give(project)
    env = {"LANG": "C.UTF-8", "PYTHONPYCACHEPREFIX": NO_UTF_8, "OWN": NO_UTF_8}
    script = [f"ci_egress sh -ec {shlex.quote(SHOW_BYTES)}"]
    done = run_job(project, script, sudo_path + path, shell=shell, under=sudoer.under, **env)
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines()[-1] == AS_SHOWN
    assert [entry.name for entry in project.iterdir()] == ["ci-egress"]


@pytest.mark.parametrize("shell", ["bash", "dash"])
def test_root_does_not_run_what_a_job_put_on_path(
    shell: str, project: Path, path: str, sudoer: User, left: Path, lab: Lab, programs: Programs
) -> None:
    sudoer.give(project)
    under = (*sudoer.under, "env", f"PATH={left}:{path}")
    done = run_job(project, [f"ci_egress sudo -n {act(lab, programs)}"], path, shell=shell, under=under)
    assert done.returncode == 0, done.stderr
    assert [entry.name for entry in left.iterdir()] == ["ci-egress"]
    assert [span.name for span in egress(project)] == [PEER]


@pytest.mark.parametrize("shell", ["bash", "dash"])
def test_a_ci_egress_that_root_does_not_find_has_to_be_named(
    shell: str, project: Path, path: str, sudoer: User
) -> None:
    sudoer.give(project)
    under = (*sudoer.under, "env", f"PATH={path}")
    program = f"{path.partition(':')[0]}/ci-egress"
    done = run_job(project, ["ci_egress touch ran"], WITHOUT, shell=shell, under=under)
    assert done.returncode == 91
    assert f"link it there, or give its path, as in CI_EGRESS_PROGRAM: {program}\n" in done.stderr
    assert not (project / "ran").exists()
    named = {"CI_EGRESS_PROGRAM": program}
    done = run_job(project, ["ci_egress touch ran"], WITHOUT, shell=shell, under=under, **named)
    assert done.returncode == 0, done.stderr
    assert (project / "ran").exists()


@pytest.mark.parametrize(
    ("env", "says"),
    [
        ({"CI_EGRESS_MODE": "block"}, "CI_EGRESS_MODE is none of trace, audit and enforce"),
        ({"CI_EGRESS_MODE": "audit"}, "CI_EGRESS_MODE is audit, and no policy is given"),
        (
            {"CI_EGRESS_MODE": "trace", "CI_EGRESS_POLICY": "p"},
            "CI_EGRESS_MODE is trace, and a policy is given",
        ),
        ({"CI_EGRESS_MODE": "enforce"}, "--enforce"),
        ({"CI_EGRESS_FAIL_ON": "--host'; touch owned; '"}, "is none of `novel`, `audit`, `deny`"),
        ({"CI_EGRESS_POLICY": "--enforce"}, "--enforce"),
    ],
)
def test_what_makes_no_sense_is_refused_before_the_command_runs(
    env: dict[str, str], says: str, project: Path, path: str
) -> None:
    done = run_job(project, ["ci_egress touch ran"], path, **env)
    assert done.returncode == 2
    assert says in done.stderr
    assert {entry.name for entry in project.iterdir()} <= {"ci-egress"}  # neither `ran` nor `owned`
