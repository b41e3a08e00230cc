"""The network namespaces that an instance looks after: `on_frame` has to be on each of their interfaces."""

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
"""The descriptors that a network needs beside those for its interfaces: its own, and one for its news."""


class _Network(NamedTuple):
    """A network namespace that is looked after.

    The descriptors keep the namespace alive, so they are closed when no process needs it any more.
    """

    descriptor: int
    news: LinkNews
    found_at: Place
    who: Tampered
    """The event that reports a failure: it has the process by which the namespace was found."""
    round: InterfaceRound
    """The round through the namespace's interfaces."""

    def is_in_use(self, number: int) -> bool:
        """Whether the namespace is still found at `found_at`: the process is in it, or has the socket."""
        with suppress(OSError):
            return number_at(self.found_at) == number
        return False

    def close(self) -> None:
        self.news.close()
        os.close(self.descriptor)


class GuardedNamespaces:
    """The network namespaces that one instance looks after, by their inode numbers."""

    def __init__(self, exits: EgressAttachment, tell: Callable[[Tampered, int], object]) -> None:
        """`exits` puts the program on interfaces; `tell` reports a network in which frames aren't stopped.

        `tell` gets an event with the process by which the network was found, and the errno.
        """
        self._exits, self._tell = exits, tell
        self._networks: dict[int, _Network] = {}
        self._failed: set[int] = set()
        """The namespaces in which frames can't be stopped; each was reported."""
        self._uncovered: dict[int, float] = {}
        """The namespaces where an interface may lack the program, each with the time when that began;
        _TOLD once it was reported."""

    def __contains__(self, number: int) -> bool:
        """Whether the namespace `number` is looked after."""
        return number in self._networks

    def has_failed(self, number: int) -> bool:
        """Whether it was reported that frames can't be stopped in the namespace `number`."""
        return number in self._failed

    @property
    def is_any_failed(self) -> bool:
        """Whether it was reported of any namespace that frames can't be stopped in it."""
        return bool(self._failed)

    @property
    def is_covering(self) -> bool:
        """Whether an interface still waits for its program; delays that were reported don't count."""
        return any(since_s != _TOLD for since_s in self._uncovered.values())

    def take_in(self, place: Place, who: Tampered, until_s: float) -> bool:
        """Look after the namespace at `place`, too; return whether it is new. Raises OSError when it is gone.

        Puts the program on its interfaces until `until_s` (monotonic), and at least on one. A namespace where
        that failed before is tried again, since descriptors may be free by now. A failure there isn't
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
            require_share(held + _DESCRIPTORS + 1)  # a namespace has `lo` at least
            news = inside(descriptor, LinkNews)  # before interfaces are listed, so that none is missed
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
        """Mark namespaces with changed interfaces (with `at_all`, all) for `cover`; return whether any is."""
        changed = [number for number, network in self._networks.items() if network.news.came() or at_all]
        for number in changed:
            self._networks[number].round.is_stale = True
            self._uncovered.setdefault(number, time.monotonic())
        return bool(changed)

    def cover(self, until_s: float) -> bool:
        """Go on putting the program on interfaces that lack it, until `until_s` (monotonic).

        Returns False if a namespace had to be given up.
        """
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
        """Return the namespaces that still have the process, or the socket, by which they were found."""
        return {number for number, network in self._networks.items() if network.is_in_use(number)}

    def keep_only(self, numbers: Collection[int], failed: Collection[int] = ()) -> None:
        """Stop looking after all namespaces but `numbers`; forget failures but in `numbers` and `failed`."""
        for number in self._networks.keys() - set(numbers):
            self._let_go(number)
        self._failed.intersection_update({*numbers, *failed})

    def _cover(self, number: int, until_s: float) -> None:
        """Put the program on interfaces of a namespace that lack it. Raises OSError where that fails."""
        network = self._networks[number]
        besides = self._held_by_networks(network.who.scope)
        if inside(network.descriptor, partial(self._exits.cover, network.round, until_s, besides)):
            self._uncovered.pop(number, None)
            return
        since_s = self._uncovered.pop(number, time.monotonic())
        if since_s != _TOLD and time.monotonic() - since_s > _LATE_S:
            since_s = _TOLD
            self._tell(network.who, errno.EINPROGRESS)
        self._uncovered[number] = since_s  # last in the order, so that the others get their turn

    def _held_by_networks(self, scope: int) -> int:
        """Count the descriptors for networks that `scope` led to, without those for interfaces."""
        return _DESCRIPTORS * sum(network.who.scope == scope for network in self._networks.values())

    def _let_go(self, number: int) -> None:
        self._uncovered.pop(number, None)
        self._networks.pop(number).close()
