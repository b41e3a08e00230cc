"""Locks on directories of bpffs, which are released when the process that holds them ends."""

from __future__ import annotations

import fcntl
import os
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from exporter.common.errors import KernelError

MODES = "modes"
"""The name of a directory made before the pins: whoever changes a mode of the instance holds its lock."""
_PATIENCE_S, _PAUSE_S = 5.0, 0.005


def lock(directory: Path, *, blocking: bool) -> int | None:
    """Lock `directory`; return a descriptor that holds the lock until it is closed.

    None: without `blocking`, somebody else holds the lock; or the directory is gone.
    """
    try:
        descriptor = os.open(directory, os.O_RDONLY | os.O_DIRECTORY)
    except FileNotFoundError:
        return None
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | (0 if blocking else fcntl.LOCK_NB))
    except BlockingIOError:
        os.close(descriptor)
        return None
    return descriptor


@contextmanager
def locked(directory: Path) -> Iterator[None]:
    """Wait for the lock of `directory`, and hold it; does nothing if the directory is gone."""
    descriptor = lock(directory, blocking=True)
    try:
        yield
    finally:
        if descriptor is not None:
            os.close(descriptor)


def is_locked(directory: Path) -> bool:
    """Whether somebody holds the lock of `directory`; takes it for a moment to find out."""
    descriptor = lock(directory, blocking=False)
    if descriptor is None:
        return directory.exists()
    os.close(descriptor)
    return False


@contextmanager
def changing_modes(instance: Path) -> Iterator[None]:
    """Keep other processes from changing a mode of `instance`; does nothing if the instance is gone.

    The directory of the lock isn't made here: it would come back while somebody removes the instance. Raises
    KernelError when somebody holds on to the lock for seconds.
    """
    directory = instance / MODES
    deadline_s = time.monotonic() + _PATIENCE_S
    while (descriptor := lock(directory, blocking=False)) is None and directory.exists():
        if time.monotonic() > deadline_s:
            what = f"another process has been changing modes of instance {instance.name} for a while"
            raise KernelError(what, hint=f"`fuser {directory}` tells which; try again without it")
        time.sleep(_PAUSE_S)
    try:
        yield
    finally:
        if descriptor is not None:
            os.close(descriptor)
