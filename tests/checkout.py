"""The checkout that is tested: where it is, and which files belong to it."""

from __future__ import annotations

import subprocess
from fnmatch import fnmatchcase
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
_WHO = ("-c", "user.name=Somebody", "-c", "user.email=somebody@ci-egress.example")
_MADE_BY_RUNNING = {".venv", "__pycache__"}


def git(checkout: Path, *arguments: str) -> str:
    """Run git in `checkout`, as somebody, and return what it prints."""
    command = ["git", *_WHO, "-C", str(checkout), *arguments]
    return subprocess.run(command, check=True, capture_output=True, text=True).stdout


def tracked(checkout: Path, *patterns: str) -> set[str]:
    """Return the paths of the files that git tracks, or that only wait for `git add`.

    Without git, as in an unpacked source distribution, all files count that no program has made there since.
    """
    if not (checkout / ".git").exists():
        paths = [path.relative_to(checkout) for path in checkout.rglob("*") if path.is_file()]
        names = [str(path) for path in paths if _MADE_BY_RUNNING.isdisjoint(path.parts)]
        wanted = [glob for pattern in patterns for glob in (pattern, f"{pattern}/*")] or ["*"]
        return {name for name in names if any(fnmatchcase(name, glob) for glob in wanted)}
    listed = git(checkout, "ls-files", "-z", "--cached", "--others", "--exclude-standard", *patterns)
    return {name for name in listed.split("\0") if name and (checkout / name).exists()}
