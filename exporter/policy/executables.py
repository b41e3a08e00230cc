"""Find the files on this machine that are the executables in `lineage`: those that only root can change.

A name means the executables of that name in DIRECTORIES, links followed; a path means the file there. A file
that somebody else could write or replace doesn't count: a job could make it anything. A script isn't an
executable either, since the kernel runs its interpreter.
"""

from __future__ import annotations

import os
import stat
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

from exporter.common.documents.problems import shown
from exporter.common.errors import FileError

from .model import Rule

DIRECTORIES = tuple(
    map(Path, ("/usr/local/sbin", "/usr/local/bin", "/usr/sbin", "/usr/bin", "/sbin", "/bin"))
)
_LINKS_MAX = 40
"""The most links that are followed, as many as the kernel follows."""
_ELF = b"\x7fELF"
_PATH_SHOWN_MAX = 1024
_OTHERS_WRITE = stat.S_IWGRP | stat.S_IWOTH
_HINT = "executables are looked for on the machine that the job runs on"


class Unfit(NamedTuple):
    """A file that is there, but doesn't count."""

    path: Path
    why: str
    fix: str


@dataclass(frozen=True)
class FoundFiles:
    """The files that an executable's name or path means."""

    files: tuple[Path, ...] = ()
    """Paths without links in them."""
    unfit: tuple[Unfit, ...] = ()


class _UnfitError(Exception):
    """A file that doesn't count; carries the reason, and how to mend it."""


def find(executable: str, directories: Sequence[Path] = DIRECTORIES) -> FoundFiles:
    """Find the files of `executable`, a name or path in a rule. The result is empty if it isn't there."""
    is_path = executable.startswith("/")
    places = [Path(executable)] if is_path else [directory / executable for directory in directories]
    files: dict[Path, None] = {}
    unfit = []
    for place in places:
        try:
            files[_fit(place)] = None
        except _UnfitError as error:
            unfit.append(Unfit(place, *error.args))
        except (FileNotFoundError, NotADirectoryError):
            continue
        except OSError as error:
            why = f"can't be looked at: {error.strerror}"
            unfit.append(Unfit(place, why, "see that it and its directories can be read"))
    return FoundFiles(tuple(files), tuple(unfit))


def followed(path: Path) -> Path | None:
    """Return the file that `path` leads to; None if others than root can have it lead elsewhere.

    The file itself may be anybody's. Raises OSError when there is none, or it can't be found out.
    """
    try:
        return _walk(path, is_file_roots=False)
    except _UnfitError:
        return None


def require_executables(rules: Iterable[Rule], directories: Sequence[Path] = DIRECTORIES) -> list[str]:
    """Return warnings about executables that aren't there, or of which some files don't count.

    Raises FileError for executables that are there, but of which no file counts.
    """
    seen: dict[str, FoundFiles] = {}
    warnings: list[str] = []
    lines: list[str] = []
    for rule in rules:
        for executable in rule.lineage:
            if executable not in seen:
                seen[executable] = find(executable, directories)
                warnings += _warnings(rule, executable, seen[executable])
            if not seen[executable].files and seen[executable].unfit:
                lines.append(_line(rule, seen[executable].unfit[0]))
    if lines:
        raise FileError("the policy names executables that can't count", lines=tuple(lines), hint=_HINT)
    return warnings


def _line(rule: Rule, unfit: Unfit) -> str:
    what = f"{_shown(unfit.path)} in `lineage` {unfit.why}; {unfit.fix}"
    return f"{rule.source}:{rule.line}:{rule.column}: {what}"


def _warnings(rule: Rule, executable: str, found: FoundFiles) -> Iterator[str]:
    if found.files:
        yield from (f"{_line(rule, unfit)}; it doesn't count as {shown(executable)}" for unfit in found.unfit)
    elif not found.unfit:
        where = "" if executable.startswith("/") else ", in none of the system's directories"
        yield f"{rule.place}: there is no {shown(executable)} on this machine{where}: no chain has it"


def _fit(path: Path) -> Path:
    """Return the file that `path` leads to. Raises _UnfitError, and OSError where it isn't there."""
    real = _walk(path)
    status = real.stat()
    if not stat.S_ISREG(status.st_mode) or not status.st_mode & 0o111:
        raise _UnfitError("is no file that can be executed", "name an executable")
    with real.open("rb") as file:
        if file.read(len(_ELF)) != _ELF:
            raise _UnfitError("is a script: what runs is its interpreter", "name that, as in node for npm")
    return real


def _walk(path: Path, *, is_file_roots: bool = True) -> Path:
    """Follow `path` link by link. Raises _UnfitError where a step of it isn't only root's to change.

    Without `is_file_roots`, the last step, if it is no link, may be anybody's.
    """
    at, pending = Path("/"), list(reversed(path.parts[1:]))
    links = 0
    _require_roots(at, at.lstat())
    while pending:
        name = pending.pop()
        if name == os.pardir:
            at = at.parent
            continue
        step = at / name
        status = step.lstat()
        is_link = stat.S_ISLNK(status.st_mode)
        if is_file_roots or pending or is_link:
            _require_roots(step, status)
        if not is_link:
            at = step
            continue
        links += 1
        if links > _LINKS_MAX:
            raise _UnfitError("is a link that leads nowhere", "name the file itself")
        target = step.readlink()
        at = Path("/") if target.is_absolute() else at
        pending += reversed(target.parts[1:] if target.is_absolute() else target.parts)
    return at


def _require_roots(step: Path, status: os.stat_result) -> None:
    mode = status.st_mode
    # In a sticky directory, such as /tmp, nobody can replace root's files.
    is_sticky = stat.S_ISDIR(mode) and mode & stat.S_ISVTX
    is_writable = not stat.S_ISLNK(mode) and not is_sticky and mode & _OTHERS_WRITE
    if status.st_uid != 0 or is_writable:
        who = f"it belongs to user {status.st_uid}" if status.st_uid else f"its mode is {mode & 0o7777:04o}"
        where = _shown(step)
        raise _UnfitError(
            f"isn't root's alone to change: {where}, {who}",
            f"`chown root` and `chmod go-w` {where}, or name another executable",
        )


def _shown(path: Path) -> str:
    return shown(str(path), _PATH_SHOWN_MAX)
