"""How many processes each scope has made: whether a walk through the table of processes can have missed any.

Processes come and go while the table is read. One that forks and exits again and again can evade the reader:
the new process is entered behind the reader, and the old one is gone before the reader gets there. So finding
no process proves little. But if none was made meanwhile either, none is there: the kernel counts a new
process once its entry is in the table, and its creator's entry is there until then.
"""

from __future__ import annotations

from exporter.kernel.bpf import U32, U64, Map


class Forks:
    """The kernel's counts of the processes that each scope has made."""

    def __init__(self, forks: Map) -> None:
        """`forks` may have counts already: those of an exporter that ended are continued."""
        self._map = forks

    def follow(self, scope: int) -> None:
        """Count the processes that `scope` makes from now on.

        Raises OSError (E2BIG) when there are too many scopes.
        """
        self._map.insert(U32.pack(scope), U64.pack(0))

    def made(self, scope: int) -> int:
        """Return how many processes `scope` has made since it is followed; calls `follow` if it isn't yet."""
        value = self._map.lookup(U32.pack(scope))
        if value is None:
            self.follow(scope)
            return 0
        return int(U64.unpack(value)[0])

    def forget(self, scope: int) -> None:
        """Remove the count of `scope`, of which no process is left."""
        self._map.delete(U32.pack(scope))
