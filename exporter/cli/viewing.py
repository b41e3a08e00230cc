"""`--live`: what shows acts as they come, where there is a terminal for it."""

from __future__ import annotations

import sys
import traceback
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, Protocol

from exporter.cli.messages import Messages
from exporter.cli.notices import tell_act, tell_fault
from exporter.console import write
from exporter.jobs.model import Job
from exporter.traced import View

if TYPE_CHECKING:
    from exporter.destinations import Destination
    from exporter.programs import Program
    from exporter.terms import Ruling
    from exporter.view.lines import Lines
    from exporter.view.screen import Screen
    from exporter.view.terminal import Terminal

_NO_SEQUENCES = frozenset({"", "dumb", "unknown"})
"""Values of TERM."""


class _Showing(View, Protocol):
    def tick(self) -> None:
        """Show what is due."""


class _Closing(Protocol):
    def close(self) -> None:
        """Show what is left."""


class Ticker:
    """Hands a view what it is to show. One with a fault is let be: tracing goes on, and no act is lost."""

    def __init__(self, view: _Showing | None) -> None:
        """None: there is none."""
        self._view = view

    def met(self, job: Job, where: Destination, program: Program | None, said: Ruling, attempts: int) -> None:
        """Acts, as they are counted."""
        if self._view is not None:
            with self._let_be():
                self._view.met(job, where, program, said, attempts)

    def tick(self) -> None:
        """For a loop."""
        if self._view is not None:
            with self._let_be():
                self._view.tick()

    @contextmanager
    def _let_be(self) -> Iterator[None]:
        try:
            yield
        except Exception:  # noqa: BLE001 - what is shown isn't worth what is traced
            self._view = None
            tell_fault(traceback.format_exc(), lost="--live")


def finish(view: _Closing | None) -> None:
    """COMMAND is over; a fault of the view's is no reason to lose what is to be flushed and said."""
    if view is not None:
        try:
            view.close()
        except Exception:  # noqa: BLE001 - as above
            tell_fault(traceback.format_exc(), lost="--live")


def lines(environment: Mapping[str, str], *, is_live: bool) -> Lines | None:
    """For `run`; None where nothing is to be shown, or can't be, which is said."""
    terminal = _terminal(environment) if is_live else None
    if terminal is None:
        return None
    from exporter.view.lines import Lines

    return Lines(terminal)


def screen(environment: Mapping[str, str], *, is_live: bool) -> Screen | None:
    """For `watch`, likewise."""
    terminal = _terminal(environment) if is_live else None
    if terminal is None:
        return None
    from exporter.view.screen import Screen

    return Screen(terminal)


@contextmanager
def shown(view: Screen | None) -> Iterator[None]:
    """Show it meanwhile; what is said then is on the screen, and on stderr when that is gone."""
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
    """Say what a view of lines doesn't show already: those about single acts have an event."""
    if "event" not in fields:
        tell_act(job, told, **fields)


def _terminal(environment: Mapping[str, str]) -> Terminal | None:
    from exporter.view.terminal import Terminal

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
