"""The error for a policy that isn't valid."""

from __future__ import annotations

from collections.abc import Iterable

from exporter.common.documents.problems import DocumentError, Problem

CHECK_HINT = "`ci-egress policy check` shows them without starting anything"


class PolicyError(DocumentError):
    """A policy that isn't valid. None of it is used, and it never means "allow everything"."""

    kind = "policy"

    def __init__(self, source: str, problems: Iterable[Problem], hint: str | None = CHECK_HINT) -> None:
        """`source` is the file or the option that has the policy."""
        super().__init__(source, problems, hint)
