"""COMMAND has the rights of the user who called sudo, or of `--user`, and no capabilities. Needs root."""

from __future__ import annotations

import grp
import os
import pwd
import subprocess
from collections.abc import Iterator, Mapping
from pathlib import Path

import pytest

from tests.integration.command_process import driver, masks, run

pytestmark = pytest.mark.integration

CONTRACT_CAPABILITIES = (
    *("bpf", "perfmon", "net_admin", "sys_admin"),
    *("sys_ptrace", "dac_read_search", "kill"),
)
GROUPS = ("video", "audio", "games")
NO_CAPABILITIES = {"CapInh": 0, "CapPrm": 0, "CapEff": 0, "CapAmb": 0}
PATH = {"PATH": "/usr/sbin:/usr/bin:/sbin:/bin"}


@pytest.fixture(scope="module")
def caller() -> Iterator[pwd.struct_passwd]:
    """A user in several groups, for as long as the module's tests run."""
    name = f"ci-egress-{os.getpid()}"
    subprocess.run(["useradd", "--no-create-home", "--groups", ",".join(GROUPS), name], check=True)
    try:
        yield pwd.getpwnam(name)
    finally:
        subprocess.run(["userdel", "--force", name], check=True)  # whoever else has processes of that uid


@pytest.fixture
def under_sudo(caller: pwd.struct_passwd) -> Mapping[str, str]:
    """The environment as `sudo -E` leaves it."""
    own = {"HOME": "/root", "USER": "root", "LOGNAME": "root"}
    sudo = {"SUDO_UID": f"{caller.pw_uid}", "SUDO_GID": f"{caller.pw_gid}", "SUDO_USER": caller.pw_name}
    return {**PATH, **own, **sudo}


def test_under_sudo_command_is_the_caller(caller: pwd.struct_passwd, under_sudo: Mapping[str, str]) -> None:
    expected = subprocess.run(
        ["setpriv", f"--reuid={caller.pw_uid}", f"--regid={caller.pw_gid}", "--init-groups", "id"],
        capture_output=True,
        check=True,
    ).stdout
    result = run(driver("id"), env=under_sudo)
    assert (result.stdout, result.stderr) == (expected, b"")
    assert all(group in result.stdout.decode() for group in GROUPS)


def test_all_ids_change_not_only_the_effective_ones(
    caller: pwd.struct_passwd, under_sudo: Mapping[str, str]
) -> None:
    status = run(driver("cat", "/proc/self/status"), env=under_sudo).stdout.decode()
    ids = {
        line.split()[0]: [int(number) for number in line.split()[1:]]
        for line in status.splitlines()
        if line.startswith(("Uid:", "Gid:", "Groups:"))
    }
    assert ids["Uid:"] == [caller.pw_uid] * 4
    assert ids["Gid:"] == [caller.pw_gid] * 4
    assert ids["Groups:"] == sorted([caller.pw_gid, *(grp.getgrnam(name).gr_gid for name in GROUPS)])


def test_under_sudo_the_environment_names_the_caller(
    caller: pwd.struct_passwd, under_sudo: Mapping[str, str]
) -> None:
    lines = run(driver("env"), env=under_sudo).stdout.decode().splitlines()
    names = {"HOME": caller.pw_dir, "USER": caller.pw_name, "LOGNAME": caller.pw_name}
    assert dict(line.split("=", 1) for line in lines) == {**under_sudo, **names}


def test_command_has_no_capabilities_and_can_gain_them_through_sudo_only(
    under_sudo: Mapping[str, str],
) -> None:
    with_inheritable = ["setpriv", "--inh-caps=+net_admin,+setuid", *driver("cat", "/proc/self/status")]
    status = run(with_inheritable, env=under_sudo).stdout.decode()
    assert masks(status).items() >= NO_CAPABILITIES.items()
    assert masks(status)["CapBnd"] == masks(Path("/proc/self/status").read_text())["CapBnd"]
    assert "NoNewPrivs:\t0" in status


def test_command_has_no_capabilities_even_when_the_kernel_was_told_to_keep_them(
    under_sudo: Mapping[str, str],
) -> None:
    keeping = ["setpriv", "--securebits=+no_setuid_fixup", "--inh-caps=+kill", "--ambient-caps=+kill"]
    status = run([*keeping, *driver("cat", "/proc/self/status")], env=under_sudo).stdout.decode()
    assert masks(status).items() >= NO_CAPABILITIES.items()


