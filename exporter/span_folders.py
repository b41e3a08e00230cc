"""Finds the files of spans in a folder and the folders below it."""

from __future__ import annotations

import os
from collections.abc import Iterable
from fnmatch import fnmatchcase
from pathlib import Path

from exporter.errors import UsageError

PATTERNS = ("traces*.jsonl", "traces*.jsonl.gz")
"""The names of files of spans, including rotated files."""
SPANS_HINT = "name files or folders that `ci-egress run --otlp-dir` wrote"
_LOOKED_MAX = 1_000_000
"""The most files and folders looked at below a folder that the user names."""


def files_below(folder: Path) -> list[Path]:
    """List the files of spans below `folder`, sorted. Links to folders aren't followed.

    Raises UsageError, also if there is no such file.
    """
    found = sorted(_files_below(folder))
    if not found:
        what = f"{folder} has no {' or '.join(PATTERNS)}, nor has a folder below it"
        raise UsageError(what, hint=SPANS_HINT)
    for path in found:
        if not path.is_file():  # whoever can write to the folder could let its reader wait
            raise UsageError(f"{path} is no file", hint=SPANS_HINT)
    return found


def _files_below(folder: Path) -> list[Path]:
    found, waiting, looked = list[Path](), [folder], 0
    while waiting:
        for entry in entries_of(waiting.pop()):
            looked += 1
            if looked > _LOOKED_MAX:
                what = f"{folder} has more than {_LOOKED_MAX:,} files and folders below it"
                raise UsageError(what, hint="name those of runs")
            if entry.is_dir(follow_symlinks=False):
                waiting.append(Path(entry.path))
            elif is_named(entry, PATTERNS):
                found.append(Path(entry.path))
    return found


def is_named(entry: os.DirEntry[str], patterns: Iterable[str]) -> bool:
    """Whether the entry's name matches one of `patterns`."""
    return any(fnmatchcase(entry.name, pattern) for pattern in patterns)


def entries_of(folder: Path) -> list[os.DirEntry[str]]:
    """List the entries of a folder. Raises UsageError."""
    try:
        with os.scandir(folder) as entries:
            return list(entries)
    except OSError as error:
        what = f"cannot read the folder {folder}: {error.strerror}"
        raise UsageError(what, hint="name folders that this user can read") from None
