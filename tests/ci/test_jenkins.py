"""Jenkins' shared-library step: the real Groovy, by the version that Jenkins has, and its scripts."""

from __future__ import annotations

import errno
import json
import os
import subprocess
from typing import TYPE_CHECKING, Any

import pytest

from tests.checkout import ROOT
from tests.unit.jobs.provider_environments import environment

from . import limits
from .conftest import AS_SHOWN, NO_UTF_8, SHOW_BYTES, SHOW_TAKEN, TAKEN_BY_SUDO, UNSET_AS_EVER
from .job_output import ALL_BUT_EVIL, EVIL, PEER, act, egress, text_of

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

    from tests.integration.receivers import Collector
    from tests.kernel.conftest import Programs
    from tests.kernel.lab import Lab

    from .conftest import User

pytestmark = [pytest.mark.integration, pytest.mark.kernel, pytest.mark.timeout(limits.TEST_S)]

STEP = ROOT / "deploy" / "jenkins" / "vars" / "ciEgress.groovy"
HOSTILE = ("--host'; touch owned; '", "$(touch owned)", '"; touch owned; "', "`touch owned`")
QUICKLY = "-XX:TieredStopAtLevel=1 -XX:+UseSerialGC -Xshare:auto"
PIPELINE = ROOT / "tests" / "ci" / "pipeline.groovy"


