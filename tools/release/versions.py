"""Check that all files that name the version of ci-egress name the same one."""

from __future__ import annotations

import re
from pathlib import Path

from tools.release.checkout import ReleaseError

_MENTIONS = (
    ("deploy/**/*.y*ml", re.compile(r"image: \S*/ci-egress:v?(?P<version>\S+)")),
    ("docs/**/*.md", re.compile(r"ci-egress_(?P<version>\d[^_\s]*)_(?:amd64|arm64)\.deb")),
    ("docs/**/*.md", re.compile(r"ci-egress-exporter==(?P<version>\d[\w.]*)")),
    ("docs/**/*.md", re.compile(r"/ci-egress:v?(?P<version>\d[\w.]*)")),
    ("**/action.y*ml", re.compile(r"ci-egress-exporter==(?P<version>\d[\w.]*)")),
)
"""The files that name the version, and the form in which they do."""


def mentions(root: Path) -> dict[str, str]:
    """Return each version that is named, by `file:line`."""
    found = {}
    for files, pattern in _MENTIONS:
        for path in sorted(root.glob(files)):
            if ".venv" in path.parts:
                continue
            text = path.read_text(encoding="utf-8")
            for each in pattern.finditer(text):
                line = text.count("\n", 0, each.start()) + 1
                found[f"{path.relative_to(root)}:{line}"] = each["version"]
    return found


def require_consistent(root: Path, version: str) -> None:
    """Raise ReleaseError where another version than `version` is named."""
    others = {place: named for place, named in mentions(root).items() if named != version}
    if others:
        told = ", ".join(f"{place} has {named}" for place, named in others.items())
        raise ReleaseError(f"the version is {version}, and {told}")
