"""The exporters: does everything that the kernel counted arrive?"""

from __future__ import annotations

from tools.grafana import columns, links
from tools.grafana.account import RESULTS, UNACCOUNTED, by_exporter, with_result
from tools.grafana.board import Board, Section
from tools.grafana.panels import (
    ATTENTION,
    BAD,
    CALM,
    GOOD,
    NEUTRAL,
    RATIO,
    WHOLE,
    Alarm,
    Column,
    Curve,
    Panel,
    number,
    over_time,
    rows,
)
from tools.grafana.promql import (
    ATTEMPTS,
    CONNECTIONS,
    ENFORCING,
    ERROR,
    EVENTS,
    HOST,
    INTERVAL,
    PENDING,
    PIPELINE,
    RESULT,
    STAGE,
    UNATTRIBUTED,
    added_by,
    latest,
    latest_sum,
    series,
)
from tools.grafana.shared import sums

SINCE = "Of exporters seen in the range, since each of them started."


def board() -> Board:
    """Make the dashboard that shows whether everything is accounted for."""
    return Board(
        uid=links.EXPORTER,
        description=(
            "Health and completeness of the exporters: attempts = exported + aggregated + dropped + pending, "
            "in all and for each of them."
        ),
        variables=[],
        sections=[
            Section("attempts = exported + aggregated + dropped + pending", _numbers()),
            Section("Which exporter, which stage", _details()),
            Section("Over time", _over_time()),
        ],
    )


def _numbers() -> list[Panel]:
    share = f"{latest_sum(UNATTRIBUTED)} / ({latest_sum(ATTEMPTS)} > 0)"
    explained = {
        "exported": "Accepted by the collector, or written to a file, one by one.",
        "aggregated": "Counted on a span that stands for many attempts, by a flood.",
        "dropped": "Lost, with the stage and the reason below.",
    }
    return [
        number(
            "Unaccounted",
            f"Attempts - exported - aggregated - dropped - pending. Anything but 0 is an error. {SINCE}",
            UNACCOUNTED,
            alarm=Alarm(BAD, above=0.5),
        ),
        number("Attempts", f"What the kernel counted. {SINCE}", latest_sum(ATTEMPTS)),
        *(
            number(
                result.capitalize(),
                f"{explained[result]} {SINCE}",
                with_result(result),
                alarm=Alarm(BAD, otherwise=NEUTRAL) if result == "dropped" else CALM,
            )
            for result in RESULTS
        ),
        number(
            "Pending",
            f"In the ring, a queue or the spool. What an ephemeral runner leaves there is lost. {SINCE}",
            latest_sum(PENDING),
            alarm=Alarm(ATTENTION),
        ),
        number(
            "Unattributed",
            f"Share of attempts whose process or job is unknown. {SINCE}",
            share,
            unit=RATIO,
            alarm=Alarm(ATTENTION, above=0.01),
        ),
        number(
            "Exporters",
            "Exporters that reported in the range: each `run`, and each `watch`.",
            f"count({latest(ATTEMPTS)}) or vector(0)",
        ),
    ]


def _details() -> list[Panel]:
    parts = [by_exporter(series(EVENTS, f'{RESULT}="{result}"')) for result in RESULTS]
    attempts, pending = by_exporter(ATTEMPTS), by_exporter(PENDING)
    filled = [f"({part} or 0 * {attempts})" for part in (*parts, pending)]
    overflow = added_by((PIPELINE,), series(CONNECTIONS, f'{HOST}="_other"'))
    return [
        rows(
            "Account of each exporter",
            f"The equation, a line for each exporter. {SINCE}",
            [
                f"{attempts} - {' - '.join(filled)}",
                attempts,
                *filled,
            ],
            [
                Column("service_instance_id", "Exporter"),
                Column("host_name", "Machine"),
                Column("cicd_worker_name", "Runner"),
                columns.value("A", "Unaccounted"),
                columns.value("B", "Attempts"),
                *(
                    columns.value(ref_id, result.capitalize())
                    for ref_id, result in zip("CDE", RESULTS, strict=True)
                ),
                columns.value("F", "Pending"),
            ],
            no_value="No exporter reported",
            size=WHOLE,
        ),
        rows(
            "Dropped, by stage and reason",
            "Where attempts were lost, and why.",
            [added_by((STAGE, ERROR), series(EVENTS, f'{RESULT}="dropped"'))],
            [Column(STAGE, "Stage"), Column(ERROR, "Reason"), columns.ATTEMPTS],
            no_value="Nothing was dropped",
        ),
        rows(
            "Unattributed, by reason",
            "Attempts whose process or job is unknown, and why.",
            [added_by((ERROR,), UNATTRIBUTED)],
            [Column(ERROR, "Reason"), columns.ATTEMPTS],
            no_value="Process and job of every attempt are known",
        ),
        rows(
            "Enforcement by pipeline",
            "What was in force in the kernel at last: not, if one runner of the pipeline "
            "only audits or has no policy.",
            [f"min by ({PIPELINE}) ({latest(ENFORCING)})"],
            [columns.PIPELINE, Column("Value", "Mode", "short", mappings=(columns.MODES,))],
            no_value="No job was traced",
        ),
        rows(
            "Destinations beyond the limit",
            "Attempts that count as `_other`: of a pipeline with more than 200 destinations, or whose "
            "peers were too many to tell apart.",
            [overflow],
            [columns.PIPELINE, columns.ATTEMPTS],
            no_value="No pipeline has too many",
        ),
    ]


def _over_time() -> list[Panel]:
    waiting = f"sum by ({STAGE}) (max_over_time({PENDING}[{INTERVAL}]))"
    return [
        over_time(
            "What became of the attempts",
            "Attempts by result in each interval, a counter's first value included.",
            [sums(RESULT, EVENTS)],
            colors={"exported": GOOD, "aggregated": "blue", "dropped": BAD},
        ),
        over_time(
            "Pending by stage",
            "What waited in ring, queue and spool, at most, in each interval. A spool that grows means that "
            "the collector doesn't take it.",
            [Curve(waiting, f"{{{{{STAGE}}}}}")],
        ),
        over_time(
            "Unattributed by reason",
            "Attempts whose process or job is unknown, in each interval.",
            [sums(ERROR, UNATTRIBUTED)],
        ),
        over_time(
            "Exporters over time",
            "Exporters that reported in each interval. Where daemons watch, a dip is one that is gone.",
            [Curve(f"count(present_over_time({ATTEMPTS}[{INTERVAL}]))", "exporters")],
        ),
    ]
