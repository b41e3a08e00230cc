"""The Unix sockets that policies name, as the kernel's programs know them: by file, and by bound name."""

from __future__ import annotations

import errno
import os
from collections.abc import Iterable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import NamedTuple

from exporter.common.errors import KernelError
from exporter.common.net.unix_sockets import bound_names, digest, name_of
from exporter.events import wire
from exporter.kernel.bpf import Map
from exporter.policy.executables import followed
from exporter.policy.model import ANY_SOCKET, Rule, SocketName

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
_OF_NO_POLICY = 0


class NamedSockets:
    """The map `named_sockets`: which sockets the kernel takes for one that a rule names.

    A socket is known by its file, whatever path leads there in whatever mount namespace; and by the name that
    its owner bound it to, until its new file has been seen when it was made anew. A file counts only where
    nobody but root can put another one in its place.
    """

    def __init__(self, table: Map) -> None:
        """Read the sockets that the map has: an exporter that ended may have named some."""
        self._map = table
        self._there = dict(table.items())
        self._named = {_OF_NO_POLICY: frozenset(USUAL)}
        self._files = _Files()
        with suppress(OSError):  # `look_again` will do it
            self._write(_entries(USUAL, self._files))

    def name(self, policy: int, rules: Iterable[Rule]) -> None:
        """Make the kernel recognise the sockets in the `rules` of the policy with the number `policy`.

        Raises KernelError when there are too many.
        """
        hosts = (rule.host for rule in rules)
        names = frozenset(
            host.text for host in hosts if isinstance(host, SocketName) and host.text != ANY_SOCKET
        )
        if len(names.union(*self._named.values()).difference(USUAL)) > SOCKETS_MAX:
            what = f"more than {SOCKETS_MAX} Unix sockets, over all policies"
            raise KernelError(what, hint="name fewer; unix://* is all of them")
        try:
            self._write(_entries(names, self._files))
        except OSError as error:
            what = f"cannot write the policy's Unix sockets into the kernel: {error.strerror}"
            raise KernelError(what, hint="name fewer") from None
        self._named[policy] = names

    def forget(self, policy: int) -> None:
        """Forget the sockets of a policy; `look_again` removes those that no other policy names."""
        self._named.pop(policy, None)

    def look_again(self) -> None:
        """Find the files of the sockets again: a server that starts anew makes a new file.

        Raises OSError when a file can't be looked at; then the map still has what it had.
        """
        now = dict(_entries(frozenset().union(*self._named.values()), self._files))
        self._write(now.items())
        for key in self._there.keys() - now.keys():
            self._map.delete(key)
            del self._there[key]

    def _write(self, entries: Iterable[tuple[bytes, bytes]]) -> None:
        for key, value in entries:
            if self._there.get(key) != value:
                self._map.update(key, value)
                self._there[key] = value


class _File(NamedTuple):
    """The file of a socket, without links in its path."""

    path: Path
    inode: Inode


class _Files:
    """The files of sockets; each is identified anew only when another one is in its place."""

    def __init__(self) -> None:
        self._known: dict[str, tuple[tuple[int, ...], _File | None]] = {}

    def of(self, name: str) -> _File | None:
        """Find the file of a socket; None where there is none, or where not only root may change it.

        Raises OSError when it can't be found out.
        """
        if not name.startswith("/"):
            return None
        try:
            status = Path(name).stat()
        except (FileNotFoundError, NotADirectoryError):
            self._known.pop(name, None)
            return None
        mark = (status.st_dev, status.st_ino, status.st_ctime_ns)
        known = self._known.get(name)
        if known is None or known[0] != mark:
            known = self._known[name] = (mark, _identified(Path(name)))
        return known[1]


def _identified(path: Path) -> _File | None:
    file = followed(path)
    if file is None:
        return None
    inode = inode_at(file)
    if inode is None:
        raise OSError(errno.EIO, os.strerror(errno.EIO), str(file))
    return _File(file, inode)


def _entries(names: Iterable[str], files: _Files) -> Iterator[tuple[bytes, bytes]]:
    """Yield keys and values. A later entry replaces an earlier one with the same key. Raises OSError.

    Where two names lead to one file, it is the one that comes first in the alphabet.
    """
    for name in sorted(names, reverse=True):
        value = digest(name_of(name))
        file = files.of(name)
        for alias in bound_names(name) | (bound_names(str(file.path)) if file else set()):
            yield _by_name(digest(name_of(alias))), value
        if file is not None:
            yield wire.SOCKET_KEY.pack(file.inode.number, file.inode.device, 1), value
    for name in names:
        yield _by_name(digest(name_of(name))), digest(name_of(name))


def _by_name(digested: bytes) -> bytes:
    half = len(digested) // 2
    first, other = (int.from_bytes(part, "little") for part in (digested[:half], digested[half:]))
    return wire.SOCKET_KEY.pack(first, other, 0)
