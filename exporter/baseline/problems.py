"""A baseline that isn't valid."""

from __future__ import annotations

from exporter.documents.problems import DocumentError

CHECK_HINT = "`ci-egress baseline show` shows them without starting anything"
"""For whoever wanted to start something."""


class BaselineError(DocumentError):
    """Nothing is known by it, and nothing is called novel by it either."""

    kind = "baseline"
