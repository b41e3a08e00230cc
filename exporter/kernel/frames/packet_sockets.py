"""Packet sockets of other processes, and the network namespaces that they were made in.

A file that isn't a socket is never asked anything: any user may have made its file system, which needn't
answer. So each descriptor is looked at without being opened.
"""

from __future__ import annotations

import errno
import fcntl
import os
from collections.abc import Iterator, Sequence
from contextlib import suppress
from functools import partial
from itertools import islice
from pathlib import Path
from typing import NamedTuple

from exporter.common.bounded import readers
from exporter.common.descriptors import closing_fd

from .descriptors import Tables, copied, pidfd

_SIOCGSKNS = 0x894C  # include/uapi/linux/sockios.h
_PROTOCOL = "system.sockprotoname"
_PACKET = b"PACKET\0"
_AT_ONCE = 64
"""The number of descriptors that are looked at by one call of a reader."""


class SocketPlace(NamedTuple):
    """A thread's descriptor that is, or was, a packet socket."""

    pid: int
    thread: int
    number: int

    def opened(self) -> int:
        """Return a descriptor of the network namespace in which the socket was made.

        Raises OSError: EBADF where the thread's descriptor is no packet socket any more.
        """
        return readers().within(self._opened, about=self.pid, discard=os.close)

    @property
    def _path(self) -> str:
        return f"/proc/{self.pid}/task/{self.thread}/fd/{self.number}"

    def _opened(self) -> int:
        """Do the work of `opened`, in a reader: the copy may be of another file, and hang when closed."""
        name = _packet_socket(self._path)
        if not name:
            raise _not_there()
        with closing_fd(pidfd(self.pid, self.thread)) as of:
            copy = copied(of, self.number)
        with closing_fd(copy):
            if _name(copy) != name:
                raise _not_there()
            return fcntl.ioctl(copy, _SIOCGSKNS)


def packet_sockets(pid: int) -> Iterator[SocketPlace | None]:
    """Iterate over the packet sockets of all threads of `pid`; None only marks the end of a step.

    Ends early where the process lets its readers wait.
    """
    tables = Tables()
    with suppress(OSError), os.scandir(f"/proc/{pid}/task") as threads:
        for thread in threads:
            yield None
            if not readers().within(partial(tables.meets_another, int(thread.name)), about=pid):
                continue
            is_gone = suppress(FileNotFoundError, ProcessLookupError)
            with is_gone, os.scandir(f"{thread.path}/fd") as descriptors:
                while some := [each.name for each in islice(descriptors, _AT_ONCE)]:
                    found = readers().within(partial(_packet_sockets, thread.path, some), about=pid)
                    yield from (SocketPlace(pid, int(thread.name), int(number)) for number in found)
                    yield None


def _packet_sockets(thread: str, numbers: Sequence[str]) -> list[str]:
    """Return the packet sockets among some descriptors (`numbers`) of a thread."""
    return [number for number in numbers if _packet_socket(f"{thread}/fd/{number}")]


def _packet_socket(path: str) -> str:
    """Return the name of the packet socket at a descriptor's path; empty when none is there."""
    with suppress(OSError), closing_fd(os.open(path, os.O_PATH | os.O_CLOEXEC)) as held:
        name = _name(held)
        is_socket = name.startswith("socket:[")
        return name if is_socket and os.getxattr(f"/proc/self/fd/{held}", _PROTOCOL) == _PACKET else ""
    return ""


def _name(descriptor: int) -> str:
    """Return the name of the file behind a descriptor of this process; for a socket, `socket:[inode]`."""
    return str(Path(f"/proc/self/fd/{descriptor}").readlink())


def _not_there() -> OSError:
    return OSError(errno.EBADF, os.strerror(errno.EBADF))
