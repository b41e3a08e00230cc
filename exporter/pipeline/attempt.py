"""Attempts: acts with their program, destination, ruling, and the place of their span in the trace."""

from __future__ import annotations

from typing import Generic, NamedTuple, TypeVar

from opentelemetry.trace import SpanContext

from exporter.events.destinations import Destination
from exporter.events.facts import Acted, Aggregated
from exporter.events.programs import Lineage, Program

from .ruling import Ruling

EventT = TypeVar("EventT", bound=Acted | Aggregated)
EventT_co = TypeVar("EventT_co", bound=Acted | Aggregated, covariant=True)


class AttemptOf(NamedTuple, Generic[EventT_co]):
    """One act, or several that are alike and were only counted. One is made for each event."""

    event: EventT_co
    destination: Destination
    program: Program | None
    """The program that acted; None when it isn't known."""
    owner: str | None
    """Name of the user that the program runs as; None when the program isn't known."""
    ruling: Ruling
    context: SpanContext
    """Context of the attempt's span."""
    parent: SpanContext
    """Context of the parent span when the act began."""

    @property
    def attempts(self) -> int:
        """The number of attempts: an act is one, acts that were only counted are several."""
        return self.event.attempts if isinstance(self.event, Aggregated) else 1

    @property
    def scope(self) -> int:
        """The scope of the program; the event's scope when the program isn't known."""
        return self.program.scope if self.program else self.event.scope

    @property
    def lineage(self) -> Lineage:
        """The program's `egress.lineage`; empty when the program isn't known."""
        return self.program.lineage if self.program else ()

    @property
    def known_lineage(self) -> Lineage | None:
        """The lineage, to be compared; None when it has a gap, and when the program isn't known."""
        return self.program.known_lineage if self.program else None


Attempt = AttemptOf[Acted | Aggregated]
"""An attempt of either kind of event; a Flow has an `AttemptOf[Acted]`."""
