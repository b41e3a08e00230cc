"""The names that /etc/hosts gives to addresses. Its text is untrusted: only valid host names are taken."""

from __future__ import annotations

import ipaddress
import os
import stat
from collections import defaultdict
from collections.abc import Callable, Iterator
from pathlib import Path

from .addresses import MAPPED
from .dns_messages import is_host_name

PATH = Path("/etc/hosts")

_SIZE_MAX = 1 << 20
_LINES_MAX = 20_000
_INTERVAL_NS = 1_000_000_000

HostName = Callable[[bytes, int], str | None]
"""Function from a peer (16 bytes) and a time in nanoseconds since boot to the host's own name for it."""

_Version = tuple[int, int, int, int]
"""Device, inode, mtime in nanoseconds, size."""


class HostsFile:
    """The hosts file as it is now: checked again after a second, and read again when it has changed."""

    def __init__(self, path: Path = PATH) -> None:
        """Read nothing yet: `name_of` reads the file when the first name is asked for."""
        self._path = path
        self._version: _Version | None = None
        self._looked_ns: int | None = None
        self._names: dict[bytes, str] = {}

    def name_of(self, peer: bytes, at_ns: int) -> str | None:
        """Return the first name on the first line for `peer` (16 bytes); None if there is no such line.

        The loopback has no name. `at_ns` is the time now, by any clock in nanoseconds that never stops; it
        shows how old the last check is.
        """
        if self._looked_ns is None or abs(at_ns - self._looked_ns) >= _INTERVAL_NS:
            self._looked_ns = at_ns
            self._look()
        return self._names.get(peer)

    def _look(self) -> None:
        try:
            descriptor = os.open(self._path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
        except OSError:
            self._version, self._names = None, {}
            return
        try:
            status = os.fstat(descriptor)
            version = (status.st_dev, status.st_ino, status.st_mtime_ns, status.st_size)
            if version != self._version and stat.S_ISREG(status.st_mode):
                self._version, self._names = version, parse_hosts(os.read(descriptor, _SIZE_MAX))
        finally:
            os.close(descriptor)


def parse_hosts(text: bytes) -> dict[bytes, str]:
    """Return the first name of each address; of an address on several lines, the first line's."""
    names: dict[bytes, str] = {}
    for peer, (first, *_) in _lines(text):
        if is_host_name(first):
            names.setdefault(peer, first)
    return names


def all_names(path: Path = PATH) -> dict[bytes, set[str]]:
    """Return all names of each address (16 bytes), except the loopback's; none when `path` can't be read."""
    try:
        with path.open("rb") as file:
            text = file.read(_SIZE_MAX)
    except OSError:
        return {}
    names: defaultdict[bytes, set[str]] = defaultdict(set)
    for peer, told in _lines(text):
        names[peer].update(filter(is_host_name, told))
    return names


def _lines(text: bytes) -> Iterator[tuple[bytes, list[str]]]:
    """Yield addresses with the words behind them, at least one, in lower case."""
    for line in text.split(b"\n", _LINES_MAX)[:_LINES_MAX]:
        fields = line.partition(b"#")[0].decode("ascii", errors="replace").lower().split()
        if len(fields) > 1 and (peer := _packed(fields[0])):
            yield peer, fields[1:]


def _packed(text: str) -> bytes | None:
    """Convert an address to 16 bytes; None for other text, and for an address of this host's loopback."""
    try:
        parsed = ipaddress.ip_address(text)
    except ValueError:
        return None
    if isinstance(parsed, ipaddress.IPv6Address):
        if parsed.scope_id or parsed.is_loopback or parsed.is_unspecified:
            return None
        parsed = parsed.ipv4_mapped or parsed
    if parsed.is_loopback or parsed.is_unspecified:
        return None
    return parsed.packed if isinstance(parsed, ipaddress.IPv6Address) else MAPPED + parsed.packed
