"""`--live`: show acts as they happen, if stderr is a terminal."""

from __future__ import annotations

import sys
import traceback
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, Protocol

from exporter.common.console import write
from exporter.jobs.model import Job
from exporter.pipeline.job import View

from .messages import Messages
from .shared_messages import tell_act, tell_fault

if TYPE_CHECKING:
    from exporter.pipeline.attempt import Attempt
    from exporter.report.terminal.lines import Lines
    from exporter.report.terminal.screen import Screen
    from exporter.report.terminal.terminal import Terminal

_NO_SEQUENCES = frozenset({"", "dumb", "unknown"})
"""The values of TERM for terminals without control sequences."""


class _Showing(View, Protocol):
    def tick(self) -> None:
        """Show the lines that are due."""


class _Closing(Protocol):
    def close(self) -> None:
        """Show the lines that are left."""


class Ticker:
    """A wrapper of a view. When the view has a fault it is dropped: tracing goes on, and no act is lost."""

    def __init__(self, view: _Showing | None) -> None:
        """Wrap `view`; None when nothing is shown."""
        self._view = view

    def met(self, job: Job, attempt: Attempt) -> None:
        """Pass acts on to the view, as they are counted."""
        if self._view is not None:
            with self._let_be():
                self._view.met(job, attempt)

    def tick(self) -> None:
        """Show the lines of the view that are due. Call this in a loop."""
        if self._view is not None:
            with self._let_be():
                self._view.tick()

    @contextmanager
    def _let_be(self) -> Iterator[None]:
        try:
            yield
        except Exception:  # noqa: BLE001 - a fault of the view must not end the tracing
            self._view = None
            tell_fault(traceback.format_exc(), lost="--live")


def finish(view: _Closing | None) -> None:
    """Close the view once COMMAND is over. A fault of the view isn't raised: the flush is still to come."""
    if view is not None:
        try:
            view.close()
        except Exception:  # noqa: BLE001 - as above
            tell_fault(traceback.format_exc(), lost="--live")


def lines(environment: Mapping[str, str], *, is_live: bool) -> Lines | None:
    """Return the view for `run`; None without `is_live`, and, with a message, when nothing can be shown."""
    terminal = _terminal(environment) if is_live else None
    if terminal is None:
        return None
    from exporter.report.terminal.lines import Lines

    return Lines(terminal)


def screen(environment: Mapping[str, str], *, is_live: bool) -> Screen | None:
    """Return the view for `watch`; None as for `lines`."""
    terminal = _terminal(environment) if is_live else None
    if terminal is None:
        return None
    from exporter.report.terminal.screen import Screen

    return Screen(terminal)


@contextmanager
def shown(view: Screen | None) -> Iterator[None]:
    """Show `view` during the block; messages appear on it, and on stderr once it is gone."""
    if view is None:
        yield
        return
    messages = Messages.current()
    try:
        with view.shown():
            messages.elsewhere = view.say
            yield
    finally:
        messages.elsewhere = None
        write(sys.stderr, view.take_said())


def tell_besides(job: Job, told: str, **fields: Any) -> None:
    """Print `told`, unless `fields` has an `event`: such a line is about one act, which the view shows."""
    if "event" not in fields:
        tell_act(job, told, **fields)


def _terminal(environment: Mapping[str, str]) -> Terminal | None:
    from exporter.report.terminal.terminal import Terminal

    messages, terminal = Messages.current(), None
    if messages.as_json:
        why = "what is said is for programs (--json-log)"
    elif environment.get("TERM", "") in _NO_SEQUENCES:
        why = "the terminal can't (TERM)"
    else:
        terminal = Terminal.of(sys.stderr)
        why = "stderr is no terminal"
    if terminal is None:
        messages.say(f"--live: nothing is shown as it comes: {why}")
    return terminal
