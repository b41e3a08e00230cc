"""Files of spans: read side by side where they are large, added up in their order."""

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

from exporter.baseline.acts import ATTRIBUTES, add_span
from exporter.baseline.seen import Seen
from exporter.errors import UsageError
from exporter.span_files import read_spans

if TYPE_CHECKING:
    from multiprocessing.sharedctypes import Synchronized

OnProgress = Callable[[int], object]
"""Told how many bytes were read since."""

_ALONE_BYTES = 32 << 20
"""Up to here, one process is done before others have started."""
_SHARE_BYTES = 16 << 20, 128 << 20
_SHARES = 8
"""For each process, so that none waits long for another."""
_POLL_S = 0.1

_counter: Synchronized[int] | None = None
"""Of a process that reads for another: how many bytes all of them have read."""


def require_jobs(seen: Seen, where: str) -> None:
    """Raise UsageError where there is nothing to learn from."""
    if not seen.tasks:
        hint = (
            "name what ci-egress wrote of jobs that connect: `run --otlp-dir`, or a collector's file exporter"
        )
        found = f"{seen.spans:,} egress spans, none of a job," if seen.spans else "no egress span"
        raise UsageError(f"{found} in {where}", hint=hint)


def read_files(
    files: Sequence[Path], *, on_progress: OnProgress = lambda _: None, processes: int | None = None
) -> Seen:
    """What they tell; with `processes`, or those that pay, it is the same. Raises UsageError."""
    sizes = [_size(file) for file in files]
    if processes is None:
        processes = 1 if sum(sizes) <= _ALONE_BYTES else min(len(os.sched_getaffinity(0)), len(files))
    if processes == 1:
        return _read(files, on_progress)
    share = min(max(sum(sizes) // (processes * _SHARES), _SHARE_BYTES[0]), _SHARE_BYTES[1])
    return _read_side_by_side([*_shares(files, sizes, share)], on_progress, processes)


def total_bytes(files: Iterable[Path]) -> int:
    """That they have on disk; what can't be looked at counts nothing, since reading it tells."""
    return sum(map(_size, files))


def _read(files: Iterable[Path], on_progress: OnProgress) -> Seen:
    seen = Seen()
    for file in files:
        for span in read_spans(file, ATTRIBUTES, say=seen.notes.append, on_read=on_progress):
            add_span(seen, span)
    return seen


def _shares(files: Sequence[Path], sizes: Sequence[int], share_bytes: int) -> Iterator[list[Path]]:
    """Files one after the other, together at least so many bytes."""
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


def _read_side_by_side(shares: Sequence[list[Path]], on_progress: OnProgress, processes: int) -> Seen:
    context = multiprocessing.get_context("spawn")  # a fork would copy the threads of a progress bar half
    counter = context.Value("q", 0)
    pool = ProcessPoolExecutor(processes, context, initializer=_begin, initargs=(counter,))
    seen = Seen()
    told = 0
    try:
        waiting = [pool.submit(_read_share, share) for share in shares]
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
    """A parent that is killed can't tell its pool, which would wait for work forever."""
    parent = multiprocessing.parent_process()
    if parent is not None:
        parent.join()
        os._exit(1)


def _read_share(files: list[Path]) -> Seen:
    return _read(files, _count)


def _count(read_bytes: int) -> None:
    if _counter is not None:
        with _counter.get_lock():
            _counter.value += read_bytes


def _size(path: Path) -> int:
    try:
        return path.stat().st_size
    except OSError:
        return 0
