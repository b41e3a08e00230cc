"""Places where nobody has worked yet: Debian 12 and 13 with git and make and nothing else, and a new clone.

Preparing them takes minutes, many of them waiting for downloads. So it is done for all at once, and with the
lowest priority.
"""

from __future__ import annotations

import os
import re
import signal
import subprocess
import tempfile
from pathlib import Path

import psutil

PROJECT = Path(__file__).resolve().parents[2]
PREPARED_WITHIN_S = 2400
"""With the lowest priority, beside tests that have the processors: most of it is waiting."""
_PLENTY_BYTES = 10 << 30
"""All places hold some 3 GB."""
ROOT_PACKAGES = ("git", "make")
PLACES = ("bookworm", "trixie", "clone")
_REACHES_OUT = re.compile(r"(PIP_\w+|SSL_CERT_(FILE|DIR)|\w+_CA_BUNDLE|(https?|all|no)_proxy)", re.IGNORECASE)
_LOCAL = {"PIP_FIND_LINKS", "PIP_TARGET", "PIP_PREFIX", "PIP_USER", "PIP_CONSTRAINT"}
"""Of this machine's folders, or of another project."""


def environment(home: str) -> dict[str, str]:
    """What a login has, and how this machine reaches the package registries."""
    reaching = {
        name: value
        for name, value in os.environ.items()
        if _REACHES_OUT.fullmatch(name) and name.upper() not in _LOCAL
    }
    path = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
    return {"PATH": path, "HOME": home, "LANG": "C.UTF-8", **reaching}


def _drawn_as_here() -> dict[str, str]:
    """Whether tests are to draw the same examples each time, as in CI (tests/conftest.py)."""
    return {name: value for name, value in os.environ.items() if name == "CI"}


class Place:
    """One of PLACES, being prepared from now on."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.folder = Path(tempfile.mkdtemp(prefix=f"ci-egress-{name}-", dir=_in_memory()))
        self.home = str(self.folder / "home") if name == "clone" else "/root"
        self._log = self.folder / "log"
        with self._log.open("wb") as log:
            self._preparing = subprocess.Popen(
                ["nice", "-n", "19", str(PROJECT / "tests/clean/prepare.sh"), name, str(self.folder)],
                env={**environment(self.home), "XDG_CACHE_HOME": cache(), **_drawn_as_here()},
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,
            )

    def prepared(self) -> str:
        """What was printed. Raises AssertionError with that when it went wrong."""
        status = self._preparing.wait(PREPARED_WITHIN_S)
        told = self._log.read_text(errors="replace")
        assert status == 0, f"{self.name} could not be prepared, which needs the package registries:\n{told}"
        return told

    def run(self, script: str) -> tuple[int, str]:
        """Run a script in its clone, without a network but loopback, on which `collector.example` is.

        Returns its status, and what was printed.
        """
        whole = f"ip link set lo up\ncd\ncd ci-egress-exporter\n{script}"
        command = ["unshare", "--net", *self._entering(), "bash", "-c", whole]
        with subprocess.Popen(
            command,
            env=environment(self.home),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            start_new_session=True,
        ) as running:
            try:
                told, _ = running.communicate()
            except BaseException:  # the test's time is over: what the script started isn't to outlive it
                os.killpg(running.pid, signal.SIGKILL)
                raise
        return running.returncode, told

    def file(self, path: str) -> Path:
        """What is called so in there, below the home folder."""
        return (self.folder if self.name == "clone" else self.folder / "kept/upper") / self._below(path)

    def _below(self, path: str) -> str:
        return f"{'home' if self.name == 'clone' else 'root'}/{path}"

    def _entering(self) -> list[str]:
        if self.name == "clone":
            return ["unshare", "--mount", str(PROJECT / "tests/clean/covered.sh")]
        root = subprocess.run(
            [PROJECT / "tools/debian-root.sh", self.name, *ROOT_PACKAGES],
            env={**os.environ, "XDG_CACHE_HOME": cache()},
            capture_output=True,
            text=True,
            check=True,
        ).stdout.strip()
        return [str(PROJECT / "tools/in-root.sh"), "--keep", str(self.folder / "kept"), root]

    def leave(self) -> None:
        """End what is still going on there, and remove it."""
        if self._preparing.poll() is None:
            os.killpg(self._preparing.pid, signal.SIGKILL)
        self._preparing.wait()
        subprocess.run(["rm", "-rf", "--one-file-system", self.folder], check=True)


def _in_memory() -> str | None:
    """Where files are soonest written and removed, with plenty of room; None: where they are as ever."""
    memory = Path("/dev/shm")  # noqa: S108 - a folder of its own is made there
    if not memory.is_dir():
        return None
    room = os.statvfs(memory)
    is_plenty = room.f_bavail * room.f_frsize > _PLENTY_BYTES < psutil.virtual_memory().available
    return str(memory) if is_plenty and not room.f_flag & os.ST_NOEXEC else None


def cache() -> str:
    """Where the user's caches are."""
    return os.environ.get("XDG_CACHE_HOME") or str(Path.home() / ".cache")
