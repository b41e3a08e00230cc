"""deploy/systemd/ci-egress.service: what systemd says of it, and readiness on a socket of the test's own."""

from __future__ import annotations

import os
import re
import subprocess
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from exporter.common.errors import UsageError
from exporter.kernel.libc import _NUMBERS as NUMBERS
from tests.checkout import ROOT
from tests.kernel.job_steps import job, run_id
from tests.kernel.lab import V4
from tests.kernel.watching import watching

from .host_policy import POLICY, TASK
from .service_unit import UNIT, capabilities, capability_mask, settings

if TYPE_CHECKING:
    from tests.kernel.job_steps import Steps

RECORDED = UNIT.with_name("security.txt")


def analysed(*arguments: str | Path) -> str:
    command = ["systemd-analyze", "--no-pager", *map(str, arguments)]
    env = {"PATH": os.defpath, "LC_ALL": "C.UTF-8"}
    done = subprocess.run(command, env=env, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done
    return done.stdout + done.stderr


def test_systemd_finds_nothing_wrong_with_it(tmp_path: Path) -> None:
    """Its command is none of this machine's; and `man:` pages come with another package."""
    text = UNIT.read_text().replace("ExecStart=ci-egress", "ExecStart=/usr/bin/env")
    (tmp_path / UNIT.name).write_text(re.sub(r"(?m)^Documentation=.*$", "", text))
    assert analysed("verify", "--recursive-errors=no", tmp_path / UNIT.name) == ""


def test_its_exposure_is_what_is_recorded() -> None:
    """Another systemd may ask for more, and gives it another figure; the threshold holds for all."""
    told = analysed("security", "--offline=true", "--threshold=35", UNIT)
    version, recorded = analysed("--version").split()[1], RECORDED.read_text()
    if recorded.startswith(f"systemd {version}\n"):
        assert [line.split() for line in told.splitlines()] == [
            line.split() for line in recorded.splitlines()[1:]
        ]
    assert open_settings(told) >= open_settings(recorded)


def open_settings(told: str) -> set[str]:
    """What systemd holds against it."""
    return set(re.findall(r"(?m)^✗ (\S+)", told))


def allowed_calls() -> set[str]:
    """The system calls that the unit allows, as systemd understands its lines one after the other."""
    allowed = set[str]()
    for line in settings(UNIT.read_text())["SystemCallFilter"]:
        calls = set[str]().union(*(calls_of(name) for name in line.removeprefix("~").split()))
        allowed = allowed - calls if line.startswith("~") else allowed | calls
    return allowed


def calls_of(name: str) -> set[str]:
    """A call alone, or the calls of a group, and of the groups in it."""
    if not name.startswith("@"):
        return {name}
    listed = re.findall(r"(?m)^    ([@\w]+)$", analysed("syscall-filter", name))
    return set[str]().union(*(calls_of(each) for each in listed))


def test_it_may_do_the_system_calls_that_python_has_no_name_for() -> None:
    """But one that old kernels lack, too: it tells whether programs are among the security modules."""
    assert set(NUMBERS["x86_64"]) - allowed_calls() <= {"lsm_list_modules"}
    assert "ptrace" not in allowed_calls()


def test_it_is_started_again_whatever_ends_it_but_wrong_options() -> None:
    found = settings(UNIT.read_text())
    assert found["Restart"] == ["always"]
    assert found["RestartPreventExitStatus"] == [str(UsageError.exit_status)]
    assert found["ExecStartPost"] == ["-systemctl reset-failed %n"], "only starts that fail are counted"


def test_the_slowest_starts_that_fail_are_counted_together() -> None:
    """Each may last until it times out, and be killed only after it was asked to end."""
    found = {name: values[-1] for name, values in settings(UNIT.read_text()).items()}
    each_s = sum(seconds(found[name]) for name in ("TimeoutStartSec", "TimeoutStopSec", "RestartSec"))
    assert seconds(found["StartLimitIntervalSec"]) > int(found["StartLimitBurst"]) * each_s


def seconds(value: str) -> int:
    """A time as the unit has it."""
    number, unit = re.fullmatch(r"(\d+)(s|min)", value).groups()  # type: ignore[union-attr]
    return int(number) * {"s": 1, "min": 60}[unit]


def test_what_the_documentation_shows_of_it_is_so() -> None:
    assert settings(UNIT.read_text())["ExecStart"] == ["ci-egress watch --adopt $WATCH_OPTIONS"]
    assert settings(UNIT.read_text())["Type"] == ["notify"]
    assert "deploy/systemd/ci-egress.service" in (ROOT / "docs/watch.md").read_text()


@pytest.mark.kernel
@pytest.mark.alone  # it holds others' steps until it knows them
def test_with_its_rights_alone_it_is_ready_denies_and_tells_that_it_stops(
    steps: Steps, tmp_path: Path
) -> None:
    names = sorted(name.removeprefix("CAP_").lower() for name in capabilities(UNIT.read_text()))
    kept = ",".join(["-all", *(f"+{name}" for name in names)])
    under = ["setpriv", f"--bounding-set={kept}", "--inh-caps=-all", "--no-new-privs"]
    run, file = run_id("rights"), tmp_path / "policy.yaml"
    file.write_text(POLICY)
    with watching(tmp_path, "--policy", str(file), under=under) as watch:
        status = Path(f"/proc/{watch.process.pid}/status").read_text()
        rights = {int(mask, 16) for mask in re.findall(r"(?m)^Cap(?:Eff|Prm|Bnd):\t(\w+)", status)}
        assert rights == {capability_mask(UNIT.read_text())}
        place = steps.start(job(run, TASK), f"{steps.act(V4.peer)}; {steps.act(V4.evil)}")
        watch.wait_until_said(" began", run_id=run)
        assert steps.go(place) == "ok\nEPERM\n"
        seen = watch.stop()
        assert watch.systemd.recv(100) == b"STOPPING=1"
    assert seen.status == 0
