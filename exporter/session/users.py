"""The user with whose rights COMMAND runs: tracing needs root, a build shouldn't have it."""

from __future__ import annotations

import os
import pwd
from collections.abc import Mapping
from dataclasses import dataclass

from exporter.common.errors import KernelError, UsageError
from exporter.kernel import requirements

_ROOT = 0
_HIGHEST_ID = 2**32 - 2
"""One below (uid_t)-1, with which setresuid(2) changes nothing."""


@dataclass(frozen=True)
class CommandUser:
    """The user that COMMAND becomes."""

    name: str
    uid: int
    gid: int
    groups: tuple[int, ...]
    """All groups, the primary one included."""
    home: str

    def environment(self) -> dict[str, str]:
        """Return the variables that name this user."""
        return {"HOME": self.home, "USER": self.name, "LOGNAME": self.name}

    def assume(self) -> None:
        """Become this user for good; raises OSError where the kernel refuses.

        Root keeps root's rights, capabilities included: exec gives them back to it.
        """
        os.setgroups(self.groups)
        os.setresgid(self.gid, self.gid, self.gid)
        os.setresuid(self.uid, self.uid, self.uid)


def command_user(option: str | None, environ: Mapping[str, str], *, euid: int) -> CommandUser | None:
    """Return the user that COMMAND becomes; None when it stays the one that ci-egress runs as.

    `option` is `--user` (a name or a number). Without it, under sudo, COMMAND becomes the user who called
    sudo, by SUDO_UID, SUDO_GID and SUDO_USER. Anyone can set these variables, so they count only for root.
    Raises UsageError for an unknown user and KernelError when the rights to become another one are missing.
    """
    user = _named(option) if option is not None else _sudo_caller(environ, euid=euid)
    if user is None or (user.uid == euid != _ROOT):
        return None
    needed = {"CAP_SETUID": requirements.CAP_SETUID, "CAP_SETGID": requirements.CAP_SETGID}
    missing = [name for name, number in needed.items() if not requirements.has_effective(number)]
    if missing:
        are = "is" if len(missing) == 1 else "are"
        raise KernelError(
            f"COMMAND can't run as {user.name!r}: {' and '.join(missing)} {are} missing",
            hint="run ci-egress as root, or as that user and without --user",
        )
    return user


def caller() -> int:
    """Return the id of the user who called: the one behind sudo, else the one that this process runs as."""
    behind = os.environ.get("SUDO_UID", "") if os.geteuid() == 0 else ""
    return int(behind) if behind.isascii() and behind.isdigit() else os.getuid()


def _named(option: str) -> CommandUser:
    account = _account(option)
    if account is None:
        account = _account(_parse_id(option))
    if account is None:
        raise UsageError(f"--user: there is no user {option!r}", hint="`getent passwd` lists them")
    return _with_groups(account, account.pw_gid)


def _sudo_caller(environ: Mapping[str, str], *, euid: int) -> CommandUser | None:
    if euid != _ROOT or "SUDO_UID" not in environ:
        return None
    uid = _sudo_id(environ, "SUDO_UID")
    if uid == _ROOT:
        return None
    gid = _sudo_id(environ, "SUDO_GID")
    account = _account(uid)
    if account is None:
        return CommandUser(environ.get("SUDO_USER", str(uid)), uid, gid, groups=(gid,), home="/")
    return _with_groups(account, gid)


def _sudo_id(environ: Mapping[str, str], variable: str) -> int:
    value = environ.get(variable, "")
    parsed = _parse_id(value)
    if parsed is None:
        hint = "unset it, or say whose COMMAND it is: --user NAME"
        raise UsageError(f"{variable}={value!r} is not what sudo sets", hint=hint)
    return parsed


def _parse_id(text: str) -> int | None:
    """Return a user's or group's number from decimal digits; None for anything else."""
    if not (text.isascii() and text.isdigit() and len(text) <= len(str(_HIGHEST_ID))):
        return None
    number = int(text)
    return number if number <= _HIGHEST_ID else None


def _account(user: str | int | None) -> pwd.struct_passwd | None:
    """Return the user's entry in the database; None when there is none."""
    if user is None:
        return None
    try:
        return pwd.getpwnam(user) if isinstance(user, str) else pwd.getpwuid(user)
    except KeyError:
        return None


def _with_groups(account: pwd.struct_passwd, gid: int) -> CommandUser:
    groups = tuple(os.getgrouplist(account.pw_name, gid))
    return CommandUser(account.pw_name, account.pw_uid, gid, groups, account.pw_dir)
