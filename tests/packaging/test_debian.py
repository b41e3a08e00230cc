"""The Debian package: installed, run as a service by a real systemd, upgraded and removed."""

from __future__ import annotations

import os
import signal
from pathlib import Path
from platform import release
from typing import TYPE_CHECKING

import pytest

from tests.kernel.job_steps import job, run_id
from tests.kernel.lab import PORT, V4
from tests.kernel.running_exporter import wait_for

from .host_policy import POLICY, TASK
from .machine import APT_FAILED, CI_EGRESS, LIMIT_S
from .other_versions import (
    REFUSED,
    compile_ahead,
    repacked,
    with_other_programs,
    with_refused_programs,
    with_the_same_programs,
    without_a_question,
)
from .releases import LIMIT_S as RELEASE_LIMIT_S
from .service_unit import SERVICE, capability_mask

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from tests.kernel.job_steps import Steps

    from .machine import Machine
    from .releases import Built

pytestmark = [
    pytest.mark.kernel,
    pytest.mark.alone,  # its service holds others' steps until it knows them
    pytest.mark.index,
    pytest.mark.timeout(RELEASE_LIMIT_S),
]

OPTIONS = "WATCH_OPTIONS=--json-log --policy /etc/ci-egress/policy.yaml\n"

BURST = 3
READ_AGAIN = "SIGHUP: read the policy again"


def version(package: Path) -> str:
    return package.name.split("_")[1]


@pytest.fixture(scope="module")
def installed(host: Machine, built: Built) -> Machine:
    """A machine with the package, whose service denies."""
    compile_ahead(built.package)
    host.apt("install", built.package)
    (host.root / "etc/ci-egress/environment").write_text(OPTIONS)
    (host.root / "etc/ci-egress/policy.yaml").write_text(POLICY)
    host.systemctl("link", f"/{SERVICE}")
    return host


@pytest.fixture
def service(installed: Machine) -> Iterator[Machine]:
    """The same with the service running, which is stopped in the end."""
    installed.systemctl("start", "ci-egress.service")
    yield installed
    installed.systemctl("stop", "ci-egress.service", status=None)


def test_one_package_is_for_debian_13_too_and_nothing_of_it_stays(trixie: Machine, built: Built) -> None:
    trixie.apt("install", built.package)
    assert trixie.run(CI_EGRESS, "--version").stdout == f"ci-egress {version(built.package)}\n"
    assert trixie.doctor()["ok"]
    act = ["bash", "-c", f"exec 3>/dev/udp/127.0.0.1/{PORT}"]
    seen = trixie.run("env", "-C", "/root", CI_EGRESS, "run", "--", *act).stderr
    assert seen.splitlines()[-1] == "attempts 1 = exported 1 + aggregated 0 + dropped 0 + pending 0"
    trixie.apt("remove", "ci-egress")
    assert trixie.files_of_ci_egress() == {"etc/ci-egress"}
    trixie.run("mkdir", "-p", "/var/cache/ci-egress")  # an earlier version's
    trixie.apt("purge", "ci-egress")
    assert trixie.files_of_ci_egress() == set()
    assert trixie.instances() == []


def test_installing_it_starts_no_service(installed: Machine) -> None:
    assert installed.doctor()["ok"]
    assert installed.systemctl("is-active", "ci-egress.service", status=None) == "inactive"
    assert installed.systemctl("is-enabled", "ci-egress.service", status=None) == "linked"


def test_files_with_tokens_are_roots_alone(installed: Machine) -> None:
    status = (installed.root / "etc/ci-egress/environment").stat()
    assert (status.st_uid, status.st_mode & 0o777) == (0, 0o600)


def test_the_service_has_just_the_rights_of_its_unit_and_denies(service: Machine, steps: Steps) -> None:
    process = Path(f"/proc/{service.main_pid()}/status").read_text()
    fields = dict(line.split(":\t", 1) for line in process.splitlines() if ":\t" in line)
    mask = capability_mask((service.root / SERVICE).read_text())
    assert {name: int(fields[name], 16) for name in ("CapEff", "CapPrm", "CapBnd")} == dict.fromkeys(
        ("CapEff", "CapPrm", "CapBnd"), mask
    )
    assert (fields["NoNewPrivs"], fields["Seccomp"]) == ("1", "2")
    run = run_id("service")
    place = steps.start(job(run, TASK), f"{steps.act(V4.peer)}; {steps.act(V4.evil)}")
    begun(service, run)
    assert steps.go(place) == "ok\nEPERM\n"
    assert service.shown("ActiveState") == "active", "it told systemd that it is ready"
    service.systemctl("stop", "ci-egress.service")
    assert service.shown("Result") == "success"
    assert service.instances() == []
    acts = [span for span in service.told() if span.resource.get("cicd.pipeline.run.id") == run]
    told = {span.name: span["egress.verdict"] for span in acts if "egress.verdict" in span.attributes}
    assert told == {f"connect {V4.peer}:{PORT}": "allow", f"connect {V4.evil}:{PORT}": "deny"}


def begun(machine: Machine, run: str) -> None:
    """Wait until the service holds the job of this run to its policy."""
    wait_for(lambda: run in machine.said(), limit_s=LIMIT_S)


def test_it_reads_the_policy_again_when_it_is_reloaded(service: Machine) -> None:
    pid, before = service.main_pid(), service.said().count(READ_AGAIN)
    service.systemctl("reload", "ci-egress.service")
    wait_for(lambda: service.said().count(READ_AGAIN) > before, LIMIT_S)
    assert service.main_pid() == pid


