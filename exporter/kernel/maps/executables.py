"""The executables that policies name, as the kernel's programs look for them at each exec."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable, Iterable
from dataclasses import replace
from pathlib import Path
from typing import NamedTuple

from exporter.common.descriptors import closing_fd
from exporter.common.errors import KernelError
from exporter.events import wire
from exporter.kernel.bpf import U32, Map
from exporter.kernel.mounts import MOUNTINFO, devices
from exporter.policy.compile import Compiled
from exporter.policy.entries import EXECUTABLES_MAX
from exporter.policy.executables import find

_MINOR_BITS = 20
"""The bits of a device's minor number in the kernel's dev_t."""
_NS = 1_000_000_000


class Inode(NamedTuple):
    """A file's identity, whatever its path, as it is compared at an exec."""

    device: int
    """The number of the file system's device, as in `super_block.s_dev`."""
    number: int
    ctime_ns: int
    """When the file was last changed in any way, in ns since the epoch: nobody can set that back."""

    @property
    def ctime(self) -> tuple[int, int]:
        """The time of the last change, in seconds and nanoseconds."""
        return divmod(self.ctime_ns, _NS)


def inode_at(path: Path) -> Inode | None:
    """Identify the file at `path`, following links; None where there is none, or it can't be identified.

    Neither device nor number are taken from stat(2), which gives another device on Btrfs and overlayfs.
    """
    try:
        # O_PATH needs no right to read the file.
        with closing_fd(os.open(path, os.O_PATH | os.O_CLOEXEC)) as descriptor:
            status = os.fstat(descriptor)
            shown = Path(f"/proc/self/fdinfo/{descriptor}").read_text()
        fields = dict(line.split(":", 1) for line in shown.splitlines() if ":" in line)
        device = devices(MOUNTINFO).get(int(fields["mnt_id"]))
    except (OSError, KernelError):
        return None
    if device is None:
        return None
    kernel_device = os.major(device) << _MINOR_BITS | os.minor(device)
    return Inode(kernel_device, int(fields["ino"]), status.st_ctime_ns)


class Executables:
    """The bits of executables in the mask of each process, which inherits it and may get a bit at each exec.

    An executable has the same bit in all policies, and no bit is given to two. So the mask of a process stays
    true when its job's policy changes, or its exporter. A file counts as long as it hasn't changed since a
    policy first named it.
    """

    def __init__(self, exe_bits: Map, exe_names: Map) -> None:
        """Read the executables that the maps have: an exporter that ended may have named some."""
        self._map, self._names = exe_bits, exe_names
        self._bits: dict[str, int] = {}
        self._given = {key: U32.unpack(value)[0] for key, value in exe_names.items()}
        self._masks = dict(_entry(key, value) for key, value in exe_bits.items())

    def __len__(self) -> int:
        """Return how many executables were ever named."""
        return len(self._given)

    def name(self, executables: Iterable[str]) -> None:
        """Make the kernel recognise `executables`, names and paths, from the next exec on.

        Raises KernelError when there are too many, or a file can't be identified, and OSError when a map is
        full.
        """
        for executable in executables:
            if executable in self._bits:
                continue
            key = wire.EXE_NAME_KEY.pack(hashlib.sha256(os.fsencode(executable)).digest())
            bit = self._given.get(key, len(self._given))
            if bit == EXECUTABLES_MAX:
                raise _too_many()
            if key not in self._given:
                self._names.update(key, U32.pack(bit))  # first: no other executable may get this bit
                self._given[key] = bit
            self._look_for(executable, 1 << bit)
            self._bits[executable] = bit

    def renumbered(self, policy: Compiled) -> Compiled:
        """Return `policy` with the bits that this instance has for its executables, as in `held` of events.

        Also calls `name` for the executables, and raises its errors.
        """
        self.name(policy.executables)
        bits = {executable: self._bits[executable] for executable in policy.executables}
        if bits == policy.executables:
            return policy
        needed = _translation(policy.executables, bits)
        return replace(
            policy,
            executables=bits,
            addresses={key: c._replace(needed=needed(c.needed)) for key, c in policy.addresses.items()},
            alternatives=tuple(c._replace(needed=needed(c.needed)) for c in policy.alternatives),
            ports={key: step._replace(needed=needed(step.needed)) for key, step in policy.ports.items()},
            named=replace(policy.named, needed=tuple(map(needed, policy.named.needed))),
        )

    def look_again(self) -> None:
        """Find the files of the executables again: those installed, updated or changed meanwhile count, too.

        Raises KernelError and OSError.
        """
        now: dict[Inode, int] = {}
        for executable, bit in self._bits.items():
            for inode in _files_of(executable):
                now[inode] = now.get(inode, 0) | 1 << bit
        before = self._masks
        self._masks = before | now  # until this is done, the map may have any of these files
        for inode in now:  # once all bits are known: no file has fewer in between
            self._write(inode)
        for key in {_key(inode) for inode in before} - {_key(inode) for inode in now}:
            self._map.delete(key)
        self._masks = now

    def _look_for(self, executable: str, bit: int) -> None:
        for inode in _files_of(executable):
            # A file that was changed since another policy named it counts for this executable alone.
            self._masks[inode] = self._masks.get(inode, 0) | bit
            self._write(inode)

    def _write(self, inode: Inode) -> None:
        self._map.update(_key(inode), wire.EXE_VALUE.pack(self._masks[inode], *inode.ctime))


def _files_of(executable: str) -> list[Inode]:
    """Find the files that count as `executable`. Raises KernelError."""
    found = []
    for path in find(executable).files:
        inode = inode_at(path)
        if inode is None:
            what = f"cannot tell which file {path} is"
            raise KernelError(what, hint=f"see that {MOUNTINFO} shows its mount")
        found.append(inode)
    return found


def _entry(key: bytes, value: bytes) -> tuple[Inode, int]:
    file = wire.ExeKey.unpack(key)
    known = wire.ExeValue.unpack(value)
    return Inode(file.device, file.inode, known.ctime_sec * _NS + known.ctime_nsec), known.bits


def _translation(before: dict[str, int], after: dict[str, int]) -> Callable[[int], int]:
    """Return a function that translates masks from the bits in `before` to the bits in `after`."""
    pairs = [(1 << bit, 1 << after[executable]) for executable, bit in before.items()]

    def translate(mask: int) -> int:
        return sum(new for old, new in pairs if mask & old)

    return translate


def _key(inode: Inode) -> bytes:
    return wire.EXE_KEY.pack(inode.number, inode.device)


def _too_many() -> KernelError:
    what = f"more than {EXECUTABLES_MAX} executables in `lineage`, over all policies since the start"
    return KernelError(what, hint="name fewer; after a change of the policy, start again")