def test_command_cannot_signal_ci_egress(under_sudo: Mapping[str, str]) -> None:
    result = run(driver("sh", "-c", "kill -KILL $PPID; echo $?"), env=under_sudo)
    assert (result.returncode, result.stdout) == (0, b"1\n")


def test_a_program_that_only_root_may_execute_is_126(under_sudo: Mapping[str, str], tmp_path: Path) -> None:
    program = tmp_path / "program"
    program.write_text("#!/bin/sh\n")
    program.chmod(0o700)
    assert run(driver(str(program)), env=under_sudo).returncode == 126


@pytest.mark.parametrize("by_number", [True, False])
def test_the_user_option_beats_sudo(by_number: bool, under_sudo: Mapping[str, str]) -> None:
    user = str(pwd.getpwnam("nobody").pw_uid) if by_number else "nobody"
    shown = run(driver("sh", "-c", "id -un; echo $HOME", user=user), env=under_sudo)
    assert shown.stdout == b"nobody\n/nonexistent\n"


def test_user_root_keeps_root_under_sudo(under_sudo: Mapping[str, str]) -> None:
    assert run(driver("id", "-u", user="root"), env=under_sudo).stdout == b"0\n"


def test_a_caller_without_an_account_is_still_the_caller() -> None:
    sudo = {"SUDO_UID": "54321", "SUDO_GID": "54322", "SUDO_USER": "ghost"}
    shown = run(driver("sh", "-c", "id -u; id -G; echo $USER $HOME"), env={**PATH, **sudo})
    assert shown.stdout == b"54321\n54322\nghost /\n"


@pytest.mark.parametrize("uid", ["4294967295", "-1", "1000x", "", "99999999999999999999"])
def test_a_strange_sudo_uid_is_refused_and_never_means_root(uid: str) -> None:
    result = run(driver("id", "-u"), env={**PATH, "SUDO_UID": uid, "SUDO_GID": "1"})
    assert (result.returncode, result.stdout) == (2, b"")
    assert b"SUDO_UID" in result.stderr


def test_without_sudo_root_stays_root_with_its_environment() -> None:
    shown = run(driver("sh", "-c", "id -u; echo $HOME"), env={**PATH, "HOME": "/elsewhere"})
    assert shown.stdout == b"0\n/elsewhere\n"


def test_with_the_contracts_capabilities_only_command_gets_none_of_them() -> None:
    status = run([*_as_nobody_with_capabilities(), *driver("cat", "/proc/self/status")]).stdout.decode()
    assert masks(status).items() >= NO_CAPABILITIES.items()
    assert f"Uid:\t{pwd.getpwnam('nobody').pw_uid}\t" in status


def test_without_the_right_to_change_users_another_user_is_refused() -> None:
    result = run([*_as_nobody_with_capabilities(), *driver("id", user="daemon")])
    assert (result.returncode, result.stdout) == (91, b"")
    assert b"CAP_SETUID" in result.stderr
    assert result.stderr.count(b"\n") == 1


def test_without_the_right_to_change_users_the_own_user_is_fine() -> None:
    assert run([*_as_nobody_with_capabilities(), *driver("id", "-un", user="nobody")]).stdout == b"nobody\n"


def test_a_kernel_that_refuses_the_user_is_91_and_command_does_not_run() -> None:
    # In a user namespace that maps root alone, other users don't exist.
    result = run(["unshare", "--user", "--map-root-user", *driver("id", user="nobody")])
    assert (result.returncode, result.stdout) == (91, b"")
    assert result.stderr.startswith(b"COMMAND can't run as 'nobody': ")


def test_an_unknown_user_is_2() -> None:
    result = run(driver("id", user="no-such-user"))
    assert (result.returncode, result.stdout) == (2, b"")


def _as_nobody_with_capabilities() -> list[str]:
    nobody = pwd.getpwnam("nobody")
    wanted = ",".join(f"+{name}" for name in CONTRACT_CAPABILITIES)
    ids = [f"--reuid={nobody.pw_uid}", f"--regid={nobody.pw_gid}", "--clear-groups"]
    return ["setpriv", *ids, f"--inh-caps=-all,{wanted}", f"--ambient-caps=-all,{wanted}"]
