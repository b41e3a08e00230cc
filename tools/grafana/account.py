"""The account: attempts = exported + aggregated + dropped + pending, of every exporter."""

from __future__ import annotations

from tools.grafana.promql import ATTEMPTS, EVENTS, PENDING, RESULT, latest, latest_sum, series

EXPORTER = ("service_instance_id", "host_name", "cicd_worker_name")
"""Resource attributes that the collector turns into labels."""

RESULTS = ("exported", "aggregated", "dropped")

# The latest values, not the increases: those of one exporter are of the same moment, and so add up.
_PARTS = [latest_sum(EVENTS), latest_sum(PENDING)]
UNACCOUNTED = f"{latest_sum(ATTEMPTS)} - {' - '.join(_PARTS)}"


def with_result(result: str) -> str:
    """Return a query for the attempts with this result."""
    return latest_sum(series(EVENTS, f'{RESULT}="{result}"'))


def by_exporter(selector: str) -> str:
    """Return a query for a number for each exporter."""
    return f"sum by ({', '.join(EXPORTER)}) ({latest(selector)})"
