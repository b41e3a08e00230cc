"""Read files of /proc within bounds on size and time: a process chooses both for its own.

A reader of a process's memory takes that memory's lock, which the process may hold as long as it likes: a
file system of its own needn't answer while another of its threads waits for a page of it. Nothing ends such a
read but that answer. So separate threads do the reading, and some of them may be stuck.
"""

from __future__ import annotations

import errno
import os
import time
from collections.abc import Callable
from concurrent.futures import Future
from functools import cache, partial
from pathlib import Path
from queue import SimpleQueue
from threading import Thread
from typing import Any, TypeVar

PATIENCE_S, IMPATIENCE_S = 0.25, 0.01
"""The most seconds that a read may take; the second holds for a while after a read took longer."""
_WHILE_S = 10 * PATIENCE_S
"""Seconds for which that holds: a process that hangs reads again and again costs a tenth of the time."""
READERS_MAX = 4
_PIECE_BYTES = 1 << 16
_T = TypeVar("_T")


def beginning_of(path: Path, most_bytes: int) -> bytes:
    """Return the first bytes of the file, `most_bytes` at most. Raises OSError."""
    descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    found = bytearray()
    try:
        while part := os.read(descriptor, min(_PIECE_BYTES, most_bytes - len(found))):
            found += part
    finally:
        os.close(descriptor)
    return bytes(found)


class _Reader:
    """A thread that reads files, and that ends with this process, whatever it waits for."""

    def __init__(self) -> None:
        """Start the thread. Raises RuntimeError when there is no room for one."""
        self._wanted: SimpleQueue[tuple[Callable[[], Any], Future[Any]]] = SimpleQueue()
        self._under_way = Future[Any]()
        self._under_way.set_result(None)
        Thread(target=self._live, daemon=True, name="reader").start()

    @property
    def is_idle(self) -> bool:
        return self._under_way.done()

    def within(self, most_s: float, function: Callable[[], _T]) -> _T:
        """Call `function`. Raises its errors; TimeoutError when it takes longer than `most_s`."""
        future = self._under_way = Future[_T]()
        self._wanted.put((function, future))
        return future.result(most_s)

    def _live(self) -> None:
        while True:
            function, future = self._wanted.get()
            try:
                future.set_result(function())
            except Exception as error:  # noqa: BLE001 - it is raised where the call was asked for
                future.set_exception(error)


class Readers:
    """READERS_MAX readers, so that some may be stuck. Only one thread may use them."""

    def __init__(self) -> None:
        """Start all threads now: later, a job may have taken all threads that there can be.

        Raises RuntimeError when there is no room for them.
        """
        self._all = [_Reader() for _ in range(READERS_MAX)]
        self._impatient_until_s = 0.0

    def beginning_of(self, path: Path, most_bytes: int) -> bytes:
        """Read the file's beginning as the function of that name does, but give up in time.

        Raises OSError, also when all readers are stuck.
        """
        return self.within(partial(beginning_of, path, most_bytes))

    def within(self, function: Callable[[], _T]) -> _T:
        """Call `function`, which may hang, in one of the threads, but give up in time.

        Raises its errors; OSError when all readers are stuck.
        """
        reader = next((each for each in self._all if each.is_idle), None)
        if reader is None:
            raise OSError(errno.EBUSY, os.strerror(errno.EBUSY))
        is_patient = time.monotonic() >= self._impatient_until_s
        try:
            return reader.within(PATIENCE_S if is_patient else IMPATIENCE_S, function)
        except TimeoutError:
            self._impatient_until_s = time.monotonic() + _WHILE_S
            raise


@cache
def readers() -> Readers:
    """Return this process's readers; call it once before a job can take all threads that there can be."""
    return Readers()