def call(
    folder: Path, path: str, *asked: str | dict[str, Any], under: Sequence[str] = ()
) -> tuple[list[dict[str, Any]], str]:
    """What the step returned or failed with, call by call, and what stands in the build's log."""
    done = subprocess.run(
        [*under, "groovy", str(PIPELINE), str(STEP), str(folder)],
        input=json.dumps(asked),
        capture_output=True,
        text=True,
        errors="backslashreplace",
        cwd=folder / "workspace",
        env={**environment("jenkins"), "PATH": path, "HOME": str(folder), "JAVA_OPTS": QUICKLY},
        timeout=limits.COMMAND_S,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    log, _, result = done.stdout.rstrip().rpartition("\n")
    return json.loads(result), log + done.stderr


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Where the workspace is."""
    (tmp_path / "workspace").mkdir()
    return tmp_path


def kept(folder: Path) -> Path:
    """The folder of what was traced, with all that a person wants."""
    (found,) = (folder / "workspace" / "ci-egress").iterdir()
    assert {entry.name for entry in found.iterdir()} == {"otlp", "report.html", "summary.md"}
    return found


def test_a_script_is_traced(folder: Path, path: str, lab: Lab, programs: Programs) -> None:
    (result,), log = call(folder, path, f"{act(lab, programs)}\necho went on")
    assert result == {"returned": None}
    assert "went on" in log
    (span,) = egress(kept(folder))
    assert span.resource["cicd.pipeline.run.id"] == "153"
    assert span.resource["cicd.pipeline.task.name"] == "Integration tests"
    assert not list((folder / "workspace@tmp").glob("ci-egress-*"))


def test_it_returns_what_sh_returns(folder: Path, path: str) -> None:
    script = "#!/usr/bin/env python3\nprint('by its interpreter')\n"
    results, _ = call(
        folder,
        path,
        {"script": "exit 7", "returnStatus": True},
        {"script": "echo out", "returnStdout": True},
        {"script": script, "returnStdout": True},
        "false\necho went on",
    )
    assert results == [
        {"returned": 7},
        {"returned": "out\n"},
        {"returned": "by its interpreter\n"},
        {"failed": "script returned exit code 1"},
    ]


def test_a_policy_is_enforced_and_fails_the_build(
    folder: Path, path: str, lab: Lab, programs: Programs
) -> None:
    (folder / "workspace" / "policy.yaml").write_text(ALL_BUT_EVIL)
    script = f"{act(lab, programs, EVIL)} || test $? = {errno.EPERM}"
    asked = {
        "script": script,
        "policy": "policy.yaml",
        "enforce": True,
        "failOn": "deny",
        "returnStatus": True,
    }
    (result,), log = call(folder, path, asked)
    assert result == {"returned": 90}, log
    assert EVIL in text_of((kept(folder) / "summary.md").read_text())


def test_a_build_whose_user_has_sudo_can_remove_what_it_leaves(
    folder: Path, path: str, lab: Lab, programs: Programs, sudoer: User, sudo_path: str
) -> None:
    sudoer.give(folder, folder / "workspace")
    asked = {"script": f"sudo -n {act(lab, programs)}\nid -u", "returnStdout": True}
    (result,), log = call(folder, sudo_path + path, asked, under=sudoer.under)
    assert result["returned"].splitlines()[-1] == str(sudoer.uid), log
    (span,) = egress(kept(folder))
    assert (span.name, span.resource["cicd.pipeline.run.id"]) == (PEER, "153")
    subprocess.run([*sudoer.under, "rm", "-r", folder / "workspace" / "ci-egress"], check=True)


def given(user: User, variables: Mapping[str, str]) -> tuple[str, ...]:
    """A command that becomes what it is given, as that user with those variables."""
    return (*user.under, "env", *(f"{name}={value}" for name, value in variables.items()))


def test_a_script_has_the_variables_that_it_would_have(
    folder: Path, path: str, sudoer: User, sudo_path: str, collector: Collector
) -> None:
    """And root those that say where telemetry goes, but not where it waits."""
    sudoer.give(folder, folder / "workspace")
    env = {**TAKEN_BY_SUDO, "OWN": "a b", "OTEL_EXPORTER_OTLP_ENDPOINT": collector.url}
    asked = {"script": f"{UNSET_AS_EVER}; echo $OWN; {SHOW_TAKEN}", "returnStdout": True}
    (result,), log = call(folder, sudo_path + path, asked, under=given(sudoer, env))
    assert result.get("returned", "").splitlines() == ["a b", *TAKEN_BY_SUDO.values()], log
    assert [entry.name for entry in (folder / "workspace").iterdir()] == ["ci-egress"]
    assert collector.taken


def test_no_byte_of_a_value_hides_its_variable(folder: Path, path: str, sudoer: User, sudo_path: str) -> None:
    sudoer.give(folder, folder / "workspace")
    env = {"LANG": "C.UTF-8", "PYTHONPYCACHEPREFIX": NO_UTF_8, "OWN": NO_UTF_8}
    asked = {"script": SHOW_BYTES, "returnStdout": True}
    (result,), log = call(folder, sudo_path + path, asked, under=given(sudoer, env))
    assert result == {"returned": AS_SHOWN}, log
    assert [entry.name for entry in (folder / "workspace").iterdir()] == ["ci-egress"]


def test_root_does_not_run_what_a_build_put_on_path(
    folder: Path, path: str, sudoer: User, left: Path, lab: Lab, programs: Programs
) -> None:
    sudoer.give(folder, folder / "workspace")
    under = (*sudoer.under, "env", f"PATH={left}:{path}")
    asked = {"script": f"sudo -n {act(lab, programs)}", "returnStatus": True}
    (result,), log = call(folder, path, asked, under=under)
    assert result == {"returned": 0}, log
    assert [entry.name for entry in left.iterdir()] == ["ci-egress"]
    assert [span.name for span in egress(kept(folder))] == [PEER]


def test_a_ci_egress_that_root_does_not_find_has_to_be_named(folder: Path, path: str, sudoer: User) -> None:
    sudoer.give(folder, folder / "workspace")
    under = (*sudoer.under, "env", f"PATH={path}")
    program = f"{path.partition(':')[0]}/ci-egress"
    asked = {"script": "true", "returnStatus": True}
    results, log = call(folder, os.defpath, asked, {**asked, "ciEgress": program}, under=under)
    assert results == [{"returned": 91}, {"returned": 0}], log
    assert f"link it there, or give its path, as in ciEgress: '{program}'\n" in log


def test_a_value_is_never_an_option_or_a_shell_word(folder: Path, path: str) -> None:
    asked = ({"script": "touch ran", "failOn": text, "returnStatus": True} for text in HOSTILE)
    results, log = call(folder, path, *asked)
    assert results == [{"returned": 2}] * len(HOSTILE)
    assert log.count("is none of `novel`, `audit`, `deny`") == len(HOSTILE)
    assert [entry.name for entry in (folder / "workspace").iterdir()] == ["ci-egress"]


def test_what_makes_no_sense_is_refused(folder: Path, path: str) -> None:
    (unknown, missing), _ = call(folder, path, {"script": "true", "rules": "p"}, {"policy": "p"})
    assert unknown["failed"].startswith("ciEgress: rules is none of script, ")
    assert missing == {"failed": "ciEgress: script is missing"}
