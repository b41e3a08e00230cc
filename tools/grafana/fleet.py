"""The fleet: is there anything to look at, and where?"""

from __future__ import annotations

from tools.grafana import columns, links, shared, variables
from tools.grafana.account import UNACCOUNTED
from tools.grafana.board import Board, Section
from tools.grafana.panels import (
    ATTENTION,
    BAD,
    COUNT,
    GOOD,
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
    ENFORCING,
    HAS_BASELINE,
    HOST,
    INTERVAL,
    IS_DENIED,
    IS_NOVEL,
    IS_REMOTE,
    PIPELINE,
    PORT,
    RANGE,
    TASK,
    TRANSPORT,
    VERDICT,
    WOULD_BE_DENIED,
    added_by,
    latest,
    new_by_history,
    number_of,
    series,
    zero_where,
)
from tools.grafana.shared import Scope

CHOSEN = f'{PIPELINE}=~"$pipeline"'
SCOPE = Scope((CHOSEN, IS_REMOTE))
WHERE = (PIPELINE, TASK, HOST, PORT, TRANSPORT)
ALERTS = series("ALERTS", 'alertname=~"CICDEgress.+"', 'alertstate="firing"')


def board() -> Board:
    """Make the dashboard that shows what all pipelines connect to."""
    return Board(
        uid=links.FLEET,
        description=(
            "What all pipelines connect to: novelty and verdicts first, then who connects where. "
            "Loopback is left out. Numbers are of the whole time range, at its end."
        ),
        variables=[variables.pipelines(), variables.window()],
        sections=[
            Section("Is there anything to look at?", _numbers()),
            Section("New, denied, alerted", _findings()),
            Section("Pipelines and destinations", _who_and_where()),
            Section("Over time", _over_time()),
        ],
    )


def _numbers() -> list[Panel]:
    novel = number_of((PIPELINE, HOST, PORT, TRANSPORT), SCOPE.connections(IS_NOVEL))
    pipelines = number_of((PIPELINE,), SCOPE.connections())
    enforcing = f"count(min by ({PIPELINE}) ({latest(series(ENFORCING, CHOSEN))}) == 1) or vector(0)"
    exporter = links.to_dashboard("Is everything accounted for?", links.EXPORTER)
    return [
        shared.novel(
            SCOPE,
            "Novel destinations",
            "Destinations (pipeline, host, port, transport) that the baseline of the pipeline doesn't have.",
            novel,
        ),
        number(
            "New by history",
            "The same without a baseline: destinations of a pipeline that its metrics don't have in the "
            "time before this range, as far back as `Known for` says. Pipelines that are new themselves "
            "are left out.",
            f"count({new_by_history((PIPELINE, HOST), CHOSEN, IS_REMOTE)}) or vector(0)",
            alarm=Alarm(ATTENTION),
        ),
        *shared.denied(SCOPE),
        number("Pipelines", "Pipelines that connected to something.", f"{pipelines} or vector(0)"),
        number(
            "Enforcing",
            "Pipelines whose policy denied on every runner, by what was in force in the kernel at last.",
            enforcing,
        ),
        number(
            "Destinations",
            "Different hosts that something connected to. `_other` is one: what a pipeline has beyond 200.",
            f"{number_of((HOST,), SCOPE.connections())} or vector(0)",
        ),
        number(
            "Unaccounted",
            "Attempts that the kernel counted and that were neither exported, aggregated nor dropped, and "
            "don't wait either. Anything but 0 is an error of the exporter.",
            UNACCOUNTED,
            alarm=Alarm(BAD, above=0.5),
            links=(exporter,),
        ),
    ]


