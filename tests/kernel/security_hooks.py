"""The kernel's security hooks: the ways in which it lets programs answer there, chosen by a test."""

from __future__ import annotations

import platform
from contextlib import contextmanager
from typing import TYPE_CHECKING

import pytest

from exporter.kernel.programs import kinds
from exporter.kernel.programs.hooks import PROGRAMS
from exporter.kernel.programs.kinds import SecurityHook, asks_programs
from exporter.kernel.requirements import version_of

if TYPE_CHECKING:
    from collections.abc import Iterator

HOOKS = frozenset(each.hook for each in PROGRAMS if isinstance(each, SecurityHook))
THERE = frozenset(each.hook for each in PROGRAMS if isinstance(each, SecurityHook) and each.is_there)
"""Those of HOOKS at which this kernel takes programs."""
WAYS = {"as-module": True, "in-front": False} if asks_programs() else {"in-front": False}
"""The ways in which this kernel asks programs, each with whether it is as one of its security modules."""

URING_MAKES_SOCKETS = version_of(platform.release()) >= (5, 19)
"""Whether an io_uring does so; it is a hook's business as well."""


@contextmanager
def answering(*hooks: str, as_module: bool = False) -> Iterator[None]:
    """Load programs for these hooks alone, as on kernels without the others."""
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(kinds, "asks_programs", lambda: as_module)
        patched.setattr(SecurityHook, "is_there", property(lambda hook: hook.hook in {*hooks} & THERE))
        yield
