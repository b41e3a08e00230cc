"""The fleet: is there anything to look at, and where?"""

from __future__ import annotations

from tools.grafana import columns, links, variables
from tools.grafana.account import UNACCOUNTED
from tools.grafana.board import Board, Section
from tools.grafana.panels import (
    ATTENTION,
    BAD,
    COUNT,
    HALF,
    WHOLE,
    Alarm,
    Column,
    Curve,
    Panel,
    Size,
    number,
    over_time,
    rows,
)
from tools.grafana.promql import (
    CONNECTIONS,
    DIRECTION,
    ENFORCING,
    HAS_BASELINE,
    HOST,
    INTERVAL,
    IO,
    IS_AGAINST_POLICY,
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
    added,
    added_by,
    latest,
    new_by_history,
    number_of,
    series,
    total,
    zero_where,
)

CHOSEN = f'{PIPELINE}=~"$pipeline"'
WHERE = (PIPELINE, TASK, HOST, PORT, TRANSPORT)
ALERTS = series("ALERTS", 'alertname=~"CICDEgress.+"', 'alertstate="firing"')


def board() -> Board:
    """What all pipelines connect to."""
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


def connections(*matchers: str) -> str:
    """Attempts of the chosen pipelines to leave the machine."""
    return series(CONNECTIONS, CHOSEN, IS_REMOTE, *matchers)


def _numbers() -> list[Panel]:
    novel = number_of((PIPELINE, HOST, PORT, TRANSPORT), connections(IS_NOVEL))
    pipelines = number_of((PIPELINE,), connections())
    enforcing = f"count(min by ({PIPELINE}) ({latest(series(ENFORCING, CHOSEN))}) == 1) or vector(0)"
    exporter = links.to_dashboard("Is everything accounted for?", links.EXPORTER)
    return [
        number(
            "Novel destinations",
            "Destinations (pipeline, host, port, transport) that the baseline of the pipeline doesn't have. "
            "Empty as long as no exporter runs with --baseline.",
            f"{novel} or {zero_where(connections(HAS_BASELINE))}",
            alarm=Alarm(BAD),
            no_value="no baseline",
        ),
        number(
            "New by history",
            "The same without a baseline: destinations of a pipeline that its metrics don't have in the "
            "time before this range, as far back as `Known for` says. Pipelines that are new themselves "
            "are left out.",
            f"count({new_by_history((PIPELINE, HOST), CHOSEN, IS_REMOTE)}) or vector(0)",
            alarm=Alarm(ATTENTION),
        ),
        number(
            "Denied",
            "Attempts that failed with EPERM since the policy denies them.",
            total(connections(IS_DENIED)),
            alarm=Alarm(BAD),
        ),
        number(
            "Would be denied",
            "Attempts that the policy is against and that went on, since it only audits.",
            total(connections(WOULD_BE_DENIED)),
            alarm=Alarm(ATTENTION),
        ),
        number("Pipelines", "Pipelines that connected to something.", f"{pipelines} or vector(0)"),
        number(
            "Enforcing",
            "Pipelines whose policy denied on every runner, by what was in force in the kernel at last.",
            enforcing,
        ),
        number(
            "Destinations",
            "Different hosts that something connected to. `_other` is one: what a pipeline has beyond 200.",
            f"{number_of((HOST,), connections())} or vector(0)",
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
        rows(
            "Novel destinations by pipeline",
            "Attempts at what the baseline doesn't have. A destination leads to the traces that have it: "
            "which step, which program, which command line.",
            [added_by((*WHERE, VERDICT), connections(IS_NOVEL))],
            [*where, columns.VERDICT, columns.ATTEMPTS],
            no_value="Nothing novel, or no exporter has a baseline",
        ),
        rows(
            "Denied, or would be",
            "Attempts that the policy is against, by pipeline and destination.",
            [added_by((*WHERE, VERDICT), connections(IS_AGAINST_POLICY))],
            [*where, columns.VERDICT, columns.ATTEMPTS],
            no_value="Nothing that a policy is against",
        ),
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
    io = {way: series(IO, CHOSEN, IS_REMOTE, f'{DIRECTION}="{way}"') for way in ("transmit", "receive")}
    novel = number_of((PIPELINE, HOST, PORT, TRANSPORT), connections(IS_NOVEL), by=PIPELINE)
    each = (PIPELINE,)
    return [
        rows(
            "By pipeline",
            "A line for each pipeline: how much it does, where to, and how it is held. The novel ones are "
            "empty without a baseline, the denied ones when there are none.",
            [
                added_by(each, connections()),
                number_of((PIPELINE, HOST), connections(), by=PIPELINE),
                f"{novel} or {zero_where(connections(HAS_BASELINE), by=PIPELINE)}",
                added_by(each, connections(IS_DENIED)),
                added_by(each, connections(WOULD_BE_DENIED)),
                f"min by ({PIPELINE}) ({latest(series(ENFORCING, CHOSEN))})",
                added_by(each, io["transmit"]),
                added_by(each, io["receive"]),
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
                number_of((HOST, PIPELINE), connections(), by=HOST),
                added_by((HOST,), connections()),
                added_by((HOST,), io["transmit"]),
                added_by((HOST,), io["receive"]),
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
    by_verdict = f"sum by ({VERDICT}) ({added(connections(), INTERVAL)})"
    by_pipeline = f"topk(10, {added_by((PIPELINE,), connections(), INTERVAL)})"
    to_pipeline = links.to_dashboard("What it connects to", links.PIPELINE, pipeline=links.label(PIPELINE))
    return [
        over_time(
            "Attempts by verdict",
            "Attempts in each interval, a counter's first value included. Points are exemplars: the latest "
            "span of a destination, which leads to its trace.",
            [Curve(by_verdict, f"{{{{{VERDICT}}}}}", has_exemplars=True)],
            colors={"deny": BAD, "audit": ATTENTION, "allow": "green"},
        ),
        over_time(
            "Attempts by pipeline",
            "The ten pipelines with the most attempts in each interval.",
            [Curve(by_pipeline, f"{{{{{PIPELINE}}}}}")],
            links=(to_pipeline,),
            size=Size(HALF.width, HALF.height),
        ),
    ]
