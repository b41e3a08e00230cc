"""The packages that ci-egress needs to run, each of the version that constraints.txt pins."""

from __future__ import annotations

from importlib.metadata import distribution
from pathlib import Path

from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from tools.release.checkout import ReleaseError

DISTRIBUTION = "ci-egress-exporter"


def runtime_requirements(constraints: Path) -> list[str]:
    """Return `name==version` of each package, sorted, without ci-egress itself.

    Requirements are read from this environment. Raises ReleaseError where a version isn't the one of
    `constraints`.
    """
    pinned = _pinned(constraints)
    needed = {name: distribution(name).version for name in _closure(DISTRIBUTION) - {DISTRIBUTION}}
    for name, version in needed.items():
        if pinned.get(name) != version:
            what = f"{name} {version} is installed, and constraints.txt has {pinned.get(name)}"
            raise ReleaseError(f"{what}; run `make setup-dev`")
    return [f"{name}=={version}" for name, version in sorted(needed.items())]


def _pinned(constraints: Path) -> dict[str, str]:
    lines = (line.partition("#")[0].strip() for line in constraints.read_text(encoding="utf-8").splitlines())
    pairs = (line.partition("==")[::2] for line in lines if line)
    return {canonicalize_name(name): version for name, version in pairs}


def _closure(root: str) -> set[str]:
    """Return the canonical names of all packages that `root` needs, itself included."""
    found: set[str] = set()
    waiting = [canonicalize_name(root)]
    while waiting:
        name = waiting.pop()
        if name not in found:
            found.add(name)
            waiting += map(canonicalize_name, _needed_by(name))
    return found


def _needed_by(name: str) -> list[str]:
    requirements = map(Requirement, distribution(name).requires or ())
    return [each.name for each in requirements if each.marker is None or each.marker.evaluate({"extra": ""})]
