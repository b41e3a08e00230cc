"""Handle Ctrl-C, SIGTERM and SIGHUP: they interrupt the demo at any moment, but not its tidying up."""

from __future__ import annotations

import signal
import tempfile
import threading
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator

_ENDING = {signal.SIGINT, signal.SIGTERM, signal.SIGHUP}


def interrupt_on_signals() -> None:
    """Make SIGINT, SIGTERM and SIGHUP raise KeyboardInterrupt."""
    for number in _ENDING:
        signal.signal(number, signal.default_int_handler)


@contextmanager
def scratch_folder() -> Iterator[Path]:
    """Yield a temporary folder, and delete it, whenever a signal comes: signals wait meanwhile."""
    mask = signal.pthread_sigmask(signal.SIG_BLOCK, _ENDING)
    try:
        with tempfile.TemporaryDirectory(prefix="ci-egress-demo-") as scratch, undisturbed_ending():
            signal.pthread_sigmask(signal.SIG_SETMASK, mask)
            yield Path(scratch)
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, mask)


@contextmanager
def undisturbed_ending() -> Iterator[None]:
    """Block signals from the end of this block on; put it last into a `with`, since the last one ends first.

    Processes that are started afterwards inherit the blocked signals, so start none.
    """
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_BLOCK, _ENDING)


@contextmanager
def uninterrupted() -> Iterator[None]:
    """Delay signals until the end of this block, in which a process is started.

    Unlike with a mask, which children inherit, signals can end the process that is started.
    """
    arrived: list[int] = []
    if threading.current_thread() is not threading.main_thread():
        yield  # signals interrupt the main thread only, which alone may set handlers
        return
    handlers = {each: signal.signal(each, lambda number, _: arrived.append(number)) for each in _ENDING}
    try:
        yield
    finally:
        for each, handler in handlers.items():
            signal.signal(each, handler)
    for number in arrived[:1]:
        signal.raise_signal(number)
