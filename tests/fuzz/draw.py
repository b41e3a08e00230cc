"""What an input is made of: choices, drawn from a seed or from the bytes of a coverage-guided fuzzer."""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence
from typing import TypeVar

_T = TypeVar("_T")

_EDGES = (0, 1, 2, 0x7F, 0x80, 0xFF, 0x100, 0x7FFF, 0x8000, 0xFFFF, 1 << 31, (1 << 32) - 1, 1 << 63)
_CHARACTERS = (
    *"aZ09 -_./\\\"'`=:;,&?#%@~$(){}[]<>|!*\0\t\n\r\x0b\x1b\x7f\x85\x9b",
    *"éß日𝔘\u200b\u2028\u202e\ufeff\ufffd\ud800\udfff\udc80",
)


class Draw(random.Random):
    """The choices of one input: the same seed gives the same ones."""

    def chance(self, likelihood: float) -> bool:
        """True about so often, from 0 to 1."""
        return self.random() < likelihood

    def length(self, most: int) -> int:
        """From 0 to `most`, mostly small."""
        return int(most * self.random() ** 3 + 0.5)

    def unsigned(self, bits: int) -> int:
        """Of so many bits; often small, or where numbers of the machine end."""
        mask = (1 << bits) - 1
        way = self.getrandbits(2)
        if way == 0:
            return self.getrandbits(bits)
        if way == 1:
            return self.choice(_EDGES) & mask
        return mask - self.getrandbits(3) & mask if way == 2 else self.getrandbits(4) & mask

    def blob(self, most: int) -> bytes:
        """Any bytes, at most so many."""
        return self.randbytes(self.length(most))

    def text(self, most: int) -> str:
        """Text of at most so many characters, with what is rare in text: controls, quotes, surrogates."""
        return "".join(self.choices(_CHARACTERS, k=self.length(most)))

    def some(self, make: Callable[[], _T], most: int) -> list[_T]:
        """At most so many of what `make` makes."""
        return [make() for _ in range(self.length(most))]

    def mutated(self, data: bytes, dictionary: Sequence[bytes] = ()) -> bytes:
        """`data` with one to four changes: bytes changed, gone, doubled or put in, some from `dictionary`."""
        changed = bytearray(data)
        for _ in range(self.randint(1, 4)):
            at = self.randrange(len(changed) + 1)
            self.choice((self._set, self._cut, self._double, self._put))(changed, at, dictionary)
        return bytes(changed)

    def _set(self, data: bytearray, at: int, _: Sequence[bytes]) -> None:
        new = self.randbytes(1) if self.chance(0.5) else self.unsigned(32).to_bytes(4, "little")
        data[at : at + len(new)] = new[: len(data) - at]

    def _cut(self, data: bytearray, at: int, _: Sequence[bytes]) -> None:
        del data[at : at + 1 + self.length(16) if self.chance(0.7) else None]

    def _double(self, data: bytearray, at: int, _: Sequence[bytes]) -> None:
        data[at:at] = data[at : at + 1 + self.length(64)] * self.randint(1, 3)

    def _put(self, data: bytearray, at: int, dictionary: Sequence[bytes]) -> None:
        data[at:at] = self.choice(dictionary) if dictionary and self.chance(0.7) else self.blob(8)


class Guided(Draw):
    """Choices that a fuzzer makes by its bytes; when these are used up, the smallest ones."""

    def __init__(self, data: bytes) -> None:
        """`data` is all there is."""
        super().__init__(0)
        self._data = data
        self._at = 0

    def getrandbits(self, k: int, /) -> int:
        """The next bits, in whole bytes."""
        size = (k + 7) // 8
        piece = self._data[self._at : self._at + size]
        self._at += size
        return int.from_bytes(piece.ljust(size, b"\0"), "big") & (1 << k) - 1

    def random(self) -> float:
        """From the next two bytes."""
        return self.getrandbits(16) / (1 << 16)
