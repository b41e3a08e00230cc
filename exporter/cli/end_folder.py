"""The end of a watch that is one job's, asked for with a token: a file of that name, in a folder.

On a machine that is the job's, whoever is root sends any signal, as whomever. The token is known to whom the
CI system gives it; the watch has its digest alone, which may stand in its arguments. It is a name, and not a
text: a folder that is held open is listed without opening what a job has put there, or mounted over it.
"""

from __future__ import annotations

import os
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager
from hashlib import sha256
from hmac import compare_digest
from itertools import islice
from pathlib import Path
from typing import NamedTuple

from exporter.errors import UsageError
from exporter.kernel.inotify import NewNames

_MOMENT_S, _AT_ONCE = 0.02, 100
"""How long one look may take in a folder that a job floods; after so many names that is asked."""


_OVER = b".over"
"""Behind the token: the job is over, too."""


class Found(NamedTuple):
    """What was asked there."""

    is_end: bool
    """By somebody who has the token."""
    is_forged: bool
    """By somebody who hasn't."""
    is_over: bool = False
    """Who has the token said that the job is over, too, so that nothing of it should go on."""


class EndFolder:
    """Where the end is asked for: names are told as they come, and read where too many came at once."""

    def __init__(self, descriptor: int, digest: bytes) -> None:
        """Of the directory that is open as `descriptor`; `digest` is the SHA-256 of the token."""
        self._descriptor, self._digest = descriptor, digest
        self._new = _new_names(descriptor)
        self._has_missed = True
        """Names that stand there and weren't told."""
        self._listing: Iterator[bytes] | None = None

    def close(self) -> None:
        """Look no more."""
        self._listing = None
        if self._new is not None:
            self._new.close()

    def look(self) -> Found:
        """What came since the last look, as far as a moment suffices: the rest is for the next one."""
        is_end = is_forged = is_over = False
        for name in self._names(time.monotonic() + _MOMENT_S):
            is_one = compare_digest(sha256(name.removesuffix(_OVER)).digest(), self._digest)
            is_end, is_forged = is_end or is_one, is_forged or not is_one
            is_over = is_over or (is_one and name.endswith(_OVER))
        return Found(is_end, is_forged, is_over)

    def _names(self, until_s: float) -> Iterator[bytes]:
        while time.monotonic() < until_s and (told := self._told()):
            yield from filter(None, told)
            self._has_missed = self._has_missed or None in told
        if self._listing is None and (self._has_missed or self._new is None):
            self._has_missed = False
            self._listing = self._listed()
        while self._listing is not None and time.monotonic() < until_s:
            yield from islice(self._listing, _AT_ONCE)

    def _told(self) -> list[bytes | None]:
        return self._new.take() if self._new is not None else []

    def _listed(self) -> Iterator[bytes]:
        try:
            with os.scandir(self._descriptor) as entries:
                for entry in entries:
                    yield os.fsencode(entry.name)
        except OSError:  # as without a free descriptor
            self._has_missed = True
        self._listing = None


def _new_names(directory: int) -> NewNames | None:
    """None where the machine, or its user, has no room for it: then all are read again and again."""
    try:
        return NewNames(directory)
    except OSError:
        return None


@contextmanager
def end_folder(path: Path | None, digest: bytes | None) -> Iterator[EndFolder | None]:
    """Hold `path` open; None: signals alone end it. Raises UsageError."""
    if path is None or digest is None:
        yield None
        return
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC)
    except OSError as error:
        hint = "make it, empty, before the watch starts"
        raise UsageError(f"--end-folder: cannot open {path}: {error.strerror}", hint=hint) from None
    try:
        with closing(EndFolder(descriptor, digest)) as folder:
            yield folder
    finally:
        os.close(descriptor)
