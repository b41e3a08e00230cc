"""What the servers tell of one pipeline: its connections, its alert, and who was paged."""

from __future__ import annotations

import json
from dataclasses import dataclass
from time import time
from typing import TYPE_CHECKING

from tests.launch import plain, whole_lines
from tests.stack.apis import Alert, Alertmanager, JsonObject, Prometheus, Series
from tests.stack.builds import INTERVAL_S
from tests.stack.conftest import wait_until

if TYPE_CHECKING:
    from demo.stack.servers import Stack
    from tests.stack.pager import Pages

ALERT = "CICDEgressNovelDestination"
_SECURITY = "security-page"


@dataclass(frozen=True)
class Told:
    """Of what is novel in the pipeline, if nothing else is said."""

    stack: Stack
    pages: Pages
    pipeline: str

    @property
    def prometheus(self) -> Prometheus:
        """The server."""
        return Prometheus(self.stack.prometheus_url)

    @property
    def alerts(self) -> list[Alert]:
        """What Alertmanager has now."""
        of_it = (f'alertname="{ALERT}"', f'cicd_pipeline_name="{self.pipeline}"')
        return Alertmanager(self.stack.alertmanager_url).alerts(*of_it)

    @property
    def raised(self) -> list[Series]:
        """Whenever it was pending or fired."""
        return [series for series in self.all_raised if series.labels["alertname"] == ALERT]

    @property
    def all_raised(self) -> list[Series]:
        """Any alert of the pipeline, likewise."""
        return self.prometheus.stored(f'ALERTS{{cicd_pipeline_name="{self.pipeline}"}}')

    @property
    def paged(self) -> list[str]:
        """What security was told, in order: `firing`, `resolved`."""
        pages = self.pages.of(self.pipeline, ALERT)
        return [page.status for page in pages if page.receiver == _SECURITY]

    @property
    def log_records(self) -> list[JsonObject]:
        """Those that a destination is novel, with attributes as Python values."""
        records = (
            {**record, "attributes": plain(record["attributes"])}
            for line in whole_lines(self.stack.log_records)
            for by_resource in json.loads(line)["resourceLogs"]
            for by_scope in by_resource["scopeLogs"]
            for record in by_scope["logRecords"]
        )
        return [record for record in records if self._is_novel(record)]

    def _is_novel(self, record: JsonObject) -> bool:
        pipeline = record["attributes"].get("cicd.pipeline.name")
        return (record["eventName"], pipeline) == ("cicd.egress.novel", self.pipeline)

    def connections(self, *, is_novel: bool = True) -> str:
        """The selector of what was counted."""
        novel = str(is_novel).lower()
        return f'cicd_egress_connections_total{{cicd_pipeline_name="{self.pipeline}",egress_novel="{novel}"}}'

    def counted(self, *, is_novel: bool = True) -> float:
        """All instances together, those too that the collector tells of no more, or couldn't just now."""
        query = f"last_over_time({self.connections(is_novel=is_novel)}[1h])"
        return sum(self.prometheus.now(query).values())

    def wait_until_paged(self, *statuses: str) -> None:
        """Wait until security was told just that."""
        wait_until(lambda: self.paged == list(statuses))

    def wait_until_counted(self, count: float, *, is_novel: bool = True) -> None:
        """Wait until Prometheus has so many connections."""
        wait_until(lambda: self.counted(is_novel=is_novel) == count)

    def wait_until_scraped(self, count: int = 1) -> None:
        """Wait until Prometheus has taken so many more samples of each novel series from now on."""
        begin_s = time()

        def is_scraped() -> bool:
            series = self.prometheus.stored(self.connections())
            later = [sum(at_s > begin_s for at_s in one.moments_s) for one in series]
            return bool(later) and min(later) >= count

        wait_until(is_scraped)

    def wait_for_evaluations(self, count: int = 2) -> None:
        """Wait until all rules were evaluated so often from now on."""
        query, begin_s = "min(prometheus_rule_group_last_evaluation_timestamp_seconds)", time()

        def are_evaluated() -> bool:
            last_s = max(self.prometheus.now(query).values(), default=0.0)
            return last_s > begin_s + (count - 1) * INTERVAL_S

        wait_until(are_evaluated)


def wait_until_scraping(stack: Stack) -> None:
    """Prometheus begins to some seconds after it serves."""
    prometheus = Prometheus(stack.prometheus_url)
    wait_until(lambda: bool(prometheus.now('up{job="otel-collector"} == 1')))
