"""Threads that are there before a job is watched.

A job that has the same limit of processes as the exporter can take all of it, and then none can be made.
"""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from functools import cache


@cache
def thread(name: str) -> ThreadPoolExecutor:
    """The only one of that name, which does what it gets one after the other: the first call starts it."""
    executor = ThreadPoolExecutor(1, name)
    executor.submit(int).result()  # it starts with what it first gets, and never another one
    return executor
