"""The notes of a release: its section of CHANGELOG.md, in the form of Keep a Changelog."""

from __future__ import annotations

import re

from tools.release.checkout import ReleaseError

_HEADING = re.compile(r"^## \[(?P<version>[^]]+)\](?: - (?P<date>\d{4}-\d{2}-\d{2}))?$", re.MULTILINE)


def section(changelog: str, version: str) -> str:
    """Return the section of `version` in CHANGELOG.md, without its heading. Raises ReleaseError."""
    headings = list(_HEADING.finditer(changelog))
    for heading, following in zip(headings, [*headings[1:], None], strict=True):
        if heading["version"] != version:
            continue
        if heading["date"] is None:
            raise ReleaseError(
                f"CHANGELOG.md: the heading [{version}] has no date; write `- YYYY-MM-DD` behind it"
            )
        text = changelog[heading.end() : following.start() if following else len(changelog)].strip()
        if not text:
            raise ReleaseError(f"CHANGELOG.md: nothing stands under [{version}]")
        return text
    what = f"CHANGELOG.md has no section [{version}]"
    mend = f"put a heading `## [{version}] - YYYY-MM-DD` below [Unreleased]"
    raise ReleaseError(f"{what}; {mend}, or build packages without a release: `make package`")


def notes(changelog: str, version: str, files: list[str]) -> str:
    """Return the whole text: what changed, and the names of the release's files. Raises ReleaseError."""
    told = "\n".join(f"- `{name}`" for name in sorted(files))
    return (
        f"# ci-egress {version}\n\n{section(changelog, version)}\n\n### Files\n\n{told}\n\n"
        "`sha256sum --check SHA256SUMS` says whether they arrived whole.\n"
    )
