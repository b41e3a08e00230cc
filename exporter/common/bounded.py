"""Read files of /proc within bounds on size and time: a process has a say in both for its own files.

Whoever reads a process's memory takes the lock of this memory, which the process can hold as long as it
likes: one of its threads waits for a page of a file, and the file system, which is the process's own, doesn't
answer. A process that executes a program holds another lock meanwhile. Whoever reads its state, its links in
/proc or its descriptors waits for this lock. The process can hold it as long as it likes, too, since an exec
closes files. Only the process can end such a read. So separate threads do the reading, and some of them may
be stuck.
"""

from __future__ import annotations

import errno
import os
import time
from collections.abc import Callable
from concurrent.futures import Future
from contextlib import suppress
from functools import cache, partial
from pathlib import Path
from queue import SimpleQueue
from threading import Thread
from typing import Any, TypeVar

PATIENCE_S, IMPATIENCE_S = 0.25, 0.01
"""The most seconds that a read may take: usually, and for _WHILE_S after a read took longer."""
_WHILE_S = 10 * PATIENCE_S
"""Seconds for which IMPATIENCE_S applies: a process that hangs all reads costs a tenth of the time."""
READERS_MAX = 16
_PIECE_BYTES = 1 << 16
_WAITING = "it lets its readers wait"
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
        self.about = 0
        """The pid of the process that the latest call is about, if it is about one."""
        self._thread = Thread(target=self._live, daemon=True, name="reader")
        self._thread.start()

    @property
    def is_idle(self) -> bool:
        return self._under_way.done()

    def within(
        self,
        most_s: float,
        function: Callable[[], _T],
        about: int,
        discard: Callable[[_T], object] | None,
    ) -> _T:
        """Call `function` in the thread. Raises its errors; TimeoutError when it takes longer than `most_s`.

        If the thread only waits for a processor, it may take PATIENCE_S. `discard` gets a result that comes
        too late.
        """

        def discard_result(late: Future[_T]) -> None:
            if discard is not None and late.exception() is None:
                discard(late.result())

        self.about = about
        future = self._under_way = Future[_T]()
        self._wanted.put((function, future))
        until_s = time.monotonic() + PATIENCE_S
        while True:
            try:
                return future.result(most_s)
            except TimeoutError:
                if future.done() or time.monotonic() >= until_s or not self._wants_processor():
                    future.add_done_callback(discard_result)
                    raise

    def _wants_processor(self) -> bool:
        """Whether the thread waits for a processor alone, as on a busy machine."""
        stat = Path(f"/proc/self/task/{self._thread.native_id}/stat").read_text(errors="replace")
        return stat.rpartition(")")[2].split()[0] == "R"

    def _live(self) -> None:
        while True:
            function, future = self._wanted.get()
            try:
                future.set_result(function())
            except Exception as error:  # noqa: BLE001 - it is raised where the call was asked for
                future.set_exception(error)


class Readers:
    """Several readers, so that some may be stuck. Only one thread may use them."""

    def __init__(self) -> None:
        """Start READERS_MAX threads now: later, a job may have taken all threads that there can be.

        Raises RuntimeError when there is no room for them.
        """
        self.most = READERS_MAX
        """How many readers there may be: if all are stuck, further ones are started, up to this number."""
        self._all = [_Reader() for _ in range(READERS_MAX)]
        self._latest = self._all[0]
        self._impatient_until_s = 0.0
        self.held_up_by: tuple[int, ...] = ()
        """The processes at which all readers were stuck when a call was last refused; empty if none was."""

    def beginning_of(self, path: Path, most_bytes: int) -> bytes:
        """Read the file's first bytes as the function `beginning_of` does, but give up in time.

        Raises OSError, also when all readers are stuck.
        """
        return self.within(partial(beginning_of, path, most_bytes))

    def within(
        self, function: Callable[[], _T], about: int = 0, discard: Callable[[_T], object] | None = None
    ) -> _T:
        """Call `function`, which may hang, in one of the threads, but give up in time.

        `about` is the pid of the process at which the call may hang: while one call about it is stuck, no
        other one is made. `discard` gets a result that comes too late. Raises the errors of `function`;
        OSError when it takes too long, when an earlier call about the process is stuck, or when all readers
        are.
        """
        if about and self.is_stuck_at(about):
            raise OSError(errno.EBUSY, _WAITING)
        reader = next((each for each in self._all if each.is_idle), None) or self._another()
        if reader is None:
            self.held_up_by = tuple(each.about for each in self._all)
            raise OSError(errno.EBUSY, "all readers are busy: other processes let them wait")
        self._latest = reader
        is_patient = time.monotonic() >= self._impatient_until_s
        try:
            return reader.within(PATIENCE_S if is_patient else IMPATIENCE_S, function, about, discard)
        except TimeoutError:
            self._impatient_until_s = time.monotonic() + _WHILE_S
            raise OSError(errno.ETIMEDOUT, _WAITING) from None

    def _another(self) -> _Reader | None:
        if len(self._all) < self.most:
            with suppress(RuntimeError):  # no room for a thread
                self._all.append(_Reader())
                return self._all[-1]
        return None

    def is_stuck_at(self, pid: int) -> bool:
        """Whether a call about the process is stuck."""
        return any(each.about == pid and not each.is_idle for each in self._all)

    def note_stuck(self, pid: int) -> None:
        """Note at which process the latest call, which was about several, got stuck."""
        self._latest.about = pid


@cache
def readers() -> Readers:
    """Return this process's readers; call it once before a job can take all threads that there can be."""
    return Readers()
