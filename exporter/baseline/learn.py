"""Learn from files of spans: large ones are read in parallel, and added up in their order.

seen = read_files(span_files([Path("runs")]))
require_jobs(seen, "runs")
baseline, notes = conclude(seen)
"""

from __future__ import annotations

import multiprocessing
import os
import signal
import threading
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Future, ProcessPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool
from pathlib import Path
from typing import TYPE_CHECKING

from exporter.common.errors import UsageError
from exporter.common.text import printable
from exporter.otlp.reading.files import egress_spans_in

from .acts import ATTRIBUTES, add_span
from .seen import Seen

if TYPE_CHECKING:
    from multiprocessing.sharedctypes import Synchronized

OnProgress = Callable[[int], object]
"""Function that is called with the number of bytes that were read since its last call."""

_ALONE_BYTES = 32 << 20
"""The most bytes that one process reads alone: it is done before others would have started."""
_SHARE_BYTES = 16 << 20, 128 << 20
_SHARES = 8
"""Shares of the files for each process: more than one, so that none waits long for another."""
_POLL_S = 0.1
_TEXT_MAX = 200

_counter: Synchronized[int] | None = None
"""In a process of the pool: the number of bytes that all processes of the pool have read."""


def require_jobs(seen: Seen, where: str, repository: str | None = None) -> None:
    """Raise UsageError where `seen` has no jobs; if `repository` is given, only its jobs were read."""
    if not seen.tasks:
        hint = (
            "name what ci-egress wrote of jobs that connect: `run --otlp-dir`, or a collector's file exporter"
        )
        of_what = "" if repository is None else f" of {printable(repository, limit=_TEXT_MAX)}"
        found = f"{seen.spans:,} egress spans, none of a job{of_what}," if seen.spans else "no egress span"
        raise UsageError(f"{found} in {where}", hint=hint)


def read_files(
    files: Sequence[Path],
    *,
    repository: str | None = None,
    on_progress: OnProgress = lambda _: None,
    processes: int | None = None,
) -> Seen:
    """Read the runs in the files; with a `repository`, its runs alone. Raises UsageError.

    The result is the same for any number of `processes`; None: as many as pay off.
    """
    sizes = [_size(file) for file in files]
    if processes is None:
        processes = 1 if sum(sizes) <= _ALONE_BYTES else min(len(os.sched_getaffinity(0)), len(files))
    if processes == 1:
        return _read(files, repository, on_progress)
    share = min(max(sum(sizes) // (processes * _SHARES), _SHARE_BYTES[0]), _SHARE_BYTES[1])
    return _read_side_by_side([*_shares(files, sizes, share)], repository, on_progress, processes)


def total_bytes(files: Iterable[Path]) -> int:
    """Add up the sizes on disk. A file that can't be looked at counts 0: reading it reports that."""
    return sum(map(_size, files))


def _read(files: Iterable[Path], repository: str | None, on_progress: OnProgress) -> Seen:
    seen = Seen()
    for file in files:
        for span in egress_spans_in(file, ATTRIBUTES, say=seen.notes.append, on_read=on_progress):
            add_span(seen, span, repository)
    return seen


def _shares(files: Sequence[Path], sizes: Sequence[int], share_bytes: int) -> Iterator[list[Path]]:
    """Split the files, in their order, into lists of at least `share_bytes` each; the last may have less."""
    share: list[Path] = []
    size = 0
    for file, more in zip(files, sizes, strict=True):
        share.append(file)
        size += more
        if size >= share_bytes:
            yield share
            share, size = [], 0
    if share:
        yield share


def _read_side_by_side(
    shares: Sequence[list[Path]], repository: str | None, on_progress: OnProgress, processes: int
) -> Seen:
    context = multiprocessing.get_context("spawn")  # a fork would copy locks without their threads
    counter = context.Value("q", 0)
    pool = ProcessPoolExecutor(processes, context, initializer=_begin, initargs=(counter,))
    seen = Seen()
    told = 0
    try:
        waiting = [pool.submit(_read_share, share, repository) for share in shares]
        waiting.reverse()
        while waiting:
            if wait(waiting[-1:], _POLL_S).done:
                seen.merge(_result(waiting.pop()))
            read = counter.value
            on_progress(read - told)
            told = read
    finally:
        pool.shutdown(cancel_futures=True)
    return seen


def _result(future: Future[Seen]) -> Seen:
    try:
        return future.result()
    except BrokenProcessPool:
        what = "a process that read files was killed: is there too little memory?"
        raise UsageError(what, hint="learn from fewer files at a time") from None


def _begin(counter: Synchronized[int]) -> None:
    global _counter  # noqa: PLW0603 - the pool gives a process nothing else to keep it in
    _counter = counter
    signal.signal(signal.SIGINT, signal.SIG_DFL)
    threading.Thread(target=_end_with_parent, daemon=True).start()


def _end_with_parent() -> None:
    """End with the parent process: if it is killed, it can't stop its pool, which would wait for ever."""
    parent = multiprocessing.parent_process()
    if parent is not None:
        parent.join()
        os._exit(1)


def _read_share(files: list[Path], repository: str | None) -> Seen:
    return _read(files, repository, _count)


def _count(read_bytes: int) -> None:
    if _counter is not None:
        with _counter.get_lock():
            _counter.value += read_bytes


def _size(path: Path) -> int:
    try:
        return path.stat().st_size
    except OSError:
        return 0
