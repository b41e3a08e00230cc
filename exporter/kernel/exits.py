"""How a program comes to stand at the ways out of interfaces, by what the kernel has for that."""

from __future__ import annotations

import ctypes
import errno
import os
import secrets
import socket
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
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
AT_ONCE = 32
"""Interfaces that are looked at whatever the time is: one takes microseconds, unless it has to be changed."""


class Way(Enum):
    """What the kernel has."""

    TCX = "tcx"
    """Links, since Linux 6.6."""
    CLSACT = "clsact"
    """Filters."""
    NONE = "none"
    """Neither: it was built without, or the modules sch_ingress and cls_bpf aren't there."""


@dataclass
class Round:
    """Through the interfaces of one namespace, which may go on another time."""

    scope: int
    """Whose process was found there."""
    is_stale: bool = True
    """Whether some came, went or changed since they were listed: another round follows."""
    _left: list[int] = field(default_factory=list, init=False)

    def go_on(self, until_s: float, cover: Callable[[int], bool]) -> bool:
        """Have `cover` look at those that are left, the newest first; whether none is.

        It gets an index, and says whether it changed anything there. After `until_s` (monotonic) it goes on
        for AT_ONCE interfaces at most, as long as it has to change none. Raises OSError.
        """
        looked_at = 0
        while self._is_any_left():
            looked_at += 1
            is_due = self._cover_next(cover) or looked_at % AT_ONCE == 0
            if is_due and time.monotonic() >= until_s:
                return not self._left and not self.is_stale
        return True

    def _is_any_left(self) -> bool:
        if not self._left and self.is_stale:
            self._left, self.is_stale = sorted(index for index, _ in socket.if_nameindex()), False
        return bool(self._left)

    def _cover_next(self, cover: Callable[[int], bool]) -> bool:
        """Whether that changed anything; nothing at one that is gone."""
        try:
            return cover(self._left.pop())
        except OSError as error:
            if error.errno not in _IS_GONE:
                raise
        return False


class Exits(Protocol):
    """Those of one instance."""

    def cover(self, through: Round, until_s: float, besides: int) -> bool:
        """Put the program on every interface of this thread's namespace; whether it is on all of them.

        `until_s` is as for a round, `besides` are the descriptors that the same scope's networks take.
        Raises OSError, EMFILE where it had more than its share.
        """

    def held_for(self, scope: int) -> int:
        """How many descriptors it keeps for the networks of a scope."""

    def withdraw(self) -> None:
        """Take it away everywhere."""


class TcxExits:
    """By links, before all others. They go along with an interface that moves to another namespace."""

    def __init__(self, pins: Path, links: LaterLinks) -> None:
        """`links` knows those that are there."""
        self._pins, self._links = pins, links

    def cover(self, through: Round, until_s: float, besides: int) -> bool:
        """See `Exits`."""
        with pinned_program(self._pins, "on_frame") as descriptor:
            program = program_id(descriptor)
        cover = partial(self._cover_interface, program=program, scope=through.scope, besides=besides)
        return through.go_on(until_s, cover)

    def _cover_interface(self, index: int, *, program: int, scope: int, besides: int) -> bool:
        """Whether it didn't have the program."""
        attach = partial(attach_to_interface, index=index)
        deadline_s = time.monotonic() + _OTHERS_WITHIN_S
        has_changed = False
        while program not in programs_at_interface(index):
            has_changed = True
            require_share(besides + self.held_for(scope) + 1)
            try:
                self._links.attach("on_frame", attach, f"_{scope}_{secrets.token_hex(8)}")
            except FileExistsError:
                # Another process is about to do it, and lets everything pass until it has, or is killed.
                if time.monotonic() > deadline_s:
                    raise OSError(errno.EBUSY, os.strerror(errno.EBUSY)) from None
                time.sleep(_OTHERS_LOOK_S)
                self._links.find()
        return has_changed

    def held_for(self, scope: int) -> int:
        """A link for each interface, until that goes: also where a namespace came to have too many."""
        return self._links.number_of(f"on_frame_{scope}_")

    def withdraw(self) -> None:
        """The links go with all that are detached."""


class ClsactExits:
    """By filters, which stay whatever becomes of the instance, until it is removed."""

    def __init__(self, pins: Path) -> None:
        """Nothing is put anywhere yet."""
        self._pins, self._name = pins, filter_name(pins.name)

    def cover(self, through: Round, until_s: float, besides: int) -> bool:
        """See `Exits`."""
        del besides
        (self._pins / FILTERS).mkdir(exist_ok=True)  # first: who removes the instance looks for them then
        with pinned_program(self._pins, "on_frame") as program:
            return through.go_on(until_s, lambda index: put_filter(program, index, self._name))

    def held_for(self, scope: int) -> int:
        """Filters need none."""
        del scope
        return 0

    def withdraw(self) -> None:
        """See `Exits`."""
        if (self._pins / FILTERS).exists():
            remove_filters(self._name)


class NoExits:
    """Frames aren't stopped on this kernel: a limit, which is told once."""

    def cover(self, through: Round, until_s: float, besides: int) -> bool:
        """It can't, now or later."""
        del through, until_s, besides
        return True

    def held_for(self, scope: int) -> int:
        """It needs none."""
        del scope
        return 0

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