@pytest.mark.parametrize(
    "change", [with_the_same_programs, with_other_programs], ids=lambda each: each.__name__
)
def test_an_upgrade_lets_it_go_on_denying(
    service: Machine, built: Built, steps: Steps, tmp_path: Path, change: Callable[[Path], None]
) -> None:
    run = run_id(f"upgraded-{tmp_path.name}")  # of each of them: what it said of the other's is there still
    pid, (instance,) = service.main_pid(), service.instances()
    place = steps.start(job(run, TASK), steps.act(V4.evil), steps.act(V4.evil))
    begun(service, run)
    assert steps.go(place) == "EPERM\n"
    is_same = change is with_the_same_programs
    service.apt("install", repacked(built.package, tmp_path / "newer", f"99.{int(not is_same)}", change))
    assert service.main_pid() not in (0, pid)
    assert (service.instances() == [instance]) == is_same
    assert steps.go(place, 1) == "EPERM\n"


def test_an_upgrade_that_the_kernel_refuses_is_undone_while_the_watch_goes_on(
    service: Machine, built: Built, steps: Steps, tmp_path: Path
) -> None:
    run = run_id("refused")
    before = (service.main_pid(), service.instances(), service.package_state(), service.files_of_package())
    place = steps.start(job(run, TASK), steps.act(V4.evil), f"{steps.act(V4.peer)}; {steps.act(V4.evil)}")
    begun(service, run)
    assert steps.go(place) == "EPERM\n"
    newer = repacked(built.package, tmp_path / "newer", "99.2", with_refused_programs)
    said = service.apt("install", newer, status=APT_FAILED)
    assert f"ci-egress: no tracing: cannot load the programs: Linux {release()} refuses {REFUSED}: " in said
    assert (
        "ci-egress: the upgrade ends here; the watch that runs goes on, and denies what it denied\n" in said
    )
    assert before == (
        service.main_pid(),
        service.instances(),
        service.package_state(),
        service.files_of_package(),
    )
    assert before[2][0] == "ii"
    assert steps.go(place, 1) == "ok\nEPERM\n"
    service.systemctl("restart", "ci-egress.service")
    assert service.main_pid() != before[0], "it would start again"


def test_an_upgrade_from_one_that_does_not_ask_ends_before_the_watch_and_is_mended_by_the_next(
    service: Machine, built: Built, steps: Steps, tmp_path: Path
) -> None:
    run = run_id("unasked")
    service.apt("install", repacked(built.package, tmp_path / "older", "99.3", without_a_question))
    before = (service.main_pid(), service.instances())
    place = steps.start(job(run, TASK), *[steps.act(V4.evil)] * 3)
    begun(service, run)
    assert steps.go(place) == "EPERM\n"
    newer = repacked(built.package, tmp_path / "newer", "99.4", with_refused_programs)
    said = service.apt("install", newer, status=APT_FAILED)
    assert "ci-egress: the watch that runs isn't ended, and denies what it denied; install" in said
    assert service.package_state() == ("iF", "99.4")
    assert before == (service.main_pid(), service.instances())
    assert steps.go(place, 1) == "EPERM\n"
    service.apt("install", repacked(built.package, tmp_path / "newest", "99.5", with_other_programs))
    assert service.package_state() == ("ii", "99.5")
    assert service.main_pid() not in (0, before[0])
    assert steps.go(place, 2) == "EPERM\n"


@pytest.fixture
def impatient(service: Machine) -> Iterator[Machine]:
    """The same, of which systemd counts only three starts: ten would take a minute or two."""
    addition = service.root / "etc/systemd/user/ci-egress.service.d/burst.conf"
    addition.write_text(f"[Unit]\nStartLimitBurst={BURST}\n")
    service.systemctl("daemon-reload")
    yield service
    addition.unlink()
    service.systemctl("daemon-reload")


def test_one_that_is_killed_is_started_again_however_often(impatient: Machine) -> None:
    (instance,) = impatient.instances()
    for _ in range(BURST + 1):
        pid = impatient.main_pid()
        os.kill(pid, signal.SIGKILL)
        wait_for(lambda pid=pid: impatient.main_pid() not in (0, pid), LIMIT_S)  # type: ignore[misc]
        wait_for(lambda: impatient.shown("ActiveState") == "active", LIMIT_S)
    assert impatient.instances() == [instance]


def test_it_gives_up_on_programs_that_never_load_says_why_and_the_next_upgrade_tries_again(
    impatient: Machine, built: Built, tmp_path: Path
) -> None:
    impatient.systemctl("stop", "ci-egress.service")
    impatient.systemctl("enable", "ci-egress.service")
    newer = repacked(built.package, tmp_path / "newer", "99.6", with_refused_programs)
    assert "the upgrade ends here" not in impatient.apt("install", newer), "no watch runs"
    before = impatient.said().count(REFUSED)
    impatient.systemctl("start", "ci-egress.service", status=1)
    wait_for(lambda: impatient.shown("ActiveState") == "failed", LIMIT_S)
    assert impatient.said().count(REFUSED) == before + BURST
    status = impatient.systemctl("status", "ci-egress.service", status=3)
    assert f'Status: "cannot load the programs: Linux {release()} refuses {REFUSED}: ' in status
    impatient.apt("install", repacked(built.package, tmp_path / "newest", "99.7", with_other_programs))
    assert impatient.shown("ActiveState") == "active"


def test_removing_it_while_it_runs_and_after_a_kill_detaches_everything(service: Machine) -> None:
    os.kill(service.main_pid(), signal.SIGKILL)
    service.apt("purge", "ci-egress")
    assert service.instances() == []
    assert service.files_of_ci_egress() == set()
    assert service.systemctl("is-active", "ci-egress.service", status=None) in ("inactive", "failed")
