"""What is said on stderr: plain lines, or with --json-log one JSON object a line."""

from __future__ import annotations

import logging
import sys
import time
from collections.abc import Callable
from typing import Any, ClassVar

from exporter.console import write
from exporter.errors import CiEgressError, FileError
from exporter.text import json_line, printable

_LINE_MAX = 4000


class Messages:
    """The one voice of a command; COMMAND's own output never passes through it."""

    _current: ClassVar[Messages | None] = None

    def __init__(self, *, as_json: bool, is_verbose: bool) -> None:
        """Become the current one."""
        self.as_json = as_json
        self.is_verbose = is_verbose
        self.elsewhere: Callable[[str], object] | None = None
        """Takes whole lines in place of stderr, while something else is on its terminal."""
        Messages._current = self

    @classmethod
    def current(cls) -> Messages:
        """The one that the options asked for; a plain one until they were read."""
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
        """Say one thing on one line, then the lines of `detail`; `fields` appear in JSON only.

        Without a label the level, too. Any of it may be hostile: a terminal is left as it was.
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
        """Say why it ends: what, how to mend it, and with -v what a tool said about it."""
        if isinstance(error, FileError):
            self._list(error)
        detail = error.detail if self.is_verbose else ""
        told = error.what if self.as_json else str(error)
        self.say(told, level=logging.ERROR, detail=detail, hint=error.hint, exit_status=error.exit_status)
        if error.detail and not detail:
            self.say("run with -v for the details")

    def tell_place(self, line: str, level: int = logging.WARNING) -> None:
        """Say `file:line:column: …` as it is: editors and CI systems read that."""
        if self.as_json:
            self.say(line, level=level)
        else:
            self._write(printable(line, limit=_LINE_MAX) + "\n")

    def _list(self, error: FileError) -> None:
        """Its lines, each with a place."""
        for line in error.lines:
            self.tell_place(line, logging.ERROR)

    def _write(self, text: str) -> None:
        if self.elsewhere is not None:
            self.elsewhere(text)
        else:
            write(sys.stderr, text)
