"""One pipeline: what it connects to, what of that is new or against its policy, and in which traces."""

from __future__ import annotations

from tools.grafana import columns, links, variables
from tools.grafana.board import Board, Section
from tools.grafana.panels import (
    ATTENTION,
    BAD,
    BYTES,
    COUNT,
    SECONDS,
    WHOLE,
    Alarm,
    Column,
    Curve,
    Panel,
    number,
    over_time,
    rows,
    traces,
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
    JOBS,
    LINEAGE,
    NOVEL,
    PIPELINE,
    PORT,
    TASK,
    TRANSPORT,
    VERDICT,
    WOULD_BE_DENIED,
    added,
    added_by,
    latest,
    new_by_history,
    number_of,
    quantile,
    series,
    total,
    zero_where,
)

OF_PIPELINE, OF_TASKS = f'{PIPELINE}="$pipeline"', f'{TASK}=~"$task"'
TO = (TASK, HOST, PORT, TRANSPORT)
TAG = 'cicd.pipeline.name="$pipeline"'
TO_TRACES = links.to_traces(
    "Traces of this pipeline with ${__value.raw}",
    {"cicd.pipeline.name": "${pipeline:percentencode}", "server.address": links.CELL},
)
DESTINATION = Column(HOST, "Destination", links=(TO_TRACES, links.destination_cell()))
TO_COLUMNS = [columns.TASK, DESTINATION, columns.PORT, columns.TRANSPORT]


def board() -> Board:
    """What one pipeline connects to."""
    return Board(
        uid=links.PIPELINE,
        description=(
            "What one pipeline connects to: what is new or against its policy first, then all of it, then "
            "the traces. Loopback is left out. Numbers are of the whole time range, at its end."
        ),
        variables=[variables.pipeline(), variables.tasks(), variables.window()],
        sections=[
            Section("Pipeline $pipeline", _numbers()),
            Section("New or against the policy", _findings()),
            Section("Where it connects to", _destinations()),
            Section("Over time", _over_time()),
            Section("Its traces", _traces()),
        ],
    )


def connections(*matchers: str) -> str:
    """Attempts of the chosen tasks to leave the machine."""
    return series(CONNECTIONS, OF_PIPELINE, OF_TASKS, IS_REMOTE, *matchers)


def io(direction: str) -> str:
    """Payload of the chosen tasks, one way."""
    return series(IO, OF_PIPELINE, OF_TASKS, IS_REMOTE, f'{DIRECTION}="{direction}"')


