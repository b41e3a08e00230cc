"""What Alertmanager tells those who are paged: a webhook of the test's own."""

from __future__ import annotations

import json
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple

from tests.integration.receivers import Collector, collector

if TYPE_CHECKING:
    from collections.abc import Iterator


class Page(NamedTuple):
    """One alert of one notification."""

    receiver: str
    status: str
    """`firing` or `resolved`"""
    labels: dict[str, str]
    started: str
    """RFC 3339; the same for an alert as long as it fires."""


@dataclass(frozen=True)
class Pages:
    """Everything that came, in order."""

    receiver: Collector

    @property
    def url(self) -> str:
        """Where Alertmanager posts to."""
        return self.receiver.url

    def of(self, pipeline: str, alert: str) -> list[Page]:
        """What was told of a pipeline."""
        return [
            page
            for page in self._all()
            if (page.labels["alertname"], page.labels.get("cicd_pipeline_name")) == (alert, pipeline)
        ]

    def _all(self) -> list[Page]:
        return [
            Page(told["receiver"], alert["status"], alert["labels"], alert["startsAt"])
            for request in list(self.receiver.taken)
            for told in [json.loads(request.body)]
            for alert in told["alerts"]
        ]


@contextmanager
def taking_pages() -> Iterator[Pages]:
    """Take them on a free port of loopback."""
    with collector() as receiver:
        yield Pages(receiver)
