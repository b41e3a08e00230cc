"""`make release` in a checkout of the tests' own: a commit of what is here."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

from tests.checkout import ROOT, git, tracked
from tools.release.checkout import Checkout

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
        """The Debian package."""
        return self._only("*.deb")

    def _only(self, pattern: str) -> Path:
        (found,) = self.dist.glob(pattern)
        return found


def commit_all(into: Path) -> None:
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
