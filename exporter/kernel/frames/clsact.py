"""Attach programs to the egress of interfaces before Linux 6.6: as filters of clsact, set by netlink.

A filter is in force when the call returns and needs no link, so it stays whoever is killed. It stays even
when its instance's pins are gone, and is found again by its name. Filters of others are left alone, and so is
the clsact qdisc, which all filters share: removing it would also remove the filters of others.
"""

from __future__ import annotations

import errno
import socket
import struct
from contextlib import suppress
from typing import NamedTuple

from exporter.kernel.bpf import U32
from exporter.kernel.netlink import ACK, DUMP, answers, attribute, attributes

from .network_namespaces import everywhere, inside

FILTERS = "filters"
"""The name of a directory among the pins of an instance; it exists if the instance has, or had, filters."""
# include/uapi/linux/netlink.h, rtnetlink.h, pkt_sched.h, pkt_cls.h, if_ether.h
_TRAFFIC = struct.Struct("=B3xiIII")
_NEW_QDISC, _NEW_FILTER, _DEL_FILTER, _GET_FILTER = 36, 44, 45, 46
_EXCL, _CREATE = 0x200, 0x400
_KIND, _OPTIONS = 1, 2
_FD, _NAME, _FLAGS = 6, 7, 8
_DIRECT_ACTION = 1
_CLSACT, _HANDLE, _EGRESS = 0xFFFFFFF1, 0xFFFF0000, 0xFFFFFFF3
_ALL_PROTOCOLS = 0x0003
_NO_PROGRAM = 0xFFFFFFFF
_LACKS = (errno.ENOENT, errno.EOPNOTSUPP, errno.EINVAL)
"""The errors by which the kernel says that it has no such qdisc, or no such kind of filter."""
_PRIORITIES = range(1, 9)
"""The priorities to try: filters of another kind, or for another protocol, may have taken the first one."""


class _Filter(NamedTuple):
    handle: int
    info: int
    """The priority in the high 16 bits, the protocol in the low ones."""
    name: str


def filter_name(instance: str) -> str:
    """Return the name of an instance's filters, as `tc filter show` prints it."""
    return f"ci-egress/{instance}"


def put_filter(program: int, index: int, name: str) -> bool:
    """Put `program` at the egress of an interface of this thread's namespace; return whether it was missing.

    The filter runs before other filters of its kind. Raises OSError: ENOENT where the kernel has no clsact,
    or no cls_bpf.
    """
    with _Netlink() as netlink:
        if any(found.name == name for found in netlink.filters(index)):
            return False
        with suppress(FileExistsError):
            netlink.ask(_NEW_QDISC, _CREATE | _EXCL, (index, _HANDLE, _CLSACT, 0), _text(_KIND, "clsact"))
        options = _number(_FD, program) + _text(_NAME, name) + _number(_FLAGS, _DIRECT_ACTION)
        about = _text(_KIND, "bpf") + attribute(_OPTIONS, options)
        for priority in _PRIORITIES:
            info = priority << 16 | socket.htons(_ALL_PROTOCOLS)
            try:
                # No handle is asked for: a filter may have it. If two processes do this, both filters stay.
                netlink.ask(_NEW_FILTER, _CREATE | _EXCL, (index, 0, _EGRESS, info), about)
            except OSError as error:
                if error.errno != errno.EINVAL or priority == _PRIORITIES[-1]:
                    raise
            else:
                break
    return True


def has_clsact(index: int) -> bool:
    """Whether the kernel has clsact and cls_bpf: tries a filter without a program, which is never made.

    Also True where it can't be tried now, as without a free descriptor: a lack shows when a filter is needed.
    """
    try:
        put_filter(_NO_PROGRAM, index, filter_name("try"))
    except OSError as error:
        return error.errno not in _LACKS
    return True


def remove_filters(name: str) -> None:
    """Remove the filters called `name` in every network namespace that can be found."""
    for namespace in everywhere():
        if namespace is None:
            continue  # its filters find no mode in the maps any more, and drop nothing
        with suppress(OSError):  # the namespace can't be entered, or is gone
            inside(namespace, lambda: _remove_here(name))


def _remove_here(name: str) -> None:
    with _Netlink() as netlink:
        for index, _ in socket.if_nameindex():
            for found in netlink.filters(index):
                if found.name == name:
                    place = (index, found.handle, _EGRESS, found.info)
                    with suppress(OSError):  # somebody else removed it
                        netlink.ask(_DEL_FILTER, 0, place, _text(_KIND, "bpf"))


class _Netlink:
    """A netlink socket in this thread's network namespace."""

    def __enter__(self) -> _Netlink:
        self._socket = socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, socket.NETLINK_ROUTE)
        return self

    def __exit__(self, *_: object) -> None:
        self._socket.close()

    def ask(self, kind: int, flags: int, place: tuple[int, int, int, int], about: bytes = b"") -> None:
        """Send a request, and wait until it is done. Raises OSError."""
        body = _TRAFFIC.pack(socket.AF_UNSPEC, *place) + about
        for _ in answers(self._socket, kind, flags | ACK, body):
            pass

    def filters(self, index: int) -> list[_Filter]:
        """Return the BPF filters at the egress of an interface, in the order in which they run."""
        found = []
        body = _TRAFFIC.pack(socket.AF_UNSPEC, index, 0, _EGRESS, 0)
        for answer in answers(self._socket, _GET_FILTER, DUMP, body, may_lack_some=True):
            _, _, handle, _, info = _TRAFFIC.unpack_from(answer)
            told = attributes(answer[_TRAFFIC.size :])
            if told.get(_KIND) == b"bpf\0" and handle:
                name = attributes(told.get(_OPTIONS, b"")).get(_NAME, b"")
                found.append(_Filter(handle, info, name.rstrip(b"\0").decode(errors="replace")))
        return found


def _number(kind: int, value: int) -> bytes:
    return attribute(kind, U32.pack(value))


def _text(kind: int, value: str) -> bytes:
    return attribute(kind, value.encode() + b"\0")
