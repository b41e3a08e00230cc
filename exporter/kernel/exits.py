"""How a program comes to stand at the ways out of interfaces, by what the kernel has for that."""

from __future__ import annotations

import ctypes
import errno
import os
import secrets
import socket
import time
from concurrent.futures import ThreadPoolExecutor
from enum import Enum
from functools import lru_cache, partial
from pathlib import Path
from typing import Protocol

from exporter.kernel.bpf import program_id
from exporter.kernel.clsact import filter_name, has_clsact, put_filter, remove_filters
from exporter.kernel.instances import FILTERS
from exporter.kernel.later import LaterLinks, pinned_program
from exporter.kernel.objects import attach_to_interface, programs_at_interface
from exporter.kernel.spare import require_share

_LOOPBACK = 1
_CLONE_NEWNET = 0x40000000
_IS_GONE = (errno.ENODEV, errno.ENOLINK)
_OTHERS_WITHIN_S, _OTHERS_LOOK_S = 2.0, 0.005
"""What another process begins at an interface takes a tenth of a second."""


class Way(Enum):
    """What the kernel has."""

    TCX = "tcx"
    """Links, since Linux 6.6."""
    CLSACT = "clsact"
    """Filters."""
    NONE = "none"
    """Neither: it was built without, or the modules sch_ingress and cls_bpf aren't there."""


class Exits(Protocol):
    """Those of one instance."""

    def cover(self, until_s: float) -> bool:
        """Put the program on every interface of this thread's namespace; whether it is on all of them.

        After each that hadn't got it, no further one gets it that isn't done by `until_s` (monotonic).
        Raises OSError.
        """

    def withdraw(self) -> None:
        """Take it away everywhere."""


class TcxExits:
    """By links, before all others. They go along with an interface that moves to another namespace."""

    def __init__(self, pins: Path, links: LaterLinks) -> None:
        """`links` knows those that are there."""
        self._pins, self._links = pins, links

    def cover(self, until_s: float) -> bool:
        """See `Exits`."""
        with pinned_program(self._pins, "on_frame") as descriptor:
            program = program_id(descriptor)
        for number, (index, _) in enumerate(socket.if_nameindex(), 1):
            require_share(number)
            try:
                has_changed = self._cover_interface(index, program)
            except OSError as error:
                if error.errno not in _IS_GONE:
                    raise
            else:
                if has_changed and time.monotonic() >= until_s:
                    return False
        return True

    def _cover_interface(self, index: int, program: int) -> bool:
        """Whether it didn't have the program."""
        attach = partial(attach_to_interface, index=index)
        deadline_s = time.monotonic() + _OTHERS_WITHIN_S
        has_changed = False
        while program not in programs_at_interface(index):
            has_changed = True
            try:
                self._links.attach("on_frame", attach, f"_{secrets.token_hex(8)}")
            except FileExistsError:
                # Another process is about to do it, and lets everything pass until it has, or is killed.
                if time.monotonic() > deadline_s:
                    raise OSError(errno.EBUSY, os.strerror(errno.EBUSY)) from None
                time.sleep(_OTHERS_LOOK_S)
                self._links.find()
        return has_changed

    def withdraw(self) -> None:
        """The links go with all that are detached."""


class ClsactExits:
    """By filters, which stay whatever becomes of the instance, until it is removed."""

    def __init__(self, pins: Path) -> None:
        """Nothing is put anywhere yet."""
        self._pins, self._name = pins, filter_name(pins.name)

    def cover(self, until_s: float) -> bool:
        """See `Exits`."""
        (self._pins / FILTERS).mkdir(exist_ok=True)  # first: who removes the instance looks for them then
        with pinned_program(self._pins, "on_frame") as program:
            for index, _ in socket.if_nameindex():
                try:
                    has_changed = put_filter(program, index, self._name)
                except OSError as error:
                    if error.errno != errno.ENODEV:  # else it is gone
                        raise
                else:
                    if has_changed and time.monotonic() >= until_s:
                        return False
        return True

    def withdraw(self) -> None:
        """See `Exits`."""
        if (self._pins / FILTERS).exists():
            remove_filters(self._name)


class NoExits:
    """Frames aren't stopped on this kernel: a limit, which is told once."""

    def cover(self, until_s: float) -> bool:
        """It can't, now or later."""
        del until_s
        return True

    def withdraw(self) -> None:
        """There is nothing."""


def exits(way: Way, pins: Path, links: LaterLinks) -> Exits:
    """Those of the instance whose pins are there, by `way`."""
    if way is Way.TCX:
        return TcxExits(pins, links)
    return ClsactExits(pins) if way is Way.CLSACT else NoExits()


@lru_cache(maxsize=1)
def way_here() -> Way:
    """What this kernel has."""
    try:
        programs_at_interface(_LOOPBACK)
    except OSError as error:
        if error.errno == errno.EINVAL:
            return Way.CLSACT if _has_filters() else Way.NONE
    return Way.TCX


def _has_filters() -> bool:
    """Tried where it is nobody's: in a namespace of a thread's own; where none can be made, it may be."""

    def try_it() -> bool:
        if ctypes.CDLL(None, use_errno=True).unshare(_CLONE_NEWNET):
            return True
        return has_clsact(_LOOPBACK)

    with ThreadPoolExecutor(1, "network") as thread:
        return thread.submit(try_it).result()
