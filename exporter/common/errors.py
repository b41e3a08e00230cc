"""Errors that carry their own diagnosis: what failed, how to fix it, and the exit status it leads to."""

from __future__ import annotations

USAGE_STATUS = 2
FAIL_ON_STATUS = 90
CANNOT_TRACE_STATUS = 91
LOST_STATUS = 92
NOT_EXECUTABLE_STATUS = 126
NOT_FOUND_STATUS = 127


class CiEgressError(Exception):
    """An error meant for the user: one line says what went wrong, another one how to fix it."""

    exit_status = CANNOT_TRACE_STATUS

    def __init__(self, what: str, *, hint: str | None = None, detail: str = "") -> None:
        """`what` went wrong, `hint` is how to fix it, `detail` a tool's message about it (shown with -v)."""
        super().__init__(what)
        self.what = what
        self.hint = hint
        self.detail = detail

    def __str__(self) -> str:
        """Return `what` and, behind a semicolon, how to fix it."""
        return f"{self.what}; {self.hint}" if self.hint else self.what


class UsageError(CiEgressError):
    """The command line or a file named on it is wrong."""

    exit_status = USAGE_STATUS


class FileError(UsageError):
    """A file is wrong in places that can be named."""

    def __init__(self, what: str, *, lines: tuple[str, ...], hint: str | None = None) -> None:
        """`lines` are `file:line:column: what; how to fix`, one for each problem."""
        super().__init__(what, hint=hint)
        self.lines = lines


class KernelError(CiEgressError):
    """The kernel, a mount or a permission doesn't allow tracing; COMMAND was not started."""


class RecordError(CiEgressError):
    """A record of the ring or of a recording can't be decoded."""


class CommandNotFoundError(CiEgressError):
    """COMMAND doesn't exist."""

    exit_status = NOT_FOUND_STATUS


class CommandNotExecutableError(CiEgressError):
    """COMMAND exists but can't be executed."""

    exit_status = NOT_EXECUTABLE_STATUS
