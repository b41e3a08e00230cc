"""Links that come and go while a policy is enforced, each of which is pinned before it denies anything.

A program runs as soon as it is attached, and only then can its link be pinned. At an interface the kernel
waits for tens of milliseconds in between; if the exporter were killed then, what was denied already would be
allowed again. So a program that lets everything pass is attached and pinned, and then replaced, in one step,
by the one that denies.
"""

from __future__ import annotations

import errno
import os
from collections.abc import Callable
from contextlib import AbstractContextManager, suppress
from pathlib import Path

from exporter.common.descriptors import closing_fd
from exporter.kernel.bpf import detach_link, link_info, open_pinned, program_id
from exporter.kernel.programs.attachment import LATER
from exporter.kernel.programs.objects import pin, replace_program

from .spare_descriptors import require_spare

UNTIL_PINNED = {"on_frame": "idle_frame", "on_setsockopt": "idle_setsockopt"}
"""For each program that denies, the idle one that is attached in its place until the link is pinned.

The link's name begins with the name of the one that denies.
"""
_INDEX = 0xFFFFFFFF


class LateLinks:
    """The links of one instance that come and go, held open: each stays when its pin is removed."""

    def __init__(self, pins: Path, *, outlives: bool) -> None:
        """`pins` is the instance's directory; with `outlives` the links stay when this process ends."""
        self._pins, self._outlives = pins, outlives
        self._links: dict[str, int] = {}
        self.find()

    def close(self) -> None:
        """Close the links; pins keep them attached."""
        while self._links:
            os.close(self._links.popitem()[1])

    def __contains__(self, name: str) -> bool:
        """Whether there is a link called `name`."""
        return name in self._links

    def __len__(self) -> int:
        """Return how many links there are."""
        return len(self._links)

    def number_of(self, beginning: str) -> int:
        """Count the links whose names begin with `beginning`, whoever attached them."""
        return sum(name.startswith(beginning) for name in self._links)

    def find(self) -> None:
        """Open the links that others pinned, too: an earlier exporter, or `ci-egress enforce`."""
        for path in self._pins.glob(f"{LATER}*"):
            name = path.name.removeprefix(LATER)
            if name not in self._links:
                with suppress(OSError):  # it was removed meanwhile, or isn't one of ours
                    self._links[name] = open_pinned(path)
                    self._let_deny(name)  # whoever pinned it may have been killed before doing this

    def attach(self, program: str, attach: Callable[[int], int], suffix: str = "") -> None:
        """Attach `program` by `attach`, which gets a program's descriptor and returns the link's.

        The link is called `program` with `suffix`. Raises OSError.
        """
        name = program + suffix
        with pinned_program(self._pins, UNTIL_PINNED[program]) as idle:
            require_spare(idle)
            self._links[name] = attach(idle)
        try:
            if self._outlives:
                pin(self._links[name], self._pins / f"{LATER}{name}")
        finally:
            self._let_deny(name)

    def detach_one(self) -> None:
        """Detach one of the links at once; that takes the kernel tens of milliseconds."""
        self._detach(next(iter(self._links)))

    def detach_all(self) -> None:
        """Detach every link at once, whoever holds it."""
        for name in list(self._links):
            self._detach(name)

    def forget_gone(self) -> bool:
        """Close the links that aren't attached to anything any more; return whether there were any."""
        gone = [name for name, link in self._links.items() if link_info(link).anchor & _INDEX == 0]
        for name in gone:
            self._forget(name)
        return bool(gone)

    def unpinned(self) -> frozenset[str]:
        """Return the names of pins that somebody else removed."""
        if not self._outlives:
            return frozenset()
        pins = (f"{LATER}{name}" for name in self._links)
        return frozenset(name for name in pins if not (self._pins / name).exists())

    def _let_deny(self, name: str) -> None:
        program = next((each for each in UNTIL_PINNED if name.startswith(each)), None)
        if program is None:
            return  # somebody else's
        link = self._links[name]
        with pinned_program(self._pins, program) as denying:
            wanted = program_id(denying)
            if link_info(link).program_id == wanted:
                return
            try:
                replace_program(link, denying)
            except OSError as error:
                if error.errno != errno.EEXIST:
                    raise
                if link_info(link).program_id != wanted:
                    self._detach(name)  # another process was quicker, with a link of its own

    def _detach(self, name: str) -> None:
        with suppress(OSError):
            detach_link(self._links[name])
        self._forget(name)

    def _forget(self, name: str) -> None:
        os.close(self._links.pop(name))
        (self._pins / f"{LATER}{name}").unlink(missing_ok=True)


def pinned_program(pins: Path, name: str) -> AbstractContextManager[int]:
    """Open the program `name`, which is pinned in `pins` until it is needed. Raises OSError."""
    return closing_fd(open_pinned(pins / f"prog_{name}"))
