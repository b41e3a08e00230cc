"""How a run ends by a signal."""

from __future__ import annotations

import signal
import sys
from types import FrameType
from typing import NoReturn


def end(number: int, _frame: FrameType | None) -> NoReturn:
    """End the run, by a signal, as an error does: it leaves nothing. The same signal doesn't disturb that."""
    signal.signal(number, signal.SIG_IGN)
    sys.exit(128 + number)
