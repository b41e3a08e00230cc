"""Ctrl-C, SIGTERM and SIGHUP at any moment: they end what waits, and disturb nothing that tidies up."""

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
    """Let each of them raise KeyboardInterrupt."""
    for number in _ENDING:
        signal.signal(number, signal.default_int_handler)


@contextmanager
def scratch_folder() -> Iterator[Path]:
    """A folder that is gone in the end, whenever a signal comes: those that come too early or late wait."""
    mask = signal.pthread_sigmask(signal.SIG_BLOCK, _ENDING)
    try:
        with tempfile.TemporaryDirectory(prefix="ci-egress-demo-") as scratch, undisturbed_ending():
            signal.pthread_sigmask(signal.SIG_SETMASK, mask)
            yield Path(scratch)
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, mask)


@contextmanager
def undisturbed_ending() -> Iterator[None]:
    """From the end of this block on, signals wait; put it last into a `with`, since that ends first.

    What is started meanwhile inherits that, so nothing should be.
    """
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_BLOCK, _ENDING)


@contextmanager
def uninterrupted() -> Iterator[None]:
    """Let signals wait for the end of this block, in which something is started.

    Unlike a mask, which children inherit, this lets what is started be ended by signals.
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
