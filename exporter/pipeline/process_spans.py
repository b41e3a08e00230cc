"""The choice of programs that get a span of their own."""

from __future__ import annotations

import enum


class ProcessSpans(enum.StrEnum):
    """The programs that get a span of their own; the values are those of --process-spans."""

    NETWORK = "network"
    """Programs that did something on a socket, and their ancestors."""
    ALL = "all"
    NONE = "none"