def _numbers() -> list[Panel]:
    novel = number_of((HOST, PORT, TRANSPORT), connections(IS_NOVEL))
    return [
        number(
            "Novel destinations",
            "Destinations (host, port, transport) that the pipeline's baseline doesn't have. Empty as long "
            "as no exporter runs with --baseline.",
            f"{novel} or {zero_where(connections(HAS_BASELINE))}",
            alarm=Alarm(BAD),
            no_value="no baseline",
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
        number(
            "Mode",
            "Whether what the policy denies failed, by what was in force in the kernel at last: not, if "
            "one runner of the pipeline only audits or has no policy.",
            f"min({latest(series(ENFORCING, OF_PIPELINE))})",
            no_value="no job",
            mappings=(columns.MODES,),
        ),
        number(
            "Jobs now",
            "Jobs of the pipeline that are being traced.",
            f"sum({series(JOBS, OF_PIPELINE)}) or vector(0)",
        ),
        number("Attempts", "Connects and datagram sends.", total(connections())),
        number("Sent", "Payload of connections that ended.", total(io("transmit")), unit=BYTES),
        number("Received", "Payload of connections that ended.", total(io("receive")), unit=BYTES),
    ]


def _findings() -> list[Panel]:
    return [
        rows(
            "Novel destinations by task",
            "Attempts at what the baseline doesn't have. A destination leads to the traces that have it.",
            [added_by((*TO, VERDICT), connections(IS_NOVEL))],
            [*TO_COLUMNS, columns.VERDICT, columns.ATTEMPTS],
            no_value="Nothing novel, or no baseline",
        ),
        rows(
            "Denied, or would be",
            "Attempts that the policy is against.",
            [added_by((*TO, VERDICT), connections(IS_AGAINST_POLICY))],
            [*TO_COLUMNS, columns.VERDICT, columns.ATTEMPTS],
            no_value="Nothing that the policy is against",
        ),
        rows(
            "New by history",
            "Attempts at destinations that the pipeline's metrics don't have in the time before this range, "
            "as far back as `Known for` says. Needs no baseline; empty for a pipeline that is new itself.",
            [new_by_history((PIPELINE, TASK, HOST), OF_PIPELINE, OF_TASKS, IS_REMOTE)],
            [columns.PIPELINE, columns.TASK, DESTINATION, columns.ATTEMPTS],
            no_value="Nothing new",
            size=WHOLE,
        ),
    ]


def _destinations() -> list[Panel]:
    labels = (*TO, VERDICT, NOVEL)
    return [
        rows(
            "Destinations",
            "Everything it connected to, with the verdict of its policy and whether its baseline has it.",
            [added_by(labels, connections())],
            [*TO_COLUMNS, columns.VERDICT, columns.NOVEL, columns.ATTEMPTS],
            no_value="It connected to nothing",
            size=WHOLE,
        ),
        rows(
            "Payload by destination",
            "What went each way on connections that ended.",
            [added_by((HOST,), io("transmit")), added_by((HOST,), io("receive"))],
            [DESTINATION, *columns.sent_and_received("A", "B")],
            no_value="No connection carried anything",
        ),
        rows(
            "Chains of programs",
            "Which programs connected, from the job's root down. Empty unless the exporters run with "
            "--metric-lineage; the traces have it always.",
            [added_by((HOST, LINEAGE), connections(f'{LINEAGE}!=""'))],
            [columns.LINEAGE, DESTINATION, columns.ATTEMPTS],
            no_value="No exporter runs with --metric-lineage",
        ),
    ]


def _over_time() -> list[Panel]:
    by_host = f"sum by ({HOST}) ({added(connections(), INTERVAL)})"
    to_destination = links.to_dashboard(
        "Who connects to it", links.DESTINATION, destination=links.label(HOST)
    )
    return [
        over_time(
            "Attempts by destination",
            "Attempts in each interval, a counter's first value included. Points are exemplars: the latest "
            "span of a destination, which leads to its trace.",
            [Curve(by_host, f"{{{{{HOST}}}}}", has_exemplars=True)],
            unit=COUNT,
            links=(to_destination,),
        ),
        over_time(
            "Time to connect, 95th percentile",
            "From a connect to its outcome, whatever that was, by destination. Of all tasks: its metric "
            "has none.",
            [Curve(quantile(0.95, (HOST,), OF_PIPELINE, IS_REMOTE), f"{{{{{HOST}}}}}", has_exemplars=True)],
            unit=SECONDS,
            links=(to_destination,),
            is_stacked=False,
        ),
        over_time(
            "Sent by destination",
            "Payload that left, counted when a connection ends.",
            [Curve(f"sum by ({HOST}) ({added(io('transmit'), INTERVAL)})", f"{{{{{HOST}}}}}")],
            unit=BYTES,
            links=(to_destination,),
            size=WHOLE,
        ),
    ]


def _traces() -> list[Panel]:
    return [
        traces(
            "Traces",
            "Its latest traces, one for each job: all processes that connected, and what led to them.",
            TAG,
            no_value="Jaeger has no trace of it in this range",
        ),
        traces(
            "Traces with something novel",
            "The latest in which a connection isn't in the baseline.",
            f"{TAG} egress.novel=true",
            no_value="None in this range",
        ),
        traces(
            "Traces with a denial",
            "The latest in which the policy denied something.",
            f"{TAG} egress.verdict=deny",
            no_value="None in this range",
        ),
        traces(
            "Traces with something that would be denied",
            "The latest in which a policy that only audits was against something.",
            f"{TAG} egress.verdict=audit",
            no_value="None in this range",
        ),
    ]
