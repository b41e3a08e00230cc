"""The error for a policy that isn't valid."""

from __future__ import annotations

from exporter.common.documents.problems import DocumentError


class PolicyError(DocumentError):
    """A policy that isn't valid. None of it is used, and it never means "allow everything"."""

    kind = "policy"
