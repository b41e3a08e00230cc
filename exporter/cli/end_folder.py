"""The end of a watch that is one job's, asked for with a token: a file of that name, in a folder.

On a machine that is the job's, whoever is root sends any signal, as whomever. The token is known to whom the
CI system gives it; the watch has its digest alone, which may stand in its arguments. It is a name, and not a
text: a folder that is held open is listed without opening what a job has put there, or mounted over it.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from hashlib import sha256
from hmac import compare_digest
from itertools import islice
from pathlib import Path
from typing import NamedTuple

from exporter.errors import UsageError

_NAMES_MAX = 1000
"""Of a folder that a job floods, as many are looked at."""


class Found(NamedTuple):
    """What was asked there."""

    is_end: bool
    """By somebody who has the token."""
    is_forged: bool
    """By somebody who hasn't."""


@dataclass(frozen=True)
class EndFolder:
    """Where the end is asked for."""

    descriptor: int
    digest: bytes
    """SHA-256 of the token."""

    def look(self) -> Found:
        """What stands there now; nothing where it can't be read, as without a free descriptor."""
        try:
            with os.scandir(self.descriptor) as entries:
                names = [os.fsencode(entry.name) for entry in islice(entries, _NAMES_MAX)]
        except OSError:
            return Found(is_end=False, is_forged=False)
        told = [compare_digest(sha256(name).digest(), self.digest) for name in names]
        return Found(any(told), not all(told))


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
        yield EndFolder(descriptor, digest)
    finally:
        os.close(descriptor)
