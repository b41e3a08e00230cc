"""Messages on stderr: plain lines, or with --json-log one JSON object a line."""

from __future__ import annotations

import logging
import sys
import time
from collections.abc import Callable
from typing import Any, ClassVar

from exporter.common.console import write
from exporter.common.errors import CiEgressError, FileError
from exporter.common.text import json_line, printable

_LINE_MAX = 4000


class Messages:
    """The writer of a command's messages on stderr; COMMAND's own output never passes through it."""

    _current: ClassVar[Messages | None] = None

    def __init__(self, *, as_json: bool, is_verbose: bool) -> None:
        """Make this the writer that `current` returns."""
        self.as_json = as_json
        self.is_verbose = is_verbose
        self.elsewhere: Callable[[str], object] | None = None
        """Function that gets the lines instead of stderr while a view has the terminal; else None."""
        Messages._current = self

    @classmethod
    def current(cls) -> Messages:
        """Return the writer that the options ask for; a plain one until the options are read."""
        return cls._current or cls(as_json=False, is_verbose=False)

    def say(
        self,
        text: str,
        *,
        level: int = logging.INFO,
        detail: str = "",
        has_label: bool = True,
        **fields: Any,
    ) -> None:
        """Print one message on one line, then the lines of `detail`; `fields` appear in JSON only.

        With `has_label` False, the level appears in JSON only, too. Any text may be hostile: a terminal never
        gets its control characters.
        """
        if level < logging.INFO and not self.is_verbose:
            return
        name = logging.getLevelName(level).lower()
        if self.as_json:
            extra = {"detail": detail} if detail else {}
            lines = [json_line({"time": time.time(), "level": name, "message": text, **extra, **fields})]
        else:
            prefix = f"{name}: " if level > logging.INFO and has_label else ""
            raw = (f"ci-egress: {prefix}{text}", *detail.splitlines())
            lines = [printable(line, limit=_LINE_MAX) for line in raw]
        self._write("".join(f"{line}\n" for line in lines))

    def fail(self, error: CiEgressError) -> None:
        """Print what went wrong, how to mend it, and with -v a tool's own message about it."""
        if isinstance(error, FileError):
            self._list(error)
        detail = error.detail if self.is_verbose else ""
        told = error.what if self.as_json else str(error)
        self.say(told, level=logging.ERROR, detail=detail, hint=error.hint, exit_status=error.exit_status)
        if error.detail and not detail:
            self.say("run with -v for the details")

    def tell_place(self, line: str, level: int = logging.WARNING) -> None:
        """Print `file:line:column: …` without a prefix, since editors and CI systems parse it."""
        if self.as_json:
            self.say(line, level=level)
        else:
            self._write(printable(line, limit=_LINE_MAX) + "\n")

    def _list(self, error: FileError) -> None:
        """Print the lines of `error`, each of which has a place in the file."""
        for line in error.lines:
            self.tell_place(line, logging.ERROR)

    def _write(self, text: str) -> None:
        if self.elsewhere is not None:
            self.elsewhere(text)
        else:
            write(sys.stderr, text)


def warn(what: str) -> None:
    """Print a warning."""
    Messages.current().say(what, level=logging.WARNING)
