"""`make release` in a checkout of the tests' own: a commit of what is here."""

from __future__ import annotations

import fcntl
import hashlib
import os
import shutil
import subprocess
import sys
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from tests.checkout import ROOT, git, tracked
from tools.release.checkout import Checkout
from tools.release.debian import ARCHITECTURES

if TYPE_CHECKING:
    from collections.abc import Iterator

VERSION = Checkout(ROOT).version()
LIMIT_S = 1200
"""Of a test that may be the first to release, or to make a Debian root."""


@dataclass(frozen=True)
class Built:
    """All that a release has."""

    checkout: Path
    """What it was built from."""
    said: str

    @property
    def dist(self) -> Path:
        """Where it is."""
        return self.checkout / "dist"

    @property
    def sdist(self) -> Path:
        """The source distribution."""
        return self._only("*.tar.gz")

    @property
    def wheel(self) -> Path:
        """What is built from that."""
        return self._only("*.whl")

    @property
    def package(self) -> Path:
        """The Debian package for this machine."""
        return self.package_for(os.uname().machine)

    @property
    def standalone(self) -> Path:
        """The single file for this machine."""
        return self.standalone_for(os.uname().machine)

    def standalone_for(self, machine: str) -> Path:
        """The single file for an architecture, by the kernel's name for it."""
        return self._only(f"ci-egress-*-{machine}")

    def package_for(self, machine: str) -> Path:
        """The Debian package for an architecture, by the kernel's name for it."""
        return self._only(f"*_{ARCHITECTURES[machine]}.deb")

    def _only(self, pattern: str) -> Path:
        (found,) = self.dist.glob(pattern)
        return found


def commit_once(folder: Path) -> Path:
    """Commit what is here, below `folder`, unless another row of tests has done it; return the checkout."""
    shelves = f"released-{hashlib.sha256(bytes(ROOT)).hexdigest()[:8]}"
    shelf = folder / f"{shelves}-{_digest()}"
    for other in folder.glob(f"{shelves}-*"):
        if other != shelf:
            shutil.rmtree(other, ignore_errors=True)
    shelf.mkdir(exist_ok=True)
    with _locked(shelf):
        made, part = shelf / "checkout", shelf / "part"
        if not made.exists():
            shutil.rmtree(part, ignore_errors=True)
            part.mkdir()
            _commit_all(part)
            part.rename(made)
    return made


def release_once(checkout: Path) -> Built:
    """Release in a checkout of `commit_once`, unless another row of tests has done it."""
    with _locked(checkout.parent):
        said = checkout.with_name("said")
        if not said.exists():
            done = release(checkout)
            assert done.returncode == 0, done
            said.write_text(done.stdout)
    return Built(checkout, said.read_text())


def _digest() -> str:
    """The digest of all that belongs to this checkout."""
    digest = hashlib.sha256()
    for path in (ROOT / name for name in sorted(tracked(ROOT))):
        text = os.fsencode(path.readlink()) if path.is_symlink() else path.read_bytes()
        digest.update(f"{path} {path.lstat().st_mode} {len(text)} ".encode() + text)
    return digest.hexdigest()[:16]


@contextmanager
def _locked(folder: Path) -> Iterator[None]:
    """Keep others from the block until it is over."""
    with (folder / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def _commit_all(into: Path) -> None:
    """Commit what is here in a repository of its own, with a section of the version in CHANGELOG.md."""
    for name in tracked(ROOT):
        (into / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(ROOT / name, into / name, follow_symlinks=False)
    changelog, heading = into / "CHANGELOG.md", f"## [{VERSION}] - 2026-12-01\n"
    text = changelog.read_text()
    if f"## [{VERSION}]" not in text:
        changelog.write_text(text.replace("## [Unreleased]\n", f"## [Unreleased]\n\n{heading}"))
    git(into, "init", "--quiet")
    git(into, "add", "--all")
    git(into, "commit", "--quiet", "--message", "All of it")


def release(checkout: Path, *arguments: str, **variables: str) -> subprocess.CompletedProcess[str]:
    """`make release` of a checkout, with this one's packages."""
    command = [sys.executable, "-m", "tools.release", *arguments]
    env = os.environ | {"PYTHONPATH": str(checkout), "PYTHONDONTWRITEBYTECODE": "1"} | variables
    return subprocess.run(command, cwd=checkout, env=env, capture_output=True, text=True, check=False)
