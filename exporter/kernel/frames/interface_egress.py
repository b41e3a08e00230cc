"""Attach a program to the egress of interfaces, by the method that the kernel has."""

from __future__ import annotations

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
from exporter.kernel.libc import LIBC
from exporter.kernel.programs.objects import attach_to_interface, programs_at_interface

from .clsact import FILTERS, filter_name, has_clsact, put_filter, remove_filters
from .late_links import LateLinks, pinned_program
from .spare_descriptors import require_share

_LOOPBACK = 1
_CLONE_NEWNET = 0x40000000
_IS_GONE = (errno.ENODEV, errno.ENOLINK)
_OTHERS_WITHIN_S, _OTHERS_LOOK_S = 2.0, 0.005
"""The seconds to wait while another process attaches the program (a tenth is enough), and between looks."""
AT_ONCE = 32
"""The number of interfaces between looks at the clock: one that isn't changed takes microseconds."""


class AttachMethod(Enum):
    """A way to attach programs to the egress of interfaces."""

    TCX = "tcx"
    """Links, since Linux 6.6."""
    CLSACT = "clsact"
    """Filters of the clsact qdisc."""
    NONE = "none"
    """Neither: the kernel was built without them, or its modules sch_ingress and cls_bpf aren't there."""


@dataclass
class InterfaceRound:
    """A round through the interfaces of one network namespace, which may be continued later."""

    scope: int
    """The scope whose process was found in the namespace."""
    is_stale: bool = True
    """Whether interfaces came, went or changed since they were listed: then another round follows."""
    _left: list[int] = field(default_factory=list, init=False)

    def go_on(self, until_s: float, cover: Callable[[int], bool]) -> bool:
        """Call `cover` for the interfaces that are left, the newest first; return whether none is left.

        `cover` gets an interface's index, and returns whether it changed anything there. This stops once
        `until_s` (monotonic) is over. It looks at the clock after each interface that was changed, and after
        every AT_ONCE interfaces. Raises OSError.
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
        """Call `cover` for the next interface; return whether it changed anything there.

        An interface that is gone counts as unchanged.
        """
        try:
            return cover(self._left.pop())
        except OSError as error:
            if error.errno not in _IS_GONE:
                raise
        return False


class EgressAttachment(Protocol):
    """A way to have one instance's program at the egress of interfaces."""

    def cover(self, through: InterfaceRound, until_s: float, besides: int) -> bool:
        """Put the program on every interface of this thread's namespace; return whether it is on all of them.

        `until_s` is as for `InterfaceRound.go_on`; `besides` is the number of descriptors for the networks of
        the scope, without those for interfaces. Raises OSError: EMFILE where the scope would have more than
        its share of descriptors.
        """

    def held_for(self, scope: int) -> int:
        """Return how many descriptors are kept for the interfaces in the networks of `scope`."""

    def withdraw(self) -> None:
        """Remove the program from all interfaces."""


class TcxAttachment:
    """The program attached by tcx links, ahead of all other programs.

    A link stays with an interface that moves to another namespace.
    """

    def __init__(self, pins: Path, links: LateLinks) -> None:
        """`links` has the links that were made before, and keeps those made now."""
        self._pins, self._links = pins, links

    def cover(self, through: InterfaceRound, until_s: float, besides: int) -> bool:
        """See `EgressAttachment`."""
        with pinned_program(self._pins, "on_frame") as descriptor:
            program = program_id(descriptor)
        cover = partial(self._cover_interface, program=program, scope=through.scope, besides=besides)
        return through.go_on(until_s, cover)

    def _cover_interface(self, index: int, *, program: int, scope: int, besides: int) -> bool:
        """Attach the program unless it is there; return whether it was missing. Raises OSError."""
        attach = partial(attach_to_interface, index=index)
        deadline_s = time.monotonic() + _OTHERS_WITHIN_S
        has_changed = False
        while program not in programs_at_interface(index):
            has_changed = True
            require_share(besides + self.held_for(scope) + 1)
            try:
                self._links.attach("on_frame", attach, f"_{scope}_{secrets.token_hex(8)}")
            except FileExistsError:
                # Another process has put the idle program there, and replaces it soon, unless it is killed.
                if time.monotonic() > deadline_s:
                    raise OSError(errno.EBUSY, os.strerror(errno.EBUSY)) from None
                time.sleep(_OTHERS_LOOK_S)
                self._links.find()
        return has_changed

    def held_for(self, scope: int) -> int:
        """Return the number of links: one for each interface, also in a network that was given up."""
        return self._links.number_of(f"on_frame_{scope}_")

    def withdraw(self) -> None:
        """Do nothing: `LateLinks.detach_all` detaches these links with the others."""


class ClsactAttachment:
    """The program attached by clsact filters, which stay until the instance is removed."""

    def __init__(self, pins: Path) -> None:
        """Make no filter yet."""
        self._pins, self._name = pins, filter_name(pins.name)

    def cover(self, through: InterfaceRound, until_s: float, besides: int) -> bool:
        """See `EgressAttachment`."""
        del besides
        (self._pins / FILTERS).mkdir(exist_ok=True)  # first: only where it is, others look for filters
        with pinned_program(self._pins, "on_frame") as program:
            return through.go_on(until_s, lambda index: put_filter(program, index, self._name))

    def held_for(self, scope: int) -> int:
        """Return 0: filters need no descriptors."""
        del scope
        return 0

    def withdraw(self) -> None:
        """See `EgressAttachment`."""
        if (self._pins / FILTERS).exists():
            remove_filters(self._name)


class NoExits:
    """No program at interfaces: frames can't be stopped on this kernel, a limit that is reported once."""

    def cover(self, through: InterfaceRound, until_s: float, besides: int) -> bool:
        """Return True: there is nothing to do, now or later."""
        del through, until_s, besides
        return True

    def held_for(self, scope: int) -> int:
        """Return 0: there is nothing that needs descriptors."""
        del scope
        return 0

    def withdraw(self) -> None:
        """Do nothing: there is no program."""


def exits(way: AttachMethod, pins: Path, links: LateLinks) -> EgressAttachment:
    """Return the attachment, by the method `way`, for the instance whose pins are in `pins`."""
    if way is AttachMethod.TCX:
        return TcxAttachment(pins, links)
    return ClsactAttachment(pins) if way is AttachMethod.CLSACT else NoExits()


@lru_cache(maxsize=1)
def way_here() -> AttachMethod:
    """Find out which method this kernel has."""
    try:
        programs_at_interface(_LOOPBACK)
    except OSError as error:
        if error.errno == errno.EINVAL:
            return AttachMethod.CLSACT if _has_filters() else AttachMethod.NONE
    return AttachMethod.TCX


def _has_filters() -> bool:
    """Whether filters work, tried in a namespace of a thread's own, where nobody else is.

    True as well where no namespace can be made.
    """

    def try_it() -> bool:
        if LIBC.unshare(_CLONE_NEWNET):
            return True
        return has_clsact(_LOOPBACK)

    with ThreadPoolExecutor(1, "network") as thread:
        return thread.submit(try_it).result()
