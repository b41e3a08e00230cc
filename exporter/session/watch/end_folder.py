"""The end of a watch of a job's own machine: it is asked for by a file that has a token as its name.

On such a machine the job may be root and send any signal in anybody's name, so a signal proves nothing. Only
holders of the token, who get it from the CI system, know it; the watch has only its digest, which anybody may
see in its arguments. The token is the name of the file and not its text, because a folder that is held open
can be listed without opening files that a job has put there or mounted over it.

The token says that the job is over. At that moment the job may see the token, too. So the job goes on after
the watch only if another secret is the file's name: the text whose SHA-256, in hexadecimal, is the token.
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

from exporter.common.errors import UsageError
from exporter.kernel.inotify import NewNames

_MOMENT_S, _AT_ONCE = 0.02, 100
"""How many seconds one look may take: a job may flood the folder.

`_AT_ONCE` is how many names are listed before the clock is read again.
"""


class FolderLook(NamedTuple):
    """The result of a look into the folder."""

    is_end: bool
    """Whether somebody who has the token, or the secret behind it, asked for the end."""
    is_forged: bool
    """Whether somebody who has neither of them asked for the end."""
    goes_on: bool = False
    """Whether the end was asked for with the secret behind the token: the job goes on."""


class EndFolder:
    """The folder in which the end is asked for.

    inotify reports new names in the folder; when it missed some, the folder is listed.
    """

    def __init__(self, descriptor: int, digest: bytes) -> None:
        """Watch the directory that is open as `descriptor`; `digest` is the SHA-256 of the token."""
        self._descriptor, self._digest = descriptor, digest
        self._new = _new_names(descriptor)
        self._has_missed = True
        """Whether the folder may have names that inotify didn't report."""
        self._listing: Iterator[bytes] | None = None

    def close(self) -> None:
        """Stop watching; the descriptor of the folder stays open."""
        self._listing = None
        if self._new is not None:
            self._new.close()

    def look(self) -> FolderLook:
        """Check names that came since the last look, for `_MOMENT_S` at most; the next look goes on there."""
        is_end = is_forged = goes_on = False
        for name in self._names(time.monotonic() + _MOMENT_S):
            is_secret = self._is_token(sha256(name).hexdigest().encode())
            is_one = is_secret or self._is_token(name)
            is_end, is_forged, goes_on = is_end or is_one, is_forged or not is_one, goes_on or is_secret
        return FolderLook(is_end, is_forged, goes_on)

    def _is_token(self, name: bytes) -> bool:
        return compare_digest(sha256(name).digest(), self._digest)

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
        except OSError:  # for want of a free descriptor, for one
            self._has_missed = True
        self._listing = None


def _new_names(directory: int) -> NewNames | None:
    """Watch `directory` with inotify; None when its limits are reached: then each look lists the folder."""
    try:
        return NewNames(directory)
    except OSError:
        return None


@contextmanager
def end_folder(path: Path | None, digest: bytes | None) -> Iterator[EndFolder | None]:
    """Hold the folder `path` open; without one, yield None: only signals end the watch. Raises UsageError."""
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
