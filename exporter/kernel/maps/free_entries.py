"""Find room in an array, by noting which of its entries are free."""

from __future__ import annotations


class FreeEntries:
    """The free entries of an array: runs of them are taken and given back."""

    def __init__(self, first: int, end: int) -> None:
        """All entries from `first` to before `end` are free."""
        self._first = first
        self._free = {first: end}
        """The end of each free run, by its first entry: no run touches another."""

    def take(self, size: int) -> int | None:
        """Take a run of `size` free entries; return its first entry, None when no run is as long."""
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
        """Mark `size` entries from `start` as taken: they were in use before this was made."""
        if size == 0:
            return
        before, end = max((free, its_end) for free, its_end in self._free.items() if free <= start)
        del self._free[before]
        if before < start:
            self._free[before] = start
        if start + size < end:
            self._free[start + size] = end

    def give(self, start: int, size: int) -> None:
        """Give back `size` entries from `start`, which were taken or claimed."""
        end = start + size
        for before, its_end in list(self._free.items()):
            if its_end == start:
                start = before
        end = self._free.pop(end, end)
        if start < end:
            self._free[start] = end