def _findings() -> list[Panel]:
    where = [columns.PIPELINE, columns.TASK, columns.DESTINATION_OF_PIPELINE, columns.PORT, columns.TRANSPORT]
    by_history = [columns.PIPELINE, columns.DESTINATION_OF_PIPELINE, columns.ATTEMPTS]
    alerted = "alertname", "severity", PIPELINE, HOST
    return [
        shared.novel_rows(SCOPE, "Novel destinations by pipeline", WHERE, where),
        shared.denied_rows(SCOPE, WHERE, where),
        rows(
            "New by history, by pipeline",
            "Attempts at destinations that the pipeline's metrics don't have in the time before this range, "
            "as far back as `Known for` says. Needs no baseline, but metrics of that time.",
            [new_by_history((PIPELINE, HOST), CHOSEN, IS_REMOTE)],
            by_history,
            no_value="Nothing new",
        ),
        rows(
            "Alerts",
            "Alerts of the rules in dashboards/prometheus that fired in this range.",
            [f"max by ({', '.join(alerted)}) (max_over_time({ALERTS}[{RANGE}]))"],
            [
                Column("alertname", "Alert"),
                Column("severity", "Severity"),
                columns.PIPELINE,
                columns.DESTINATION,
                Column("Value", "Fired", COUNT),
            ],
            no_value="No alert fired",
        ),
    ]


def _who_and_where() -> list[Panel]:
    novel = number_of((PIPELINE, HOST, PORT, TRANSPORT), SCOPE.connections(IS_NOVEL), by=PIPELINE)
    each = (PIPELINE,)
    return [
        rows(
            "By pipeline",
            "A line for each pipeline: how much it does, where to, and how it is held. The novel ones are "
            "empty without a baseline, the denied ones when there are none.",
            [
                added_by(each, SCOPE.connections()),
                number_of((PIPELINE, HOST), SCOPE.connections(), by=PIPELINE),
                f"{novel} or {zero_where(SCOPE.connections(HAS_BASELINE), by=PIPELINE)}",
                added_by(each, SCOPE.connections(IS_DENIED)),
                added_by(each, SCOPE.connections(WOULD_BE_DENIED)),
                f"min by ({PIPELINE}) ({latest(series(ENFORCING, CHOSEN))})",
                added_by(each, SCOPE.sent),
                added_by(each, SCOPE.received),
            ],
            [
                columns.PIPELINE,
                columns.value("C", "Novel"),
                columns.value("D", "Denied"),
                columns.value("E", "Would be denied"),
                columns.value("F", "Mode", mappings=(columns.MODES,)),
                columns.value("B", "Destinations"),
                columns.value("A", "Attempts"),
                *columns.sent_and_received("G", "H"),
            ],
            no_value="No pipeline connected to anything",
            size=WHOLE,
        ),
        rows(
            "By destination",
            "A line for each host: how many pipelines depend on it, and what it gets.",
            [
                number_of((HOST, PIPELINE), SCOPE.connections(), by=HOST),
                added_by((HOST,), SCOPE.connections()),
                added_by((HOST,), SCOPE.sent),
                added_by((HOST,), SCOPE.received),
            ],
            [
                columns.DESTINATION,
                columns.value("A", "Pipelines"),
                columns.value("B", "Attempts"),
                *columns.sent_and_received("C", "D"),
            ],
            no_value="Nothing connected to anything",
            size=WHOLE,
        ),
    ]


def _over_time() -> list[Panel]:
    by_pipeline = f"topk(10, {added_by((PIPELINE,), SCOPE.connections(), INTERVAL)})"
    to_pipeline = links.to_dashboard("What it connects to", links.PIPELINE, pipeline=links.label(PIPELINE))
    return [
        shared.attempts_over_time(
            SCOPE,
            "Attempts by verdict",
            VERDICT,
            colors={"deny": BAD, "audit": ATTENTION, "allow": GOOD},
        ),
        over_time(
            "Attempts by pipeline",
            "The ten pipelines with the most attempts in each interval.",
            [Curve(by_pipeline, f"{{{{{PIPELINE}}}}}")],
            links=(to_pipeline,),
        ),
    ]
