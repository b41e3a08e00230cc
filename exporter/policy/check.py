"""Check that the kernel can hold a policy, before a job needs it."""

from __future__ import annotations

from exporter.policy.compile import compile_policy
from exporter.policy.model import Policy


def check_for_kernel(policy: Policy) -> None:
    """Compile `policy` for a job of no section, and for one of each. Raises PolicyError for what doesn't fit.

    A job that matches several sections may still need more than fits: that is reported when the job begins.
    """
    for section in (None, *policy.sections):
        compile_policy(policy.held_to((section,), section.rules) if section else policy.held_to((), ()))
