"""`docs/reference/spans.md`: spans and their attributes."""

from __future__ import annotations

from collections.abc import Iterable

from exporter.events.facts import Outcome
from exporter.pipeline.spans import SCOPE_NAME
from tools.reference import attributes
from tools.reference.attributes import Attribute
from tools.reference.pages import code, page, plain, table

_SPANS = (
    (
        "job",
        "INTERNAL",
        "`{cicd.pipeline.task.name}`, else the pipeline's, else `run` (`host` for what is no job)",
        "the span of a valid TRACEPARENT in the environment of the job's root; else, on GitHub, the "
        "workflow's own job "
        "span (with `CI_EGRESS_CHECK_RUN_ID`) or run span; else none",
    ),
    (
        "program",
        "INTERNAL",
        "`{process.executable.name}`",
        "the program that created the process, or the job",
    ),
    (
        "egress",
        "CLIENT",
        "`connect` or `send`, and `{server.address}:{server.port}` (IPv6 in brackets); `create` for a "
        "socket that was denied before it had a peer",
        "the program that did it",
    ),
)
_OUTCOMES = {
    Outcome.ESTABLISHED: "the peer answered; the span has an event `established` at that moment",
    Outcome.REFUSED: "the peer, or somebody on the way, said no",
    Outcome.TIMEOUT: "nobody answered in time",
    Outcome.RESET: "the connection was reset, and some process still had it",
    Outcome.UNREACHABLE: "there is no way there",
    Outcome.ABORTED: "the process gave up, or ended, before there was an answer",
    Outcome.OPEN: "it goes on when the job is over",
    Outcome.SENT: (
        "a datagram: whether it arrived isn't known; without an outcome it didn't leave, or had nothing in it"
    ),
    Outcome.DENIED: "by the policy: nothing was sent",
}
_INTRODUCTION = (
    f"The scope is `{SCOPE_NAME}`. One trace for each job (one for each run, on GitHub and where jobs share "
    f"a run), nested "
    "like the process tree, with what programs did on the network as leaves. By default only programs with "
    "egress and "
    "their ancestors have spans (`--process-spans`). Names that others have defined are those of "
    "OpenTelemetry's semantic "
    "conventions 1.44; `egress.*` is this project's own."
)
_RULES = (
    "What isn't known is left out: nothing is guessed, and nothing is empty. Text is UTF-8, with replacement "
    "characters "
    "for what isn't. A program's span lasts from its exec (from the fork, for a child that executes nothing) "
    "to the next "
    "exec or to its exit; an egress span from the attempt to the end of what it began, a datagram's is a "
    "moment. The "
    "span of what was denied has the status ERROR. The sampled flag drops nothing.",
    "A program's first 32 acts with a peer, within a second, have spans of their own; further ones are "
    "counted in the "
    "kernel, and come as one span a second with `egress.attempts`. A program is told apart with 256 peers a "
    "second, while its job has room; what "
    "goes beyond that is counted under `server.address` `_other`.",
)


def text() -> str:
    """Return the page. Raises SystemExit where the code has names that nobody described."""
    attributes.check()
    undescribed = set(Outcome) - set(_OUTCOMES)
    if undescribed:
        raise SystemExit(f"tools/reference/spans.py doesn't say what {undescribed} means")
    kinds = table(["span", "kind", "name", "parent"], _SPANS)
    outcomes = [[code(outcome.value), plain(meaning)] for outcome, meaning in _OUTCOMES.items()]
    return page(
        "Spans",
        _INTRODUCTION,
        kinds,
        *_RULES,
        "## Where to, and what became of it",
        "On egress spans:",
        _table(attributes.EGRESS),
        "### Outcomes",
        table(["`egress.outcome`", ""], outcomes),
        "## Who",
        "On egress spans and on those of programs:",
        _table(attributes.PROGRAM),
        "On those of programs alone:",
        _table(attributes.PROGRAM_ALONE),
        "## Which job",
        "On every span of a job, and on its resource, as far as the CI system tells:",
        _table(attributes.JOB),
        "## The resource",
        "Besides, what OTEL_RESOURCE_ATTRIBUTES has:",
        _table(attributes.RESOURCE),
    )


def _table(rows: Iterable[Attribute]) -> str:
    head = ["attribute", "type", "", "for example"]
    return table(head, [[code(row.name), row.type, plain(row.meaning), code(row.example)] for row in rows])
