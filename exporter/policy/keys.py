"""Keys of a policy's `jobs`: `pipeline/task`, or `provider:project:pipeline/task`, a pattern in each part.

Each part is matched with another field of a job's claim, so that no name reaches into the next part. Colons
divide a key, except in brackets: `[:]` is a colon of a name.
"""

from __future__ import annotations

import re
from difflib import get_close_matches
from fnmatch import fnmatchcase
from typing import NamedTuple

from exporter.common.documents.problems import InvalidTextError, shown
from exporter.jobs.claims import Claim
from exporter.jobs.providers import PROVIDERS
from exporter.redact.names import REDACTED

from .model import job_names

_BY_NAME = {provider.name: provider for provider in PROVIDERS}
_PIECE = re.compile(r"\[!?\]?[^\]]*\]|.", re.DOTALL)
_LIKE_A_PROVIDER = re.compile(r"[a-z*?!\[\]-]+")
_WILDCARD = re.compile(r"[*?\[]")
_COLON = "[:]"
_PARTS = 3
_OWNED = 2
"""How many parts of a project's path, from its beginning, say whose it is: the server and the owner."""
_COMPARED_MAX = 40
_COLONS = f"a colon in a name is written as {_COLON}"


class Key(NamedTuple):
    """The jobs that a section is for; each part is a pattern of fnmatch."""

    text: str
    """The key as the file has it."""
    names: str
    """The pattern for `pipeline`, and for `pipeline/task`."""
    provider: str = "*"
    project: str = "*"
    is_full: bool = False
    """Whether the file has all three parts."""
    is_protected: bool = False
    """Whether the section is for protected branches and tags alone, by its `protected_ref`."""

    def fits(self, claim: Claim, *, unknown_fits: bool) -> bool:
        """Whether the section is for the job in `claim`; with `unknown_fits`, a field not known fits."""
        parts = ((claim.provider, self.provider), (claim.project, self.project))
        names = self.names.replace(REDACTED, "*")  # a key that was made of telemetry has redacted names
        fits_names = any(fnmatchcase(name, names) for name in job_names(claim.pipeline, claim.task))
        is_protected = unknown_fits if claim.is_protected is None else claim.is_protected
        return (
            fits_names
            and (is_protected or not self.is_protected)
            and all(
                (value is None and unknown_fits) or fnmatchcase(value or "", pattern)
                for value, pattern in parts
            )
        )

    @property
    def is_for_all(self) -> bool:
        """Whether the section is for every job, whatever its name."""
        return not self.is_full and not self.is_protected and not self.names.strip("*")

    @property
    def is_for_names(self) -> bool:
        """Whether the section is for jobs of more than one name."""
        return _has_wildcards(self.names)

    @property
    def only_project(self) -> tuple[str, str] | None:
        """The CI system and the project that the section is for; None if it is for several."""
        is_for_several = _has_wildcards(self.provider) or _has_wildcards(self.project)
        return None if is_for_several else (self.provider, self.project)

    @property
    def doubt(self) -> tuple[str, str] | None:
        """Why a job's claim to match this key can't be believed, and how to mend that; None: it can be.

        Even then, system and project have to come from an agent that lets no author change them.
        """
        if self.is_for_all:
            return None
        stated = "add `trust_names: true`"
        if not self.is_full:
            full = shown(f"github:github.com/OWNER/REPOSITORY:{self.names}")
            return "a job's author chooses this name", f"name the project, as in {full}, or {stated}"
        provider = _BY_NAME.get(self.provider)
        if provider is None:
            return "it doesn't name the CI system", f"write {_or(_protecting())} for it, or {stated}"
        if not provider.agents:
            what = f"on {provider.name} a job's author can change what it says of its project"
            return what, f"give the project a runner and a policy of its own, or {stated}"
        if not self._says_whose:
            what = f"anybody can have a project like {shown(self.project)}"
            return what, f"write {provider.place} with no wildcard in the first two, or {stated}"
        return None

    @property
    def _says_whose(self) -> bool:
        path = self.project.replace(_COLON, "").split("/")
        return len(path) > _OWNED and all(part and not _WILDCARD.search(part) for part in path[:_OWNED])


def _has_wildcards(part: str) -> bool:
    return bool(_WILDCARD.search(part.replace(_COLON, "")))


def parse_key(text: str) -> Key:
    """Parse the key `text`. Raises InvalidTextError."""
    if not text:
        raise InvalidTextError("an empty pattern", 'name jobs, as in "release/*", or "*" for all')
    parts = divide(text)
    is_full = len(parts) == _PARTS and _LIKE_A_PROVIDER.fullmatch(parts[0])
    if not is_full and (len(parts) == 1 or parts[0] not in _BY_NAME):
        return Key(text, text)
    if len(parts) < _PARTS or not all(parts):
        raise InvalidTextError(
            f"{shown(text)} lacks a part", f"write {_form(parts[0])}, with * for any; {_COLONS}"
        )
    key = Key(text, parts[2], parts[0], parts[1], is_full=True)
    _check_provider(key)
    _check_project(key)
    return key


def divide(text: str) -> list[str]:
    """Divide `text` at its first two colons that aren't in brackets."""
    parts = [""]
    for piece in _PIECE.findall(text):
        if piece == ":" and len(parts) < _PARTS:
            parts.append("")
        else:
            parts[-1] += piece
    return parts


def parse_claim(text: str) -> Claim:
    """Parse `text`, a key without patterns, to the claim of one job, on a protected branch.

    Raises InvalidTextError.
    """
    key = parse_key(text)
    provider, project, names = (part.replace(_COLON, ":") for part in (key.provider, key.project, key.names))
    pipeline, slash, task = names.rpartition("/")
    claim = Claim(None, None, pipeline if slash else names, task if slash else None, is_protected=True)
    return claim._replace(provider=provider, project=project) if key.is_full else claim


def _check_provider(key: Key) -> None:
    if any(fnmatchcase(name, key.provider) for name in _BY_NAME):
        return
    near = get_close_matches(key.provider[:_COMPARED_MAX], _BY_NAME, n=1)
    fix = f"did you mean {near[0]}?" if near else f"known are {', '.join(sorted(_BY_NAME))}; {_COLONS}"
    raise InvalidTextError(f"unknown CI system {shown(key.provider)}", fix)


def _check_project(key: Key) -> None:
    provider = _BY_NAME.get(key.provider)
    is_literal = not _WILDCARD.search(key.project.replace(_COLON, ""))
    if provider and is_literal and key.project.count("/") < provider.place.count("/"):
        what = f"{shown(key.project)} is no project of {provider.name}"
        raise InvalidTextError(what, f"write it as {provider.place}; {_COLONS}")


def _form(provider: str) -> str:
    place = _BY_NAME[provider].place if provider in _BY_NAME else ""
    return f"{provider or 'PROVIDER'}:{place or 'PROJECT'}:PIPELINE/TASK"


def _protecting() -> list[str]:
    return [provider.name for provider in PROVIDERS if provider.agents]


def _or(names: list[str]) -> str:
    return " or ".join(names)
