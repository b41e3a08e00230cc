"""Network namespaces of other processes: what is done inside of one, and news of its interfaces."""

from __future__ import annotations

import ctypes
import os
import socket
from collections.abc import Callable, Iterator
from contextlib import suppress
from functools import cache
from pathlib import Path
from typing import TypeVar

from exporter.kernel.threads import thread

_CLONE_NEWNET = 0x40000000
_RTMGRP_LINK, _RTMGRP_TC = 1, 8  # include/uapi/linux/rtnetlink.h
_NEWS_BYTES = 65536
_OWN = Path("/proc/thread-self/ns/net")
_T = TypeVar("_T")


def inside(namespace: int, function: Callable[[], _T]) -> _T:
    """Call `function` in a thread that is in `namespace` (a descriptor).

    Raises OSError: EPERM without CAP_SYS_ADMIN, unless the namespace is the caller's own.
    """
    if os.fstat(namespace).st_ino == _OWN.stat().st_ino:
        return function()
    return _traveller().inside(namespace, function)


@cache
def _traveller() -> Traveller:
    return Traveller()


def prepare() -> None:
    """Have what `inside` needs now: later there may be no room for it."""
    _traveller()


class Traveller:
    """A thread that goes into namespaces, and stays in none, so that it keeps none alive."""

    def __init__(self) -> None:
        """It begins where the caller is. Raises OSError, and RuntimeError where there is no room for it."""
        self._thread = thread("network")
        self._home = os.open(_OWN, os.O_RDONLY | os.O_CLOEXEC)

    def inside(self, namespace: int, function: Callable[[], _T]) -> _T:
        """Have it call `function` in there. Raises OSError."""

        def go_and_call() -> _T:
            _enter(namespace)
            try:
                return function()
            finally:
                _enter(self._home)

        return self._thread.submit(go_and_call).result()


def _enter(namespace: int) -> None:
    if ctypes.CDLL(None, use_errno=True).setns(namespace, _CLONE_NEWNET):
        code = ctypes.get_errno()
        raise OSError(code, os.strerror(code))


def everywhere() -> Iterator[int]:
    """Network namespaces that a thread is in, or that are mounted; each descriptor lasts until the next."""
    seen = set()
    for path in [*Path("/proc").glob("[0-9]*/task/*/ns/net"), *_mounted()]:
        with suppress(OSError):  # it has ended
            descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
            try:
                number = os.fstat(descriptor).st_ino
                if number not in seen:
                    seen.add(number)
                    yield descriptor
            finally:
                os.close(descriptor)


def _mounted() -> list[Path]:
    lines = (line.split() for line in Path("/proc/self/mountinfo").read_text().splitlines())
    return [Path(words[4]) for words in lines if words[3].startswith("net:[")]


class LinkNews:
    """Tells whether interfaces, or filters at them, were added, removed or changed, where it is made."""

    def __init__(self) -> None:
        """From now on. Raises OSError."""
        self._socket = socket.socket(
            socket.AF_NETLINK, socket.SOCK_RAW | socket.SOCK_NONBLOCK, socket.NETLINK_ROUTE
        )
        self._socket.bind((0, _RTMGRP_LINK | _RTMGRP_TC))

    def close(self) -> None:
        """Tell no more; a namespace doesn't go away before."""
        self._socket.close()

    def came(self) -> bool:
        """Whether there was any since the last time. What they say isn't looked at."""
        has_come = False
        while True:
            try:
                self._socket.recv(_NEWS_BYTES)
            except BlockingIOError:
                return has_come
            except OSError:  # ENOBUFS: there was more than it could keep
                pass
            has_come = True
