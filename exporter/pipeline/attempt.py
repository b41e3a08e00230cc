"""Attempts: the program, its destination, the ruling, and the place of the span in the trace."""

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
    """One act, or several alike that the kernel only counted; made once for each such event."""

    event: EventT_co
    destination: Destination
    program: Program | None
    """None when it isn't known."""
    owner: str | None
    """Name of the user whose program it is; None when the program isn't known."""
    ruling: Ruling
    context: SpanContext
    """Context of its span."""
    parent: SpanContext
    """Context of the parent span, taken when the act began."""

    @property
    def attempts(self) -> int:
        """The number of attempts: an act is one, acts that were only counted are several."""
        return self.event.attempts if isinstance(self.event, Aggregated) else 1

    @property
    def scope(self) -> int:
        """The scope of its program; the event's when the program isn't known."""
        return self.program.scope if self.program else self.event.scope

    @property
    def lineage(self) -> Lineage:
        """The program's `egress.lineage`; empty when the program isn't known."""
        return self.program.lineage if self.program else ()

    @property
    def known_lineage(self) -> Lineage | None:
        """The lineage for comparing; None when it has a gap, and when the program isn't known."""
        return self.program.known_lineage if self.program else None


Attempt = AttemptOf[Acted | Aggregated]
"""An attempt of either kind of event; that of a Flow is an `AttemptOf[Acted]`."""
