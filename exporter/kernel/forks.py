"""How many processes each scope has made: whether a walk through the table of processes can have missed any.

Processes come and go while the table is read. One that forks and exits again and again stands behind the
reader at one moment and is gone from before it at the next. So that none was met says little; that none was
made meanwhile besides says that there is none: the kernel counts a process when it is in the table, and its
creator is in it until then.
"""

from __future__ import annotations

import struct

from exporter.kernel.bpf import Map

_SCOPE = struct.Struct("=I")
_NUMBER = struct.Struct("=Q")


class Forks:
    """The kernel's counts."""

    def __init__(self, forks: Map) -> None:
        """`forks` may have counts: those of an exporter that ended go on."""
        self._map = forks

    def follow(self, scope: int) -> None:
        """Count those of `scope` from now on. Raises OSError (E2BIG) when there are too many scopes."""
        self._map.insert(_SCOPE.pack(scope), _NUMBER.pack(0))

    def made(self, scope: int) -> int:
        """How many there were since it is followed; that it is from now on, at the latest."""
        value = self._map.lookup(_SCOPE.pack(scope))
        if value is None:
            self.follow(scope)
            return 0
        return int(_NUMBER.unpack(value)[0])

    def forget(self, scope: int) -> None:
        """No process of `scope` is left."""
        self._map.delete(_SCOPE.pack(scope))
