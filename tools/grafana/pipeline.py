"""One pipeline: its destinations, which of them are new or against its policy, and in which traces."""

from __future__ import annotations

from tools.grafana import columns, links, shared, variables
from tools.grafana.board import Board, Section
from tools.grafana.panels import (
    BYTES,
    SECONDS,
    WHOLE,
    Column,
    Curve,
    Panel,
    number,
    over_time,
    rows,
    traces,
)
from tools.grafana.promql import (
    ENFORCING,
    HOST,
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
    added_by,
    latest,
    new_by_history,
    number_of,
    quantile,
    series,
)
from tools.grafana.shared import Scope, sums

OF_PIPELINE, OF_TASKS = f'{PIPELINE}="$pipeline"', f'{TASK}=~"$task"'
SCOPE = Scope((OF_PIPELINE, OF_TASKS, IS_REMOTE))
TO = (TASK, HOST, PORT, TRANSPORT)
TAG = 'cicd.pipeline.name="$pipeline"'
TO_TRACES = links.to_traces(
    "Traces of this pipeline with ${__value.raw}",
    {"cicd.pipeline.name": "${pipeline:percentencode}", "server.address": links.CELL},
)
DESTINATION = Column(HOST, "Destination", links=(TO_TRACES, links.destination_cell()))
TO_COLUMNS = [columns.TASK, DESTINATION, columns.PORT, columns.TRANSPORT]


def board() -> Board:
    """Make the dashboard that shows what one pipeline connects to."""
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


def _numbers() -> list[Panel]:
    novel = number_of((HOST, PORT, TRANSPORT), SCOPE.connections(IS_NOVEL))
    return [
        shared.novel(
            SCOPE,
            "Novel destinations",
            "Destinations (host, port, transport) that the pipeline's baseline doesn't have.",
            novel,
        ),
        *shared.denied(SCOPE),
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
        shared.attempts(SCOPE),
        *shared.payload(SCOPE),
    ]


def _findings() -> list[Panel]:
    return [
        shared.novel_rows(SCOPE, "Novel destinations by task", TO, TO_COLUMNS),
        shared.denied_rows(SCOPE, TO, TO_COLUMNS),
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
            [added_by(labels, SCOPE.connections())],
            [*TO_COLUMNS, columns.VERDICT, columns.NOVEL, columns.ATTEMPTS],
            no_value="It connected to nothing",
            size=WHOLE,
        ),
        rows(
            "Payload by destination",
            "What went each way, of TCP and UDP, once it is over.",
            [added_by((HOST,), SCOPE.sent), added_by((HOST,), SCOPE.received)],
            [DESTINATION, *columns.sent_and_received("A", "B")],
            no_value="Nothing was carried",
        ),
        rows(
            "Chains of programs",
            "Which programs connected, from the job's root down. Empty unless the exporters run with "
            "--metric-lineage; the traces have it always.",
            [added_by((HOST, LINEAGE), SCOPE.connections(f'{LINEAGE}!=""'))],
            [columns.LINEAGE, DESTINATION, columns.ATTEMPTS],
            no_value="No exporter runs with --metric-lineage",
        ),
    ]


def _over_time() -> list[Panel]:
    to_destination = links.to_dashboard(
        "Who connects to it", links.DESTINATION, destination=links.label(HOST)
    )
    return [
        shared.attempts_over_time(SCOPE, "Attempts by destination", HOST, links=(to_destination,)),
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
            "Payload that left, of TCP and UDP, counted once it is over.",
            [sums(HOST, SCOPE.sent)],
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
