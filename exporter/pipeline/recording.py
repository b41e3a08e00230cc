"""Recordings: a job's events as JSON lines, so that the pipeline can be run again, anywhere, without root.

The first line describes the job and the clock, and the last has the kernel's counts. Each line between them
is `[type, field, …]` of an event, or of facts that were looked up. Texts are redacted as in spans.
"""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from exporter.common.clock import Clock, Rhythm
from exporter.common.errors import UsageError
from exporter.common.safe_files import open_emptied, reason_of
from exporter.events.arguments import Arguments
from exporter.events.facts import Acted, Aggregated, Environment, Event, ProcessKey
from exporter.events.programs import Facts, Image, Lookup
from exporter.jobs.model import Job

from .account import KernelCounts
from .ruling import Terms

VERSION = 9
_FLUSH_S = 1.0


@dataclass(frozen=True)
class Beginning:
    """The facts that are known when a job begins."""

    job: Job
    clock: Clock
    root: ProcessKey
    scope: int
    at_ns: int
    terms: Terms | None = None
    """The terms of its policy; None: it has no policy."""
    step: str | None = None
    """`egress.job.step` of its root; None where the CI system has no name for it."""


@dataclass(frozen=True)
class Ending:
    """The facts that are known when a job is over."""

    at_ns: int
    kernel: KernelCounts
    left_behind: Sequence[int]
    """Pids of the processes that still ran."""


class Recorder:
    """A writer of a recording, and a `Lookup` between pipeline and /proc that records all answers."""

    def __init__(self, path: Path, lookup: Lookup, *, on_failure: Callable[[str], None]) -> None:
        """Create `path`, which its owner alone may write. Raises UsageError when that can't be done.

        When writing fails later (a full disk), `on_failure` is called once with a message; tracing goes on.
        """
        try:
            self._file = os.fdopen(open_emptied(path, 0o644), "w", encoding="utf-8")
        except OSError as error:
            raise UsageError(
                f"cannot write {path}: {reason_of(error)}", hint="give --record another path"
            ) from None
        self._path = path
        self._lookup = lookup
        self._on_failure = on_failure
        self._has_failed = False
        self._rhythm = Rhythm(_FLUSH_S)
        self._owners: dict[int, str] = {}
        self._host_names: dict[bytes, str | None] = {}
        self._terms: Terms | None = None
        self._rules_written: set[int] = set()

    def tick(self) -> None:
        """Flush the file once a second, so that a run that is killed leaves all but the last second.

        Call it in a loop.
        """
        if self._rhythm.is_time():
            self._flush()

    def close(self) -> None:
        """Close the file."""
        with self._writing():
            self._file.close()

    def begin(self, beginning: Beginning) -> None:
        """Write the first line."""
        self._terms = beginning.terms
        self._write(["recording", VERSION, _told(beginning.job), *beginning.clock, *_rest(beginning)])
        self._flush()

    def event(self, event: Event) -> None:
        """Write an event, unless it is an environment: environments hold secrets, and are never kept."""
        if isinstance(event, Acted | Aggregated):
            self._rule(event.rule)
        if not isinstance(event, Environment):
            self._write([type(event).__name__, *event])

    def end(self, ending: Ending) -> None:
        """Write the last line."""
        self._write(["end", ending.at_ns, *ending.kernel, ending.left_behind])

    def _rule(self, number: int) -> None:
        """Write the text of the policy's rule `number` when it decides for the first time."""
        if self._terms and number not in self._rules_written and number in self._terms.rules:
            self._rules_written.add(number)
            self._write(["Rule", number, self._terms.rules[number]])

    def facts(self, process: ProcessKey) -> Facts:
        """Look up the facts about `process`, and record them."""
        facts = self._lookup.facts(process)
        self._write(["Facts", process, *facts])
        return facts

    def image(self, process: ProcessKey) -> Image:
        """Look up the program that `process` runs, and record it."""
        image = self._lookup.image(process)
        self._write(["Image", process, *image])
        return image

    def owner(self, uid: int) -> str:
        """Look up the name of the user `uid`; record it the first time."""
        if uid not in self._owners:
            self._owners[uid] = self._lookup.owner(uid)
            self._write(["Owner", uid, self._owners[uid]])
        return self._owners[uid]

    def host_name(self, peer: bytes, at_ns: int) -> str | None:
        """Look up the host's name for `peer`; record it when it has changed."""
        name = self._lookup.host_name(peer, at_ns)
        if self._host_names.get(peer) != name:
            self._host_names[peer] = name
            self._write(["HostName", peer, name])
        return name

    def _write(self, line: list[Any]) -> None:
        if not self._has_failed:
            text = json.dumps(line, ensure_ascii=True, separators=(",", ":"), default=_plain)
            with self._writing():
                self._file.write(f"{text}\n")

    def _flush(self) -> None:
        if not self._has_failed:
            with self._writing():
                self._file.flush()

    @contextmanager
    def _writing(self) -> Iterator[None]:
        try:
            yield
        except OSError as error:
            if not self._has_failed:
                self._on_failure(f"the recording ends early: cannot write {self._path}: {error.strerror}")
            self._has_failed = True


def _plain(value: object) -> object:
    """Convert values that JSON can't hold: bytes to hexadecimal, arguments to a list of redacted texts."""
    return value.hex() if isinstance(value, bytes) else list(value) if isinstance(value, Arguments) else value


def _told(job: Job) -> dict[str, Any]:
    """Return the job's fields, without those that serve only to choose its policy, which is chosen by now."""
    fields = asdict(job)
    del fields["claims"], fields["besides"], fields["is_vouched"], fields["is_partial"]
    return fields


def _rest(beginning: Beginning) -> tuple[ProcessKey, int, int, tuple[str, str] | None, str | None]:
    terms = beginning.terms
    told = (terms.mode, terms.ruleset or "") if terms else None
    return beginning.root, beginning.scope, beginning.at_ns, told, beginning.step
