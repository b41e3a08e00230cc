"""Threads that are started before a job is watched.

A job that has the same limit of processes as the exporter can use it up, and then no thread can be started.
"""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from functools import cache


@cache
def thread(name: str) -> ThreadPoolExecutor:
    """Return the only thread of that name, which does one thing after the other; the first call starts it."""
    executor = ThreadPoolExecutor(1, name)
    executor.submit(int).result()  # it starts the thread; no other one ever starts
    return executor
