"""The network namespaces that an instance looks after: in each, the program has to be on every interface."""

from __future__ import annotations

import errno
import os
import time
from collections.abc import Callable, Collection
from contextlib import suppress
from functools import partial
from typing import NamedTuple

from exporter.events.facts import Tampered

from .interface_egress import EgressAttachment, InterfaceRound
from .network_namespaces import LinkNews, Place, inside, number_at, opened
from .spare_descriptors import require_share, require_spare

_LATE_S = 1.0
_TOLD = float("inf")
_DESCRIPTORS = 2
"""The descriptors that a network takes: its own and one for its news; its interfaces' come on top."""


class _Network(NamedTuple):
    """A network namespace that is looked after.

    The descriptors keep it alive, so they are closed when its processes are gone.
    """

    descriptor: int
    news: LinkNews
    found_at: Place
    who: Tampered
    """The process by which it was found, as it is reported."""
    round: InterfaceRound
    """The round through its interfaces."""

    def is_in_use(self, number: int) -> bool:
        """Whether it is still found where it was: the process is in it, or has the socket."""
        with suppress(OSError):
            return number_at(self.found_at) == number
        return False

    def close(self) -> None:
        self.news.close()
        os.close(self.descriptor)


class GuardedNamespaces:
    """The network namespaces that one instance looks after, by their inode numbers."""

    def __init__(self, exits: EgressAttachment, tell: Callable[[Tampered, int], object]) -> None:
        """`tell` is called with a process in whose network frames aren't stopped, and with the errno."""
        self._exits, self._tell = exits, tell
        self._networks: dict[int, _Network] = {}
        self._failed: set[int] = set()
        """The namespaces in which frames can't be stopped; each was reported."""
        self._uncovered: dict[int, float] = {}
        """The namespaces where an interface may lack the program, each with the time since when; _TOLD once
        it was reported."""

    def __contains__(self, number: int) -> bool:
        """Whether the namespace `number` is looked after."""
        return number in self._networks

    def has_failed(self, number: int) -> bool:
        """Whether it was reported that frames can't be stopped in the namespace `number`."""
        return number in self._failed

    @property
    def is_any_failed(self) -> bool:
        """Whether there is a namespace of which it was reported that frames can't be stopped."""
        return bool(self._failed)

    @property
    def is_covering(self) -> bool:
        """Whether an interface still waits for its program; delays that were reported don't count."""
        return any(since_s != _TOLD for since_s in self._uncovered.values())

    def take_in(self, place: Place, who: Tampered, until_s: float) -> bool:
        """Look after the namespace at `place`, too; return whether it is new. Raises OSError when it is gone.

        By `until_s` (monotonic) as many interfaces as possible have the program, and one of them in any case.
        A namespace where that failed before is tried again, since descriptors may be free by now, but not
        reported again.
        """
        descriptor = opened(place)
        number = os.fstat(descriptor).st_ino
        if number in self._networks:
            os.close(descriptor)
            return False
        try:
            require_spare(descriptor)
            held = self._held_by_networks(who.scope) + self._exits.held_for(who.scope)
            require_share(held + _DESCRIPTORS + 1)  # it has `lo` at least
            news = inside(descriptor, LinkNews)  # first: no interface may come between
        except OSError as error:
            os.close(descriptor)
            self.fail(number, who, error)
            return False
        self._networks[number] = _Network(descriptor, news, place, who, InterfaceRound(who.scope))
        try:
            self._cover(number, until_s)
        except OSError as error:
            self._let_go(number)
            self.fail(number, who, error)
            return False
        return True

    def look_again(self, *, at_all: bool = False) -> bool:
        """Note namespaces with changed interfaces, or with `at_all` all; return whether there is any."""
        changed = [number for number, network in self._networks.items() if network.news.came() or at_all]
        for number in changed:
            self._networks[number].round.is_stale = True
            self._uncovered.setdefault(number, time.monotonic())
        return bool(changed)

    def cover(self, until_s: float) -> bool:
        """Go on in namespaces that have interfaces without the program; return whether none was given up."""
        before = len(self._networks)
        for number in list(self._uncovered):
            try:
                self._cover(number, until_s)
            except OSError:
                self._let_go(number)
            if time.monotonic() >= until_s:
                break
        return len(self._networks) == before

    def fail(self, number: int, who: Tampered, error: OSError) -> None:
        """Note, and report once, that frames can't be stopped in the namespace `number`."""
        if number not in self._failed:
            self._failed.add(number)
            self._tell(who, error.errno or 0)

    def in_use(self) -> set[int]:
        """Return the namespaces that are still found where they were."""
        return {number for number, network in self._networks.items() if network.is_in_use(number)}

    def keep_only(self, numbers: Collection[int], failed: Collection[int] = ()) -> None:
        """Let go of all namespaces but `numbers`; forget failures but those of `numbers` and `failed`."""
        for number in self._networks.keys() - set(numbers):
            self._let_go(number)
        self._failed.intersection_update({*numbers, *failed})

    def _cover(self, number: int, until_s: float) -> None:
        """Put the program on interfaces without it. Raises OSError where the kernel can't do that."""
        network = self._networks[number]
        besides = self._held_by_networks(network.who.scope)
        if inside(network.descriptor, partial(self._exits.cover, network.round, until_s, besides)):
            self._uncovered.pop(number, None)
            return
        since_s = self._uncovered.pop(number, time.monotonic())
        if since_s != _TOLD and time.monotonic() - since_s > _LATE_S:
            since_s = _TOLD
            self._tell(network.who, errno.EINPROGRESS)
        self._uncovered[number] = since_s  # behind the others

    def _held_by_networks(self, scope: int) -> int:
        """Count the descriptors of networks found by processes of `scope`, without those of interfaces."""
        return _DESCRIPTORS * sum(network.who.scope == scope for network in self._networks.values())

    def _let_go(self, number: int) -> None:
        self._uncovered.pop(number, None)
        self._networks.pop(number).close()
