"""Check whether an instance is still as it was loaded: its programs attached, its pins in their places."""

from __future__ import annotations

import os
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path

from exporter.kernel.bpf import detach_link, link_info, misses, open_pinned

UNPINNED, DETACHED, REPLACED = "unpinned", "detached", "replaced"
"""The kinds of loss: of a pin, and (the last two) of a program."""

LATER = "link_later_"
"""The prefix of the pins of links that come and go (frames/late_links.py), which `HeldLinks` leaves out."""


class HeldLinks:
    """The links of an instance, held open: while this exists, no program goes when its pin is removed."""

    def __init__(self, directory: Path) -> None:
        """Open the links pinned in `directory`. Raises OSError."""
        self._directory = directory
        self._held = dict[str, int]()
        self._misses: Mapping[str, int] = {}
        self.hold({})

    def hold(self, unpinned: Mapping[str, int]) -> None:
        """Open the links that are pinned by now; `unpinned` has further ones, by program. Raises OSError."""
        self.close()
        self._pins = _inodes(self._directory)
        for name in sorted(self._pins):
            if name.startswith("link_"):
                self._held[name.removeprefix("link_")] = open_pinned(self._directory / name)
        self._held.update(unpinned)
        self._programs = {name: link_info(link).program_id for name, link in self._held.items()}

    @property
    def programs(self) -> frozenset[str]:
        """The names of the programs whose links are held."""
        return frozenset(self._held)

    def misses(self) -> Mapping[str, int]:
        """Return how often the kernel left out a program, by its name, for those that it did leave out.

        Once the links are closed, it is what it was when somebody last asked. A user who may not ask for
        programs (CAP_SYS_ADMIN) gets none.
        """
        if self._held:
            with suppress(OSError):
                self._misses = {name: misses(number) for name, number in self._programs.items()}
        return {name: times for name, times in self._misses.items() if times}

    def lost(self) -> Mapping[str, frozenset[str]]:
        """Return the names of pins and programs that have changed since `hold`, by the kind of their loss."""
        pins, links = self._pins_now(), {name: link_info(link) for name, link in self._held.items()}
        detached = {name for name, link in links.items() if not link.is_attached}
        replaced = {name for name, link in links.items() if link.program_id != self._programs[name]}
        unpinned = {name for name, inode in self._pins.items() if pins.get(name) != inode}
        found = {UNPINNED: unpinned, DETACHED: detached, REPLACED: replaced - detached}
        return {what: frozenset(names) for what, names in found.items()}

    def _pins_now(self) -> Mapping[str, int]:
        """Return the pins there are; those that `hold` saw if reading fails, as without a free descriptor."""
        try:
            return _inodes(self._directory)
        except FileNotFoundError:
            return {}
        except OSError:
            return self._pins

    def detach(self) -> None:
        """Detach all links at once, whoever else holds them."""
        self.misses()
        for link in self._held.values():
            with suppress(OSError):
                detach_link(link)
        self.close()

    def close(self) -> None:
        """Close the links; pins keep them attached."""
        while self._held:
            os.close(self._held.popitem()[1])


def _inodes(directory: Path) -> dict[str, int]:
    """Return the inode of each pin, by name: a pin that was replaced has another one. Raises OSError."""
    with os.scandir(directory) as entries:
        return {entry.name: entry.inode() for entry in entries if not entry.name.startswith(LATER)}
