"""The executables that policies name, as the kernel's programs look for them at each exec."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import replace
from pathlib import Path

from exporter import wire
from exporter.errors import KernelError
from exporter.kernel.bpf import Map
from exporter.kernel.files import Inode, inode_at
from exporter.kernel.mounts import MOUNTINFO
from exporter.policy.compile import Compiled
from exporter.policy.entries import EXECUTABLES_MAX
from exporter.policy.executables import find


class Executables:
    """Each one's bit, in the mask that a process inherits and adds to at each exec.

    Bits are the same in all policies, and none is given away twice: what a process holds stays true when its
    job's policy changes. A file counts as long as it is as it was when a policy first named it.
    """

    def __init__(self, exe_bits: Map) -> None:
        """No policy names any yet."""
        self._map = exe_bits
        self._bits: dict[str, int] = {}
        self._masks: dict[Inode, int] = {}

    def __len__(self) -> int:
        """How many are named."""
        return len(self._bits)

    def name(self, executables: Iterable[str]) -> None:
        """Have `executables`, names and paths, count from the next exec on.

        Raises KernelError when there are too many, or one can't be told, and OSError when the map is full.
        """
        for executable in executables:
            if executable in self._bits:
                continue
            if len(self._bits) == EXECUTABLES_MAX:
                raise _too_many()
            self._look_for(executable, 1 << len(self._bits))
            self._bits[executable] = len(self._bits)

    def renumbered(self, policy: Compiled) -> Compiled:
        """`policy` with the bits that its executables have here, as `held` of events has them.

        They count from now on. Raises as `name`.
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
        """Take the files as they are now: what was installed, updated or changed since counts.

        Raises KernelError and OSError.
        """
        before, self._masks = self._masks, {}
        for executable, bit in self._bits.items():
            self._look_for(executable, 1 << bit)
        now = {_key(inode) for inode in self._masks}
        for key in {_key(inode) for inode in before} - now:
            self._map.delete(key)

    def mask(self, executables: Iterable[str]) -> int:
        """What holds who has all of `executables` in its chain. Raises KeyError for what no policy names."""
        mask = 0
        for executable in executables:
            mask |= 1 << self._bits[executable]
        return mask

    def held_by(self, pids: Iterable[int]) -> int:
        """What holds whose chain, of its job, is `pids`: for one that was there before it was looked at.

        Goes by what /proc/PID/exe is; a process that is gone, or runs nothing that is named, adds nothing.
        """
        held = 0
        for pid in pids:
            inode = inode_at(Path(f"/proc/{pid}/exe"), Path(f"/proc/{pid}/mountinfo"))
            held |= self._masks.get(inode, 0) if inode else 0
        return held

    def _look_for(self, executable: str, bit: int) -> None:
        for path in find(executable).files:
            inode = inode_at(path, MOUNTINFO)
            if inode is None:
                what = f"cannot tell which file {path} is"
                raise KernelError(what, hint=f"see that {MOUNTINFO} shows its mount")
            # One that was changed since another policy named it counts for this one alone.
            self._masks[inode] = self._masks.get(inode, 0) | bit
            self._map.update(_key(inode), wire.EXE_VALUE.pack(self._masks[inode], *inode.ctime))


def _translation(before: dict[str, int], after: dict[str, int]) -> Callable[[int], int]:
    """Of masks, from the bits of some executables to others."""
    pairs = [(1 << bit, 1 << after[executable]) for executable, bit in before.items()]

    def translate(mask: int) -> int:
        return sum(new for old, new in pairs if mask & old)

    return translate


def _key(inode: Inode) -> bytes:
    return wire.EXE_KEY.pack(inode.number, inode.device)


def _too_many() -> KernelError:
    what = f"more than {EXECUTABLES_MAX} executables in `lineage`, over all policies since the start"
    return KernelError(what, hint="name fewer; after a change of the policy, start again")
