"""Packet sockets of other processes, and the network namespaces that they were made in.

Nothing is asked of a file that isn't a socket: its file system, which any user may have made, needn't answer.
So each descriptor is looked at without being opened.
"""

from __future__ import annotations

import errno
import fcntl
import os
from collections.abc import Iterator
from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import NamedTuple

from exporter.common.bounded import readers
from exporter.common.descriptors import closing_fd

from .descriptors import Tables, copied, pidfd

_SIOCGSKNS = 0x894C  # include/uapi/linux/sockios.h
_PROTOCOL = "system.sockprotoname"
_PACKET = b"PACKET\0"


class SocketPlace(NamedTuple):
    """A descriptor of a thread that is, or was, a packet socket."""

    pid: int
    thread: int
    number: int

    def opened(self) -> int:
        """Return a descriptor of the network namespace in which the socket there was made.

        Raises OSError: EBADF where no packet socket is there.
        """
        name = _packet_socket(self._path)
        if not name:
            raise _not_there()
        return readers().within(partial(self._copied, name))

    @property
    def _path(self) -> str:
        return f"/proc/{self.pid}/task/{self.thread}/fd/{self.number}"

    def _copied(self, name: str) -> int:
        """Do it by a copy of the descriptor: another file may be there by now, which may hang when closed."""
        with closing_fd(pidfd(self.pid, self.thread)) as of:
            copy = copied(of, self.number)
        with closing_fd(copy):
            if _name(copy) != name:
                raise _not_there()
            return fcntl.ioctl(copy, _SIOCGSKNS)


def packet_sockets(pid: int) -> Iterator[SocketPlace | None]:
    """Iterate over the packet sockets of all threads of `pid`; None stands for a step without any."""
    tables = Tables()
    with suppress(OSError), os.scandir(f"/proc/{pid}/task") as threads:
        for thread in threads:
            yield None
            if not tables.meets_another(int(thread.name)):
                continue
            with suppress(OSError), os.scandir(f"{thread.path}/fd") as descriptors:
                for each in descriptors:
                    is_one = bool(_packet_socket(each.path))
                    yield SocketPlace(pid, int(thread.name), int(each.name)) if is_one else None


def _packet_socket(path: str) -> str:
    """Return the name of the packet socket at a descriptor's path; empty when none is there."""
    with suppress(OSError), closing_fd(os.open(path, os.O_PATH | os.O_CLOEXEC)) as held:
        name = _name(held)
        is_socket = name.startswith("socket:[")
        return name if is_socket and os.getxattr(f"/proc/self/fd/{held}", _PROTOCOL) == _PACKET else ""
    return ""


def _name(descriptor: int) -> str:
    """Return the name of the file that a descriptor of this process is of; the kernel names sockets."""
    return str(Path(f"/proc/self/fd/{descriptor}").readlink())


def _not_there() -> OSError:
    return OSError(errno.EBADF, os.strerror(errno.EBADF))
