"""PromQL of the dashboards, for counters that live as long as one job and for counters of daemons alike."""

from __future__ import annotations

CONNECTIONS = "cicd_egress_connections_total"
IO = "cicd_egress_io_bytes_total"
CONNECT_DURATION = "cicd_egress_connect_duration_seconds"
JOBS = "cicd_egress_jobs"
ENFORCING = "cicd_egress_enforcing_ratio"
ATTEMPTS = "cicd_egress_exporter_attempts_total"
EVENTS = "cicd_egress_exporter_events_total"
PENDING = "cicd_egress_exporter_pending"
UNATTRIBUTED = "cicd_egress_exporter_unattributed_total"

PIPELINE, TASK = "cicd_pipeline_name", "cicd_pipeline_task_name"
HOST, PORT, TRANSPORT = "server_address", "server_port", "network_transport"
VERDICT, NOVEL, LINEAGE = "egress_verdict", "egress_novel", "egress_lineage"
DIRECTION, OUTCOME = "network_io_direction", "egress_outcome"
STAGE, RESULT, ERROR = "egress_stage", "egress_result", "error_type"

RANGE, INTERVAL = "$__range", "$__interval"

IS_NOVEL = f'{NOVEL}="true"'
HAS_BASELINE = f'{NOVEL}!=""'
IS_DENIED = f'{VERDICT}="deny"'
WOULD_BE_DENIED = f'{VERDICT}="audit"'
IS_AGAINST_POLICY = f'{VERDICT}=~"deny|audit"'
IS_REMOTE = f'{HOST}!~"127[.].+|::1|localhost"'
"""Excludes loopback, which is traced like other destinations, but is of no interest here."""

_REMEMBERED = "1h"
"""How long a counter may be missing (while a collector restarts) without counting from zero again."""


def series(metric: str, *matchers: str) -> str:
    """Return a selector of series."""
    return f"{metric}{{{', '.join(matchers)}}}"


def added(selector: str, window: str = RANGE) -> str:
    """Return a query for what each counter gained in the window.

    It isn't `increase`, which takes a counter's first sample as its start: the counters of a runner that
    lives for one job are complete when they are first seen, and are zero before. Every start of an exporter
    makes counters of its own, so none is ever reset.
    """
    now = f"max_over_time({selector}[{window}])"
    before = f"max_over_time({selector}[{_REMEMBERED}] offset {window})"
    return f"({now} - {before} or {now})"


def added_by(labels: tuple[str, ...], selector: str, window: str = RANGE) -> str:
    """Return a query for what counters gained, summed up by labels; sums of zero are left out."""
    return f"sum by ({', '.join(labels)}) ({added(selector, window)}) > 0"


def total(selector: str) -> str:
    """Return a query for what all counters gained together; 0 when there is none."""
    return f"sum({added(selector)}) or vector(0)"


def number_of(labels: tuple[str, ...], selector: str, *, by: str | None = None) -> str:
    """Return a query for the number of sets of labels that gained something, in all or by one label."""
    grouping = f" by ({by})" if by else ""
    return f"count{grouping} ({added_by(labels, selector)})"


def zero_where(selector: str, *, by: str | None = None) -> str:
    """Return a query for 0 where there are such series in the range, and for nothing where there are none."""
    grouping = f" by ({by})" if by else ""
    return f"0 * count{grouping} (present_over_time({selector}[{RANGE}]))"


def latest(selector: str) -> str:
    """Return a query for each series' last value in the range; a gone exporter's is the one it ended with."""
    return f"last_over_time({selector}[{RANGE}])"


def latest_sum(selector: str) -> str:
    """Return a query for the sum of the latest values; 0 when there is none."""
    return f"(sum({latest(selector)}) or vector(0))"


def quantile(ratio: float, labels: tuple[str, ...], *matchers: str) -> str:
    """Return a query for a quantile of the time that connects took, by labels, over time."""
    buckets = added(series(f"{CONNECT_DURATION}_bucket", *matchers), INTERVAL)
    return f"histogram_quantile({ratio}, sum by ({', '.join(['le', *labels])}) ({buckets}))"


def new_by_history(labels: tuple[str, ...], *matchers: str) -> str:
    """Return a query for attempts at what wasn't seen in the `$window` before the range.

    Pipelines without metrics of that time are left out. A denied attempt doesn't count as seen: nothing went
    there, and no baseline learns it.
    """
    selector = series(CONNECTIONS, *matchers)
    listed = ", ".join(labels)
    went_there = series(CONNECTIONS, *matchers, f'{VERDICT}!="deny"')
    before = f"present_over_time({went_there}[$window] offset {RANGE})"
    known = f"present_over_time({series(CONNECTIONS, *matchers[:1])}[$window] offset {RANGE})"
    return (
        f"{added_by(labels, selector)} "
        f"unless group by ({listed}) ({before}) "
        f"and on ({PIPELINE}) group by ({PIPELINE}) ({known})"
    )
