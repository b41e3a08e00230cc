"""What targets draw, as a strategy of hypothesis, which finds the smallest input that breaks something."""

from __future__ import annotations

from hypothesis import strategies as st

from tests.fuzz.draw import Draw

_SHARE_BITS = 16


class Shrinking(Draw):
    """Choices that hypothesis makes."""

    def __init__(self, draw: st.DrawFn) -> None:
        """`draw` makes each of them."""
        super().__init__(0)
        self._draw = draw

    def getrandbits(self, k: int, /) -> int:
        """Any number of so many bits."""
        return self._draw(st.integers(0, (1 << k) - 1))

    def _randbelow(self, n: int) -> int:
        return self._draw(st.integers(0, n - 1))

    def random(self) -> float:
        """From 0 to 1, in few steps."""
        return self.getrandbits(_SHARE_BITS) / (1 << _SHARE_BITS)


@st.composite
def draws(draw: st.DrawFn) -> Draw:
    """Choices for one input, as a target takes them."""
    return Shrinking(draw)
