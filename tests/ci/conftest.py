"""Fixtures of the tests with CI systems: a network, a PATH with ci-egress, a user who isn't root."""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from tests.kernel.conftest import lab, made_ahead, programs
from tests.launch import ROOT
from tests.unit.jobs.documented import environment

from .actions_runner import Job
from .stand_ins import StandIn

if TYPE_CHECKING:
    from collections.abc import Iterator

__all__ = ["lab", "made_ahead", "programs"]

# By bash: dash drops the variables of inputs, whose names have hyphens. A checkout in root's home, which is
# closed to others, is opened to this one, and all else in there is away.
_AS_SUDOER = """
if [[ $2 == ~root/* ]]; then
    mount --bind "$2" /mnt
    mount -t tmpfs -o mode=755 none ~root
    mkdir -p "$2"
    mount --move /mnt "$2"
fi
mount -t tmpfs -o mode=755 none /etc/sudoers.d
echo "$1 ALL=(ALL) NOPASSWD: ALL" >/etc/sudoers.d/runner
chmod 440 /etc/sudoers.d/runner
user=$1
shift 2
exec setpriv --reuid="$user" --regid="$user" --init-groups "$@"
"""


@dataclass(frozen=True)
class User:
    """Somebody who runs jobs."""

    uid: int
    under: tuple[str, ...]
    """A command that becomes what it is given, as this user."""

    def give(self, *folders: Path) -> None:
        """Let it write there."""
        for folder in folders:
            os.chown(folder, self.uid, self.uid)


TAKEN_BY_SUDO = {
    "PYTHONPATH": "src; touch owned",
    "RUBYLIB": 'it\'s "$HOME" `id`',
    "TMPDIR": "/var/tmp",  # noqa: S108
    "PYTHONPYCACHEPREFIX": "compiled",
    "OPENSSL_CONF": "own.cnf",
}
"""Variables that a build may have and root must not. `sudo -E` leaves the last two: one of them says
where Python looks for code that is compiled already, and puts it, the other which libraries OpenSSL loads."""
SHOW_TAKEN = 'printf "%s\\n" "$PYTHONPATH" "$RUBYLIB" "$TMPDIR" "$PYTHONPYCACHEPREFIX" "$OPENSSL_CONF"'


@pytest.fixture(scope="session")
def sudoer() -> Iterator[User]:
    """One that sudo lets become root without a password, in a mount namespace of its own."""
    name = f"runner-{os.getpid()}"
    subprocess.run(["useradd", "--no-create-home", "--user-group", name], check=True)
    try:
        uid = int(subprocess.run(["id", "-u", name], capture_output=True, check=True).stdout)
        under = ("unshare", "--mount", "bash", "-euc", _AS_SUDOER, "bash", name, str(ROOT))
        yield User(uid, under)
    finally:
        subprocess.run(["userdel", "--force", name], check=True)  # also where a test left a process of its


@pytest.fixture
def tmp_path() -> Iterator[Path]:
    """As pytest's, but one that other users get into."""
    with tempfile.TemporaryDirectory(prefix="ci-egress-test-") as folder:
        Path(folder).chmod(0o755)
        yield Path(folder)


@pytest.fixture
def installed(tmp_path: Path) -> str:
    """A PATH with ci-egress on it."""
    return _path(tmp_path, '#!/bin/sh\nexec {} "$@"\n')


@pytest.fixture
def path(tmp_path: Path) -> str:
    """The same, where `doctor`, which takes seconds, finds nothing to say."""
    return _path(tmp_path, '#!/bin/sh\n[ "$1" != doctor ] || exit 0\nexec {} "$@"\n')


def _path(folder: Path, script: str) -> str:
    program = folder / "bin" / "ci-egress"
    program.parent.mkdir()
    program.write_text(script.format(Path(sys.executable).with_name("ci-egress")))
    program.chmod(0o755)
    return f"{program.parent}:{os.environ.get('PATH', os.defpath)}"


@pytest.fixture
def stand_in(tmp_path: Path) -> StandIn:
    return StandIn(tmp_path / "bin")


@pytest.fixture
def job(tmp_path: Path, stand_in: StandIn) -> Iterator[Job]:
    """One of GitHub's documentation, on a runner with the stand-in on PATH."""
    path = f"{stand_in.path.parent}:{os.environ.get('PATH', os.defpath)}"
    with Job(tmp_path, {**environment("github"), "PATH": path}) as job:
        yield job
