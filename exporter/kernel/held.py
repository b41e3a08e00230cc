"""Whether an instance is still what was loaded: its programs attached, its pins in their places."""

from __future__ import annotations

import os
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path

from exporter.kernel.bpf import LinkInfo, detach_link, link_info, open_pinned

UNPINNED, DETACHED, REPLACED = "unpinned", "detached", "replaced"
"""What can become of pins, and of programs."""

LATER = "link_later_"
"""How the pins begin of links that come and go (exporter/kernel/frames.py); these aren't meant here."""
_CGROUP_LINK = 3  # enum bpf_link_type


class Held:
    """The links of an instance, held open: while this lives, no program goes because its pin is removed."""

    def __init__(self, directory: Path, unpinned: Mapping[str, int]) -> None:
        """Of what is pinned in `directory`, and `unpinned` by their programs' names. Raises OSError."""
        self._directory = directory
        self._pins = _inodes(directory)
        self._held = dict(unpinned)
        for name in sorted(self._pins):
            if name.startswith("link_"):
                self._held[name.removeprefix("link_")] = open_pinned(directory / name)
        self._programs = {name: link_info(link).program_id for name, link in self._held.items()}

    def lost(self) -> Mapping[str, frozenset[str]]:
        """Names of pins and programs that aren't what they were, by what became of them."""
        pins, links = self._pins_now(), {name: link_info(link) for name, link in self._held.items()}
        detached = {name for name, link in links.items() if not _is_attached(link)}
        replaced = {name for name, link in links.items() if link.program_id != self._programs[name]}
        unpinned = {name for name, inode in self._pins.items() if pins.get(name) != inode}
        found = {UNPINNED: unpinned, DETACHED: detached, REPLACED: replaced - detached}
        return {what: frozenset(names) for what, names in found.items()}

    def _pins_now(self) -> Mapping[str, int]:
        """Those of the beginning where they can't be read, as without a free descriptor."""
        try:
            return _inodes(self._directory)
        except FileNotFoundError:
            return {}
        except OSError:
            return self._pins

    def detach(self) -> None:
        """Detach all of them at once, whoever else holds them."""
        for link in self._held.values():
            with suppress(OSError):
                detach_link(link)
        self.close()

    def close(self) -> None:
        """Let go of them; pins keep them attached."""
        while self._held:
            os.close(self._held.popitem()[1])


def _is_attached(link: LinkInfo) -> bool:
    """Links of other kinds can't be detached while somebody holds them."""
    return link.type != _CGROUP_LINK or link.anchor != 0


def _inodes(directory: Path) -> dict[str, int]:
    """Of all that is pinned there, by name; others for what was put in another's place. Raises OSError."""
    with os.scandir(directory) as entries:
        return {entry.name: entry.inode() for entry in entries if not entry.name.startswith(LATER)}
