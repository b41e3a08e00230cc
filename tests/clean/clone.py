"""A new clone, in a home where nobody has worked yet.

Preparing it takes a minute and downloads; it is done with the lowest priority.
"""

from __future__ import annotations

import os
import re
import signal
import subprocess
import tempfile
from pathlib import Path

import psutil

from tests.checkout import ROOT

PREPARED_WITHIN_S = 1200
"""With the lowest priority, beside tests that have the processors."""
_PLENTY_BYTES = 4 << 30
"""A clone with .venv holds almost 1 GB."""
_REACHES_OUT = re.compile(r"(PIP_\w+|SSL_CERT_(FILE|DIR)|\w+_CA_BUNDLE|(https?|all|no)_proxy)", re.IGNORECASE)
_LOCAL = {"PIP_FIND_LINKS", "PIP_TARGET", "PIP_PREFIX", "PIP_USER", "PIP_CONSTRAINT"}
"""Of this machine's folders, or of another project."""
_PREPARE = 'git clone --quiet "$1" ~/ci-egress-exporter && make -C ~/ci-egress-exporter setup-dev'
"""What README's commands install: what is tried then has no network."""


def environment(home: Path) -> dict[str, str]:
    """What a login has, and how this machine reaches the package registries."""
    reaching = {
        name: value
        for name, value in os.environ.items()
        if _REACHES_OUT.fullmatch(name) and name.upper() not in _LOCAL
    }
    path = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
    return {"PATH": path, "HOME": str(home), "LANG": "C.UTF-8", **reaching}


class Clone:
    """One of what HEAD is of this checkout, being prepared from now on."""

    def __init__(self) -> None:
        self.home = Path(tempfile.mkdtemp(prefix="ci-egress-clone-", dir=_in_memory()))
        self._log = self.home / "prepare.log"
        with self._log.open("wb") as log:
            self._preparing = subprocess.Popen(
                ["nice", "-n", "19", "bash", "-euc", _PREPARE, "bash", str(ROOT)],
                env={**environment(self.home), "XDG_CACHE_HOME": _cache()},
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,
            )

    def prepared(self) -> None:
        """Wait until it is. Raises AssertionError with what was printed when it went wrong."""
        status = self._preparing.wait(PREPARED_WITHIN_S)
        assert status == 0, (
            f"the clone could not be prepared, which needs PyPI:\n{self._log.read_text(errors='replace')}"
        )

    def run(self, script: str) -> tuple[int, str]:
        """Run a script in it, without a network but loopback, on which `collector.example` is.

        Returns its status, and what was printed.
        """
        whole = f"ip link set lo up\ncd\ncd ci-egress-exporter\n{script}"
        covered = str(ROOT / "tests/clean/covered.sh")
        command = ["unshare", "--net", "--mount", covered, "bash", "-c", whole]
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

    def close(self) -> None:
        """End what is still going on there, and remove it."""
        if self._preparing.poll() is None:
            os.killpg(self._preparing.pid, signal.SIGKILL)
        self._preparing.wait()
        subprocess.run(["rm", "-rf", "--one-file-system", self.home], check=True)


def _in_memory() -> str | None:
    """Where files are soonest written and removed, with plenty of room; None: where they are as ever."""
    memory = Path("/dev/shm")  # noqa: S108 - a folder of its own is made there
    if not memory.is_dir():
        return None
    room = os.statvfs(memory)
    is_plenty = room.f_bavail * room.f_frsize > _PLENTY_BYTES < psutil.virtual_memory().available
    return str(memory) if is_plenty and not room.f_flag & os.ST_NOEXEC else None


def _cache() -> str:
    """Where the user's caches are."""
    return os.environ.get("XDG_CACHE_HOME") or str(Path.home() / ".cache")
