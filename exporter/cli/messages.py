"""What is said on stderr: plain lines, or with --json-log one JSON object a line."""

from __future__ import annotations

import json
import logging
import sys
import time
from typing import Any, ClassVar

from exporter.errors import CiEgressError
from exporter.text import clean


class Messages:
    """The one voice of a command; COMMAND's own output never passes through it."""

    _current: ClassVar[Messages | None] = None

    def __init__(self, *, as_json: bool, is_verbose: bool) -> None:
        """Become the current one."""
        self.as_json = as_json
        self.is_verbose = is_verbose
        Messages._current = self

    @classmethod
    def current(cls) -> Messages:
        """The one that the options asked for; a plain one until they were read."""
        return cls._current or cls(as_json=False, is_verbose=False)

    def say(self, text: str, *, level: int = logging.INFO, **fields: Any) -> None:
        """Say one thing; `fields` appear in JSON only."""
        if level < logging.INFO and not self.is_verbose:
            return
        if self.as_json:
            name = logging.getLevelName(level).lower()
            line = json.dumps({"time": time.time(), "level": name, "message": clean(text), **fields})
        else:
            prefix = "" if level <= logging.INFO else f"{logging.getLevelName(level).lower()}: "
            line = clean(f"ci-egress: {prefix}{text}")
        sys.stderr.write(f"{line}\n")
        sys.stderr.flush()

    def fail(self, error: CiEgressError) -> None:
        """Say why it ends: what, how to mend it, and with -v what a tool said about it."""
        self.say(str(error), level=logging.ERROR, hint=error.hint, exit_status=error.exit_status)
        if error.detail:
            self.say(error.detail if self.is_verbose else "run with -v for the details", level=logging.INFO)
