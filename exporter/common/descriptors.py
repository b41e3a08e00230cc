"""File descriptors that are open for the length of a block."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager


@contextmanager
def closing_fd(descriptor: int) -> Iterator[int]:
    """Close `descriptor`, which was just opened, at the end of the block."""
    try:
        yield descriptor
    finally:
        os.close(descriptor)
