"""A baseline that isn't valid."""

from __future__ import annotations

from collections.abc import Iterable

from exporter.documents.problems import DocumentError, Problem

CHECK_HINT = "`ci-egress baseline show` shows them without starting anything"


class BaselineError(DocumentError):
    """Nothing is known by it, and nothing is called novel by it either."""

    kind = "baseline"

    def __init__(self, source: str, problems: Iterable[Problem], hint: str | None = None) -> None:
        """`source` is the file."""
        super().__init__(source, problems, hint)
