"""Rooms in an array: which of its entries are whose."""

from __future__ import annotations


class Rooms:
    """Runs of entries, taken and given back."""

    def __init__(self, first: int, end: int) -> None:
        """From `first` to before `end` all are free."""
        self._first = first
        self._free = {first: end}
        """Their ends, by where they begin: none touches another."""

    def take(self, size: int) -> int | None:
        """Where `size` entries that nobody has begin; None when no run is as long."""
        if size == 0:
            return self._first
        for start, end in sorted(self._free.items()):
            if end - start >= size:
                del self._free[start]
                if start + size < end:
                    self._free[start + size] = end
                return start
        return None

    def claim(self, start: int, size: int) -> None:
        """Have `size` entries from `start` taken, as they were before this was made."""
        if size == 0:
            return
        before, end = max((free, its_end) for free, its_end in self._free.items() if free <= start)
        del self._free[before]
        if before < start:
            self._free[before] = start
        if start + size < end:
            self._free[start + size] = end

    def give(self, start: int, size: int) -> None:
        """Give back what `take` gave."""
        end = start + size
        for before, its_end in list(self._free.items()):
            if its_end == start:
                start = before
        end = self._free.pop(end, end)
        if start < end:
            self._free[start] = end
