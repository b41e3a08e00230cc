"""One destination: who connects to it, since when, by which programs, and in which traces."""

from __future__ import annotations

from tools.grafana import columns, links, shared, variables
from tools.grafana.board import Board, Section
from tools.grafana.panels import (
    ATTENTION,
    BAD,
    BYTES,
    GOOD,
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
    CONNECT_DURATION,
    HOST,
    INTERVAL,
    IS_NOVEL,
    LINEAGE,
    NOVEL,
    OUTCOME,
    PIPELINE,
    PORT,
    TASK,
    TRANSPORT,
    VERDICT,
    added,
    added_by,
    new_by_history,
    number_of,
    quantile,
    series,
    total,
)
from tools.grafana.shared import Scope, sums

TO_IT, CHOSEN = f'{HOST}="$destination"', f'{PIPELINE}=~"$pipeline"'
SCOPE = Scope((TO_IT, CHOSEN))
CONNECTS = f"{CONNECT_DURATION}_count"
TAG = 'server.address="$destination"'
PIPELINE_COLUMN = Column(
    PIPELINE,
    "Pipeline",
    links=(
        links.to_traces(
            "Traces of ${__value.raw} with this destination",
            {"cicd.pipeline.name": links.CELL, "server.address": "${destination:percentencode}"},
        ),
        links.pipeline_cell(),
    ),
)
PROGRAM_LINK = links.to_traces(
    "Traces in which ${__value.raw} connects to it",
    {"process.executable.name": links.CELL, "server.address": "${destination:percentencode}"},
)


def board() -> Board:
    """Make the dashboard that shows who connects to one destination."""
    return Board(
        uid=links.DESTINATION,
        description=(
            "One destination: which pipelines connect to it, whether that is new or against a policy, and "
            "the traces that say which program did, started by whom. Numbers are of the whole time range."
        ),
        variables=[
            variables.destination(),
            variables.pipelines_of_destination(),
            variables.window(),
            variables.more_tags(),
        ],
        sections=[
            Section("Destination $destination", _numbers()),
            Section("Who connects to it", _who()),
            Section("Traces: which program, which command line, started by whom", _traces()),
            Section("Over time", _over_time()),
        ],
    )


def _numbers() -> list[Panel]:
    novel = f"sum({added(SCOPE.connections(IS_NOVEL))})"
    failed = series(CONNECTS, *SCOPE.matchers, f'{OUTCOME}!="established"')
    return [
        number(
            "Pipelines",
            "Pipelines that connected to it.",
            f"{number_of((PIPELINE,), SCOPE.connections())} or vector(0)",
        ),
        shared.attempts(SCOPE),
        shared.novel(
            SCOPE,
            "Novel attempts",
            "Attempts that weren't in the baseline of their pipeline.",
            novel,
        ),
        *shared.denied(SCOPE),
        number(
            "Failed connects",
            "Connects that ended otherwise than established: refused, timed out, unreachable. Those "
            "that were denied never began.",
            total(failed),
            alarm=Alarm(ATTENTION),
        ),
        *shared.payload(SCOPE),
    ]


def _who() -> list[Panel]:
    labels = (PIPELINE, TASK, PORT, TRANSPORT, VERDICT, NOVEL)
    chains = added_by((LINEAGE, PIPELINE), SCOPE.connections(f'{LINEAGE}!=""'))
    return [
        rows(
            "Pipelines and tasks",
            "Who connects to it, how, and what the policy and the baseline of the pipeline say. A pipeline "
            "leads to its traces with this destination.",
            [added_by(labels, SCOPE.connections())],
            [
                PIPELINE_COLUMN,
                columns.TASK,
                columns.PORT,
                columns.TRANSPORT,
                columns.VERDICT,
                columns.NOVEL,
                columns.ATTEMPTS,
            ],
            no_value="Nothing connected to it",
            size=WHOLE,
        ),
        rows(
            "New by history",
            "Attempts of pipelines that didn't connect to it before this range, as far back as `Known for` "
            "says, and did connect to other things. Needs no baseline.",
            [new_by_history((PIPELINE,), CHOSEN, TO_IT)],
            [PIPELINE_COLUMN, columns.ATTEMPTS],
            no_value="All of them did before",
        ),
        rows(
            "Programs",
            "Which programs connected, and their chain from the job's root down. Empty unless the exporters "
            "run with --metric-lineage; the traces have it always.",
            [f'label_replace({chains}, "program", "$1", "{LINEAGE}", "(?:.*>)?([^>]+)")'],
            [
                Column("program", "Program", links=(PROGRAM_LINK,)),
                columns.LINEAGE,
                PIPELINE_COLUMN,
                columns.ATTEMPTS,
            ],
            no_value="No exporter runs with --metric-lineage",
        ),
    ]


def _traces() -> list[Panel]:
    return [
        traces(
            "Traces",
            "The latest traces that have it, narrowed by `More span tags`. A trace's id opens it: the egress "
            "span has the command line, its parents are the programs that led to it.",
            f"{TAG} $tags",
            no_value="Jaeger has no such trace in this range",
        ),
        traces(
            "Traces where it is novel",
            "The latest in which it wasn't in the baseline.",
            f"{TAG} egress.novel=true",
            no_value="None in this range",
        ),
    ]


def _over_time() -> list[Panel]:
    to_pipeline = links.to_dashboard("What it connects to", links.PIPELINE, pipeline=links.label(PIPELINE))
    return [
        shared.attempts_over_time(SCOPE, "Attempts by pipeline", PIPELINE, links=(to_pipeline,)),
        over_time(
            "Connects by outcome",
            "What became of connects in each interval.",
            [sums(OUTCOME, series(CONNECTS, *SCOPE.matchers))],
            colors={"established": GOOD, "denied": BAD},
        ),
        over_time(
            "Time to connect",
            "From a connect to its outcome, whatever that was.",
            [
                Curve(quantile(ratio, (), TO_IT, CHOSEN), legend, has_exemplars=legend != "median")
                for ratio, legend in ((0.5, "median"), (0.95, "95th percentile"))
            ],
            unit=SECONDS,
            is_stacked=False,
        ),
        over_time(
            "Payload",
            "What went each way, of TCP and UDP, counted once it is over.",
            [
                Curve(f"sum({added(SCOPE.sent, INTERVAL)})", "sent"),
                Curve(f"sum({added(SCOPE.received, INTERVAL)})", "received"),
            ],
            unit=BYTES,
        ),
    ]
