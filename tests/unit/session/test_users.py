"""Who COMMAND becomes."""

from __future__ import annotations

import grp
import os
import pwd

import pytest
from hypothesis import given
from hypothesis import strategies as st

from exporter.common.errors import KernelError, UsageError
from exporter.kernel import requirements
from exporter.session.users import CommandUser, command_user

ROOT = 0
DAEMON = pwd.getpwnam("daemon")
SUDO = {"SUDO_UID": str(DAEMON.pw_uid), "SUDO_GID": str(DAEMON.pw_gid), "SUDO_USER": "daemon"}

CAN_SWITCH = requirements.has_effective(requirements.CAP_SETUID, requirements.CAP_SETGID)


def test_nobody_else_is_asked_for_without_option_and_sudo() -> None:
    assert command_user(None, {}, euid=ROOT) is None


def test_root_that_called_sudo_stays_root() -> None:
    assert command_user(None, {"SUDO_UID": "0", "SUDO_GID": "0", "SUDO_USER": "root"}, euid=ROOT) is None


def test_sudo_variables_are_not_believed_without_root() -> None:
    assert command_user(None, SUDO, euid=1000) is None


def test_the_own_user_needs_no_change() -> None:
    assert command_user("daemon", {}, euid=DAEMON.pw_uid) is None
    assert command_user(str(DAEMON.pw_uid), {}, euid=DAEMON.pw_uid) is None


@pytest.mark.parametrize(
    "name", ["no-such-user", "", "-1", "4294967295", "4294967294", "1.0", "0x0", "²", "daemon "]
)
def test_an_unknown_user_is_refused(name: str) -> None:
    with pytest.raises(UsageError, match="no user"):
        command_user(name, SUDO, euid=ROOT)


@pytest.mark.parametrize("gid", [None, "", "-1", "4294967295", "daemon", "1 2"])
def test_a_strange_sudo_gid_is_refused(gid: str | None) -> None:
    environ = {name: value for name, value in {**SUDO, "SUDO_GID": gid}.items() if value is not None}
    with pytest.raises(UsageError, match="SUDO_GID"):
        command_user(None, environ, euid=ROOT)


@given(st.text())
def test_no_text_in_sudo_uid_makes_root_of_another(uid: str) -> None:
    try:
        user = command_user(None, {**SUDO, "SUDO_UID": uid}, euid=ROOT)
    except (UsageError, KernelError):
        return
    assert int(uid) == (user.uid if user else ROOT)


def test_who_cannot_change_users_learns_why() -> None:
    if CAN_SWITCH:
        assert command_user("daemon", {}, euid=ROOT) == _daemon()
        return
    with pytest.raises(KernelError, match="CAP_SETUID"):
        command_user("daemon", {}, euid=ROOT)


def test_a_user_is_named_by_its_variables() -> None:
    user = CommandUser("builder", 1000, 1000, groups=(1000,), home="/home/builder")
    assert user.environment() == {"HOME": "/home/builder", "USER": "builder", "LOGNAME": "builder"}


def _daemon() -> CommandUser:
    groups = tuple(os.getgrouplist("daemon", DAEMON.pw_gid))
    assert grp.getgrnam("daemon").gr_gid in groups
    return CommandUser("daemon", DAEMON.pw_uid, DAEMON.pw_gid, groups, DAEMON.pw_dir)
