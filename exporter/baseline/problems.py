"""The error for a baseline file that isn't valid."""

from __future__ import annotations

from exporter.documents.problems import DocumentError

CHECK_HINT = "`ci-egress baseline show` shows them without starting anything"
"""The hint where an invalid file kept a command from starting anything."""


class BaselineError(DocumentError):
    """An invalid baseline file. None of it is used: nothing counts as known by it, and nothing as novel."""

    kind = "baseline"
