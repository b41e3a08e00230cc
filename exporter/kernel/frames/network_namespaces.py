"""Network namespaces of other processes: calling functions inside them, and news of their interfaces."""

from __future__ import annotations

import errno
import os
import socket
from collections.abc import Callable, Iterator
from functools import cache, partial
from pathlib import Path
from typing import TypeVar

from exporter.common.bounded import readers
from exporter.common.descriptors import closing_fd
from exporter.kernel.grace_period import thread
from exporter.kernel.libc import LIBC, checked
from exporter.kernel.mounts import mounts_in

from .packet_sockets import SocketPlace

_CLONE_NEWNET = 0x40000000
_RTMGRP_LINK, _RTMGRP_TC = 1, 8  # include/uapi/linux/rtnetlink.h
_NEWS_BYTES = 65536
_STUCK = (errno.ETIMEDOUT, errno.EBUSY)
"""The errors of `Readers.within` about a process that lets its readers wait."""
_OWN = Path("/proc/thread-self/ns/net")
_T = TypeVar("_T")

Place = Path | SocketPlace
"""Where a namespace is found: at its file, or by a packet socket that was made in it."""


def opened(place: Place) -> int:
    """Return a descriptor of the namespace that is found at `place`. Raises OSError."""
    if isinstance(place, SocketPlace):
        return place.opened()
    open_it = partial(os.open, place, os.O_RDONLY | os.O_CLOEXEC)
    return readers().within(open_it, about=_pid_in(place), discard=os.close)


def number_at(place: Place) -> int:
    """Return the number of the namespace that is found at `place`. Raises OSError."""
    if isinstance(place, Path):
        return readers().within(place.stat, about=_pid_in(place)).st_ino
    with closing_fd(place.opened()) as descriptor:
        return os.fstat(descriptor).st_ino


def _pid_in(path: Path) -> int:
    """Return the pid of the process that a path in /proc is about; 0 for another path."""
    _, *parts = path.parts
    return int(parts[1]) if parts[0] == "proc" and parts[1].isdigit() else 0


def networks_of(pid: int | str) -> Iterator[Path]:
    """Iterate over the files of the namespaces that a process's threads are in; `pid` may be a pattern."""
    return (thread / "ns/net" for thread in Path("/proc").glob(f"{pid}/task/*"))


def inside(namespace: int, function: Callable[[], _T]) -> _T:
    """Call `function` in a thread that is in `namespace` (a descriptor).

    Raises OSError: EPERM without CAP_SYS_ADMIN, unless the namespace is the caller's own.
    """
    if os.fstat(namespace).st_ino == _OWN.stat().st_ino:
        return function()
    return _traveller().inside(namespace, function)


@cache
def _traveller() -> NamespaceThread:
    return NamespaceThread()


def prepare() -> None:
    """Start the thread that `inside` needs: later there may be no room for it."""
    _traveller()


class NamespaceThread:
    """A thread that enters namespaces, and stays in none of them, so that it keeps none alive."""

    def __init__(self) -> None:
        """Start the thread in the caller's namespace.

        Raises OSError, and RuntimeError where no thread can start.
        """
        self._thread = thread("network")
        self._home = os.open(_OWN, os.O_RDONLY | os.O_CLOEXEC)

    def inside(self, namespace: int, function: Callable[[], _T]) -> _T:
        """Call `function` in the thread, inside `namespace` (a descriptor). Raises OSError."""

        def go_and_call() -> _T:
            _enter(namespace)
            try:
                return function()
            finally:
                _enter(self._home)

        return self._thread.submit(go_and_call).result()


def _enter(namespace: int) -> None:
    checked(LIBC.setns(namespace, _CLONE_NEWNET))


def everywhere() -> Iterator[int | None]:
    """Iterate over the network namespaces that threads are in, or that are mounted.

    Yields descriptors, each valid until the next one; None in place of a namespace that can't be opened since
    its process lets its readers wait.
    """
    seen = set()
    for path in [*networks_of("[0-9]*"), *_mounted()]:
        try:
            descriptor = opened(path)
        except OSError as error:
            if error.errno in _STUCK:
                yield None
            continue  # else the process has ended, or this user may not look at it
        with closing_fd(descriptor):
            number = os.fstat(descriptor).st_ino
            if number not in seen:
                seen.add(number)
                yield descriptor


def _mounted() -> list[Path]:
    return [mount.path for mount in mounts_in() if mount.root.startswith("net:[")]


class LinkNews:
    """A subscription to changes of interfaces, and of filters at them, in the namespace where it is made."""

    def __init__(self) -> None:
        """Subscribe from now on. Raises OSError."""
        self._socket = socket.socket(
            socket.AF_NETLINK, socket.SOCK_RAW | socket.SOCK_NONBLOCK, socket.NETLINK_ROUTE
        )
        self._socket.bind((0, _RTMGRP_LINK | _RTMGRP_TC))

    def close(self) -> None:
        """Unsubscribe; until then the namespace doesn't go away."""
        self._socket.close()

    def came(self) -> bool:
        """Whether there was any news since the last call. Its content isn't looked at."""
        has_come = False
        while True:
            try:
                self._socket.recv(_NEWS_BYTES)
            except BlockingIOError:
                return has_come
            except OSError:  # ENOBUFS: there was more than it could keep
                pass
            has_come = True
