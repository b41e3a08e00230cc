"""The folder where telemetry waits on disk: its owner, the owner of each file, and the limit of its size.

Each process writes its own files, and holds a lock (flock) on a lock file beside each. A file whose lock is
free belongs to a process that is gone; the next process that sends to the same endpoint adopts it.
"""

from __future__ import annotations

import contextlib
import fcntl
import hashlib
import os
import secrets
import time
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

from exporter.common.safe_files import UnsafeFolderError, require_ours_alone, write_new

from .settings import Endpoint
from .sinks import SpoolError, error_type_of

DEFAULT_LIMIT_BYTES = 256 << 20
OUTDATED_DAYS = 7
_ROOTS_FOLDER = Path("/var/lib/ci-egress/spool")
_DATA, _LOCK = ".db", ".lock"
_BELONGING = (_DATA, f"{_DATA}-wal", f"{_DATA}-shm", f"{_DATA}-journal", _LOCK)
_OPEN_DIRECTORY = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC


def default_folder(environment: Mapping[str, str], euid: int) -> Path:
    """Return systemd's $STATE_DIRECTORY/spool, else root's /var/lib/ci-egress/spool, else the user's own."""
    if given := environment.get("STATE_DIRECTORY", "").partition(":")[0]:
        return Path(given) / "spool"
    if euid == 0:
        return _ROOTS_FOLDER
    state = environment.get("XDG_STATE_HOME") or Path(
        environment.get("HOME") or "/nonexistent", ".local/state"
    )
    return Path(state) / "ci-egress" / "spool"


class SpoolFile(NamedTuple):
    """A file in the folder, locked by this process."""

    path: Path
    lock: int
    """The lock's descriptor; closing it frees the lock."""


@dataclass(frozen=True)
class SpoolFolder:
    """A folder that nobody else can write to."""

    path: Path
    limit_bytes: int = DEFAULT_LIMIT_BYTES

    def prepare(self) -> None:
        """Make the folder. Raises SpoolError unless it is this user's alone: a job may have made it first."""
        try:
            self.path.parent.mkdir(mode=0o755, parents=True, exist_ok=True)
            parent = os.open(self.path.parent, _OPEN_DIRECTORY)
            try:
                self._make_in(parent)
            finally:
                os.close(parent)
            require_ours_alone(self.path)
            self.path.chmod(0o700)
        except OSError as error:
            reason = "a symbolic link stands there" if self._has_link() else error.strerror or str(error)
            raise SpoolError("unusable", reason) from error
        except UnsafeFolderError as error:
            raise SpoolError("unusable", str(error)) from error

    def create(self, endpoint: Endpoint) -> SpoolFile:
        """Create and lock a file for parcels to `endpoint`. Raises SpoolError."""
        try:
            while True:
                # By time, so that the parcels that wait longest are sent first.
                stem = self.path / f"{_prefix(endpoint)}-{time.time_ns():020d}-{secrets.token_hex(4)}"
                if lock := _locked(stem.with_suffix(_LOCK)):
                    data = stem.with_suffix(_DATA)
                    write_new(data, b"", 0o600)
                    return SpoolFile(data, lock)
        except OSError as error:
            raise SpoolError(error_type_of(error), error.strerror or str(error)) from error

    def adopt(self, endpoint: Endpoint) -> Iterator[SpoolFile]:
        """Yield the files that dead processes left for `endpoint`, the oldest first, each locked."""
        yield from _orphans(self.path.glob(f"{_prefix(endpoint)}-*{_DATA}"))

    def outdated(self, endpoint: Endpoint) -> Iterator[SpoolFile]:
        """Yield the signal's files that nobody adopted for OUTDATED_DAYS: they would take space for ever."""
        oldest_ns = time.time_ns() - OUTDATED_DAYS * 86_400_000_000_000
        paths = self.path.glob(f"{endpoint.signal}-*{_DATA}")
        yield from _orphans(path for path in paths if _made_ns(path) < oldest_ns)

    def delete(self, file: SpoolFile) -> None:
        """Delete the file and those that belong to it, the lock last."""
        for suffix in _BELONGING:
            with contextlib.suppress(OSError):
                file.path.with_suffix(suffix).unlink(missing_ok=True)
        os.close(file.lock)

    def used_bytes(self) -> int:
        """Return the bytes that all files in the folder hold, whatever process wrote them."""
        used = 0
        with contextlib.suppress(OSError), os.scandir(self.path) as entries:
            for entry in entries:
                with contextlib.suppress(FileNotFoundError):
                    used += entry.stat(follow_symlinks=False).st_size
        return used

    def _make_in(self, parent: int) -> None:
        with contextlib.suppress(FileExistsError):
            os.mkdir(self.path.name, 0o700, dir_fd=parent)
        os.close(os.open(self.path.name, _OPEN_DIRECTORY, dir_fd=parent))

    def _has_link(self) -> bool:
        return self.path.is_symlink() or self.path.parent.is_symlink()


def _prefix(endpoint: Endpoint) -> str:
    """Return a digest for the endpoint in file names: its URL may hold a token, which belongs on no disk."""
    digest = hashlib.sha256(f"{endpoint.protocol} {endpoint.url}".encode()).hexdigest()[:32]
    return f"{endpoint.signal}-{digest}"


def _made_ns(path: Path) -> int:
    number = path.stem.split("-")[-2]
    return int(number) if number.isdigit() else 0


def _orphans(paths: Iterable[Path]) -> Iterator[SpoolFile]:
    """Yield the files whose owner is gone, each locked."""
    for path in sorted(paths):
        with contextlib.suppress(OSError):
            if lock := _locked(path.with_suffix(_LOCK)):
                if path.exists():
                    yield SpoolFile(path, lock)
                else:  # its owner has deleted it meanwhile
                    os.close(lock)


def _locked(path: Path) -> int | None:
    """Take a lock and return its descriptor. None: another process has it, or has just removed it."""
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        os.close(descriptor)
        return None
    if os.fstat(descriptor).st_nlink == 0:
        os.close(descriptor)
        return None
    return descriptor
