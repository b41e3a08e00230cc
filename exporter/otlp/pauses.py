"""The pauses between the tries to send something to a collector."""

from __future__ import annotations

import random
from collections.abc import Iterator

LAST_TRIES = 2
"""The number of failures that end the tries once closing has begun."""
LAST_PAUSE_S = 1.0
"""Seconds between two tries once closing has begun."""

_FIRST_S = 0.5
_LONGEST_S = 30.0


def pauses_s() -> Iterator[float]:
    """Yield pauses in seconds without end: exponential backoff with jitter."""
    pause_s = _FIRST_S
    while True:
        yield pause_s * random.uniform(0.8, 1.2)  # noqa: S311 - spreads retries, keeps no secret
        pause_s = min(pause_s * 2, _LONGEST_S)
