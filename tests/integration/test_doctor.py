"""`ci-egress doctor` as a process: with all rights, with none, and among other pids than the kernel's."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from typing import Any

import pytest

from exporter.kernel.elsewhere import FROM_THE_HOST
from tests.checkout import ROOT
from tests.kernel.security_hooks import HOOKS, THERE

DOCTOR = [sys.executable, "-m", "exporter", "doctor"]
NOBODY = [
    *("setpriv", "--reuid=65534", "--regid=65534", "--clear-groups"),
    *("--inh-caps=-all,+dac_read_search", "--ambient-caps=-all,+dac_read_search"),
]
"""Without any right but to read the checkout, which may stand where only root gets to."""
OTHER_PIDS = ["unshare", "--pid", "--fork", "--mount-proc"]
WITHOUT_PTRACE = ["setpriv", "--bounding-set=-sys_ptrace", "--inh-caps=-all"]
IN_ITS_OWN_BPFFS = (
    'mount -t bpf bpf /sys/fs/bpf && "$@"; s=$?; find /sys/fs/bpf/ci-egress -mindepth 1 >&2; exit $s'
)
"""What others pin and leave is elsewhere; whatever is pinned in the end is told on stderr."""
CONTRACT = "+bpf,+perfmon,+net_admin,+sys_admin,+sys_ptrace,+dac_read_search,+kill"
ONLY_THE_CONTRACTS = ["setpriv", f"--bounding-set=-all,{CONTRACT}", "--inh-caps=-all"]

NOT_HERE = set[str]() if THERE == HOOKS else {"security hooks"}
"""What this kernel lacks: stock ones have it, as `make test-kernels` shows."""

pytestmark = pytest.mark.kernel


def run(*arguments: str, under: list[str] | None = None) -> subprocess.CompletedProcess[str]:
    """Doctor with `arguments`, started by `under`. FORCE_COLOR is what CI systems set."""
    environment = os.environ | {"PYTHONPATH": str(ROOT), "FORCE_COLOR": "1"}
    command = [*(under or []), *DOCTOR, *arguments]
    return subprocess.run(command, env=environment, capture_output=True, text=True, check=False)


def checks(done: subprocess.CompletedProcess[str]) -> dict[str, dict[str, Any]]:
    assert done.stderr == ""
    found = {check["name"]: check for check in json.loads(done.stdout)["checks"]}
    # What other tests beside this one left is theirs.
    return {name: check for name, check in found.items() if not name.startswith("instance ")}


def missing(found: dict[str, dict[str, Any]]) -> dict[str, str]:
    """What isn't there, and what that costs."""
    return {name: check["lost"] for name, check in found.items() if not check["ok"]}


@pytest.mark.everywhere(feature="doctor")
def test_as_root_everything_works_and_nothing_stays_attached() -> None:
    done = run("--json", under=["unshare", "--mount", "sh", "-c", IN_ITS_OWN_BPFFS, "sh"])
    found = checks(done)  # what stayed would be named on stderr
    assert {*missing(found)} == NOT_HERE
    assert (done.returncode, json.loads(done.stdout)["ok"]) == (0, True)
    assert all((check["lost"] is check["fix"] is None) == check["ok"] for check in found.values())


def test_without_rights_it_says_which_are_missing_and_what_each_costs() -> None:
    done = run("--json", under=NOBODY)
    found = checks(done)
    assert (done.returncode, json.loads(done.stdout)["ok"]) == (91, False)
    assert "CAP_BPF, CAP_PERFMON, CAP_NET_ADMIN are missing" in found["capabilities"]["lost"]
    assert "working directories" in found["CAP_SYS_PTRACE"]["lost"]
    assert found["BTF"]["ok"]
    assert found["programs"]["ok"]
    assert not found["tracing"]["ok"]
    unchecked = [name for name, check in found.items() if check["lost"] == "this user may not look"]
    assert unchecked == ["packet sockets", "security hooks", "leftovers"]


def test_a_missing_right_that_only_helps_is_told_and_run_works() -> None:
    done = run("--json", under=WITHOUT_PTRACE)
    found = checks(done)
    assert {*missing(found)} == {"CAP_SYS_PTRACE"} | NOT_HERE, missing(found)
    assert (done.returncode, json.loads(done.stdout)["ok"]) == (0, True)
    assert "CAP_SYS_NICE" in found


def test_the_contracts_capabilities_are_enough_to_trace() -> None:
    done = run("--json", under=ONLY_THE_CONTRACTS)
    assert "tracing" not in missing(checks(done)), missing(checks(done))
    assert done.returncode == 0


def test_run_and_doctor_say_the_same_of_another_pid_namespace() -> None:
    doctors = run("--json", under=OTHER_PIDS)
    pid_namespace = checks(doctors)["pid namespace"]
    assert doctors.returncode == 91
    assert json.loads(doctors.stdout)["instead"] == FROM_THE_HOST
    runs = subprocess.run(
        [*OTHER_PIDS, *DOCTOR[:-1], "run", "--", "echo", "started"],
        env=os.environ | {"PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert (runs.returncode, runs.stdout) == (91, "")
    what = pid_namespace["lost"].removeprefix("no tracing: ").split("[")[0]
    assert what in runs.stderr
    assert pid_namespace["fix"] in runs.stderr


def test_in_a_log_it_is_plain_lines_without_trailing_spaces() -> None:
    done = run()
    lines = done.stdout.splitlines()
    assert lines == [line.rstrip() for line in lines]
    assert done.stdout.isascii()
    assert "\x1b" not in done.stdout
    less = ", and reports less than it could" if NOT_HERE else ""
    assert lines[-1] == f"`ci-egress run` works here{less}", done.stdout


def test_an_unknown_option_is_a_usage_error() -> None:
    done = run("--yaml")
    assert done.returncode == 2
    assert "Traceback" not in done.stderr
