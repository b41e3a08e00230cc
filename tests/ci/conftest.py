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

from tests.checkout import ROOT
from tests.integration.receivers import Answer, Collector, serving
from tests.kernel.conftest import lab, made_ahead, programs
from tests.unit.jobs.provider_environments import environment

from .actions_runner import Job
from .stand_ins import StandIn

if TYPE_CHECKING:
    from collections.abc import Iterator

__all__ = ["lab", "made_ahead", "programs"]

# By bash: dash drops the variables of inputs, whose names have hyphens. A checkout in root's home, which is
# closed to others, is opened to this one, and all else in there is away. The ci-egress that is on PATH here
# is where root looks for it, whatever PATH is later; without one, none is.
_AS_SUDOER = """
if [[ $2 == ~root/* ]]; then
    mount --bind "$2" /mnt
    mount -t tmpfs -o mode=755 none ~root
    mkdir -p "$2"
    mount --move /mnt "$2"
fi
mount -t tmpfs -o mode=755 none /etc/sudoers.d
printf 'Defaults use_pty\\n%s ALL=(ALL) NOPASSWD: ALL\\n' "$1" >/etc/sudoers.d/runner
chmod 440 /etc/sudoers.d/runner
program=$(command -v ci-egress) || program=
for other in /usr/local/bin/ci-egress /usr/sbin/ci-egress /usr/bin/ci-egress; do
    [[ ! -e $other ]] || mount --bind /dev/null "$other"
done
mount -t tmpfs -o mode=755 none /usr/local/sbin
[[ ! $program ]] || cp "$program" /usr/local/sbin
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
    "HOME": "/elsewhere",
    "LD_RUN_PATH": "/opt/lib",
    "TZ": ":/etc/localtime",
    "TZDIR": "/opt/zoneinfo",
    "STATE_DIRECTORY": "state",
}
"""Variables that a build may have and root must not. `sudo -E` leaves three of them: PYTHONPYCACHEPREFIX says
where Python looks for code that is compiled already, and puts it, OPENSSL_CONF what OpenSSL loads,
STATE_DIRECTORY where ci-egress makes a folder for what no collector takes."""
NO_UTF_8 = "compiled\udcff"
"""A value with a byte that is no character."""
SHOW_BYTES = "printf '%s\\n' \"$PYTHONPYCACHEPREFIX\" \"$OWN\" | od -An -tx1 -v | tr -d ' \\n'"
AS_SHOWN = 2 * os.fsencode(f"{NO_UTF_8}\n").hex()
"""What that shows where both have NO_UTF_8 as their value."""
SHOW_TAKEN = f"""printf '%s\\n' {" ".join(f'"${name}"' for name in TAKEN_BY_SUDO)}"""
UNSET_AS_EVER = '[ -z "$(printenv TERM SHELL USER LOGNAME)" ]'
"""True where none of them is there; sudo and ci-egress would set them."""

_SUDO_RS = """#!/bin/bash
[[ $1 != --version ]] || { echo sudo-rs 0.2.8; exit; }
for word; do
    shift
    if [[ $word == -E ]]; then
        echo "sudo: preserving the entire environment is not supported, '-E' is ignored" >&2
    else
        set -- "$@" "$word"
    fi
done
exec /usr/bin/sudo "$@"
"""

_LEFT = """#!/bin/sh
touch "${0%/*}/owned-by-$(id -u)"
"""


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
    return f"{program.parent}:/usr/local/sbin:{os.environ.get('PATH', os.defpath)}"


@pytest.fixture
def collector() -> Iterator[Collector]:
    """Takes all that it gets."""
    taking = Collector(lambda _: Answer())
    with serving(taking.server):
        yield taking


@pytest.fixture
def stand_in(tmp_path: Path) -> StandIn:
    return StandIn(tmp_path / "bin")


@pytest.fixture
def job(tmp_path: Path, stand_in: StandIn) -> Iterator[Job]:
    """One of GitHub's documentation, on a runner with the stand-in on PATH."""
    path = f"{stand_in.path.parent}:{os.environ.get('PATH', os.defpath)}"
    with Job(tmp_path, {**environment("github"), "PATH": path}) as job:
        yield job


@pytest.fixture(params=["sudo", "sudo-rs"])
def sudo_path(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """A PATH to put in front of another, by which `sudo` is the machine's, or does as the one in Rust."""
    folder = tmp_path / request.param
    folder.mkdir()
    if request.param == "sudo-rs":
        (folder / "sudo").write_text(_SUDO_RS)
        (folder / "sudo").chmod(0o755)
    return f"{folder}:"


@pytest.fixture
def left(tmp_path: Path, sudoer: User) -> Path:
    """A folder of a job's user, with a `ci-egress` in it that says who ran it."""
    folder = tmp_path / "left"
    folder.mkdir()
    sudoer.give(folder)
    (folder / "ci-egress").write_text(_LEFT)
    (folder / "ci-egress").chmod(0o755)
    return folder
