"""The checkout that is released: one commit, without changes to it."""

from __future__ import annotations

import re
import subprocess
from dataclasses import dataclass
from pathlib import Path

_VERSION = re.compile(r'^__version__ = "(?P<version>[^"]+)"$', re.MULTILINE)
_RELEASED = re.compile(r"(0|[1-9][0-9]*)(\.(0|[1-9][0-9]*)){2}")
"""Versions that Python, Debian and registries of images sort alike; dpkg sorts 1.0.0rc1 above 1.0.0."""


class ReleaseError(Exception):
    """The reason why there is no release: one line of what is wrong, and how to mend it."""


@dataclass(frozen=True)
class Checkout:
    """A work tree."""

    root: Path

    def version(self) -> str:
        """Return the version of the package. Raises ReleaseError."""
        found = _VERSION.search((self.root / "exporter/__init__.py").read_text(encoding="utf-8"))
        if found is None:
            raise ReleaseError('exporter/__init__.py has no line `__version__ = "…"`')
        version = found["version"]
        if not _RELEASED.fullmatch(version):
            raise ReleaseError(f"exporter/__init__.py: {version!r} is no version to release; write 1.2.3")
        return version

    def committed_s(self) -> int:
        """Return when its commit was made (Unix time): the time of every file that is built of it."""
        return int(self.git("log", "-1", "--format=%ct"))

    def changes(self) -> str:
        """Return the files that differ from the commit or are unknown to git, as `README.md and 2 more`.

        The text is empty if there are none.
        """
        names = [line[3:] for line in self.git("status", "--porcelain").splitlines()]
        return f"{names[0]} and {len(names) - 1} more" if len(names) > 1 else "".join(names)

    def require_clean(self) -> None:
        """Raise ReleaseError where there are changes."""
        if changed := self.changes():
            raise ReleaseError(f"the checkout has changes: {changed}; commit them, or take them away")

    def git(self, *arguments: str) -> str:
        """Run git; return its output. Raises ReleaseError."""
        done = subprocess.run(  # noqa: S603 - of our own
            ["git", "-C", str(self.root), *arguments],  # noqa: S607
            capture_output=True,
            text=True,
            check=False,
        )
        if done.returncode != 0:
            raise ReleaseError(f"git {arguments[0]}: {done.stderr.strip()}")
        return done.stdout.rstrip()  # of a status the first column may be blank
