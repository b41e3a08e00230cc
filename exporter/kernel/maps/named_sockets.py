"""The Unix sockets that policies name, as the kernel's programs know them: by file, and by bound name."""

from __future__ import annotations

import errno
import os
from collections import Counter, deque
from collections.abc import Collection, Iterable, Mapping
from contextlib import suppress
from pathlib import Path
from typing import NamedTuple

from exporter.common.errors import KernelError
from exporter.common.net.unix_sockets import bound_names, digest, name_of, plain_name
from exporter.events import wire
from exporter.kernel.bpf import Map
from exporter.policy.executables import followed
from exporter.policy.model import ANY_SOCKET, Effect, Rule, SocketName

from .executables import Inode, inode_at

SOCKETS_MAX = 128
"""The most Unix sockets that all policies name, besides USUAL: each may take several entries of the map."""
USUAL = (
    *("/run/docker.sock", "/run/containerd/containerd.sock", "/run/podman/podman.sock"),
    *("/run/crio/crio.sock", "/run/buildkit/buildkitd.sock"),
    *("/run/dbus/system_bus_socket", "/run/systemd/private"),
    *("/run/libvirt/libvirt-sock", "/run/snapd.socket", "/var/lib/lxd/unix.socket"),
    *("/var/lib/incus/unix.socket", "/run/incus/unix.socket"),
)
"""The sockets that are known without any policy, as their owners document them: of container engines, of
machine managers, and of the system's services. Whoever may use one gets nearly anything done."""
FILES_MAX = 4
"""The most files of one name that are known at once."""


class _Names(NamedTuple):
    """The sockets that the rules of a policy name."""

    allowed: frozenset[str] = frozenset()
    denied: frozenset[str] = frozenset()


class NamedSockets:
    """The map `named_sockets`: which sockets the kernel takes for one that a rule names.

    A socket is known by the name that its owner bound it to. One that is denied is also known by its file,
    whatever path leads there in whatever mount namespace; it stays known when the path leads elsewhere, since
    a job that runs as root can bring that about. For the same reason no file makes a socket an allowed one.
    """

    def __init__(self, table: Map) -> None:
        """Read the sockets that the map has: an exporter that ended may have named some."""
        self._map = table
        self._there = dict(table.items())
        self._named = dict[int, _Names]()
        self._files = _Files()
        # What is there may be a denial of a job that runs: it stays until its policy is written again.
        self._write({key: value for key, value in self._entries().items() if key not in self._there})

    def name(self, policy: int, rules: Iterable[Rule]) -> None:
        """Make the kernel recognise the sockets in the `rules` of the policy with the number `policy`.

        Raises KernelError when there are too many.
        """
        self._named[policy] = _names_in(rules)
        if len(self._all().difference(USUAL)) > SOCKETS_MAX:
            del self._named[policy]
            what = f"more than {SOCKETS_MAX} Unix sockets, over all policies"
            raise KernelError(what, hint="name fewer; unix://* is all of them")
        try:
            self._write(self._entries())
        except OSError as error:
            del self._named[policy]
            what = f"cannot write the policy's Unix sockets into the kernel: {error.strerror}"
            raise KernelError(what, hint="name fewer") from None

    def forget(self, policy: int) -> None:
        """Forget the sockets of a policy; `look_again` removes those that no other policy names."""
        self._named.pop(policy, None)

    def look_again(self) -> None:
        """Find the files of the sockets again: a server that starts anew makes a new file. Raises OSError."""
        now = self._entries()
        self._write(now)
        for key in self._there.keys() - now.keys():
            self._map.delete(key)
            del self._there[key]

    def _write(self, entries: Mapping[bytes, bytes]) -> None:
        for key, value in entries.items():
            if self._there.get(key) != value:
                self._map.update(key, value)
                self._there[key] = value

    def _all(self) -> frozenset[str]:
        return frozenset(USUAL).union(*(names.allowed | names.denied for names in self._named.values()))

    def _entries(self) -> dict[bytes, bytes]:
        """Return keys and values; a file has the names that are denied, up to FILE_NAMES_MAX."""
        allowed = frozenset[str]().union(*(names.allowed for names in self._named.values()))
        denied = frozenset[str]().union(*(names.denied for names in self._named.values()))
        by_file = denied | (frozenset(USUAL) - allowed)
        self._files.keep(by_file)
        entries, numbers = dict[bytes, bytes](), Counter[Inode]()
        for name in sorted(self._all(), key=lambda each: (each not in denied, each)):
            value, files = digest(name_of(name)), self._files.of(name) if name in by_file else []
            for file in files:
                numbers[file.inode] += 1
                if numbers[file.inode] <= wire.FILE_NAMES_MAX:
                    where = (file.inode.number, file.inode.device, numbers[file.inode])
                    entries[wire.SOCKET_KEY.pack(*where)] = value
            for each in (name, *(str(file.path) for file in files)):
                entries |= {_by_name(digest(name_of(alias))): value for alias in bound_names(each)}
        own = {name: digest(name_of(name)) for name in self._all()}
        return entries | {_by_name(value): value for value in own.values()}


def _names_in(rules: Iterable[Rule]) -> _Names:
    named: dict[Effect, set[str]] = {Effect.ALLOW: set(), Effect.DENY: set()}
    for rule in rules:
        if isinstance(rule.host, SocketName) and rule.host.text != ANY_SOCKET:
            named[rule.effect].add(plain_name(rule.host.text))
    return _Names(frozenset(named[Effect.ALLOW]), frozenset(named[Effect.DENY]))


class _File(NamedTuple):
    """The file of a socket, without links in its path."""

    path: Path
    inode: Inode


class _Files:
    """The files of sockets, each identified when it is found in its place for the first time."""

    def __init__(self) -> None:
        self._latest: dict[str, tuple[int, ...]] = {}
        self._known: dict[str, deque[_File]] = {}

    def keep(self, names: Collection[str]) -> None:
        """Forget the files of all other names."""
        for name in self._known.keys() - names:
            del self._known[name]
            self._latest.pop(name, None)

    def of(self, name: str) -> list[_File]:
        """Return the file of a socket, and its last ones; of those that nobody but root put there."""
        known = self._known.setdefault(name, deque(maxlen=FILES_MAX))
        if name.startswith("/"):
            with suppress(OSError):  # there is none, or it is looked for again in a second
                status = Path(name).stat()
                mark = (status.st_dev, status.st_ino, status.st_ctime_ns)
                if self._latest.get(name) != mark:
                    file = _identified(Path(name))
                    if file is not None and file not in known:
                        known.append(file)
                    self._latest[name] = mark
        return list(known)


def _identified(path: Path) -> _File | None:
    """Identify the file at `path`; None where somebody else than root may put another one there.

    Raises OSError.
    """
    file = followed(path)
    if file is None:
        return None
    inode = inode_at(file)
    if inode is None:
        raise OSError(errno.EIO, os.strerror(errno.EIO), str(file))
    return _File(file, inode._replace(ctime_ns=0))


def _by_name(digested: bytes) -> bytes:
    half = len(digested) // 2
    first, other = (int.from_bytes(part, "little") for part in (digested[:half], digested[half:]))
    return wire.SOCKET_KEY.pack(first, other, 0)
