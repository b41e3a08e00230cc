"""Put jobs together from their spans, in whatever order these come."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence, Set
from dataclasses import dataclass, field, replace

from exporter.otlp.reading.json import text_of
from exporter.otlp.reading.spans import REPOSITORY, WholeSpan, repository_of

from .model import JobReport, ReportedAct, ReportedProgram
from .texts import Texts


def rooted(programs: Mapping[str, ReportedProgram], root: str | None) -> dict[str, ReportedProgram]:
    """Return `programs`, by span id, with `root` for each parent that is missing or would close a circle."""
    parents: dict[str, str | None] = {}
    for start in programs:
        way: list[str] = []
        current: str | None = start
        while current is not None and current not in parents:
            above = programs[current].parent_id
            parents[current] = above if above in programs else None
            way.append(current)
            current = parents[current]
        if current is not None and current in way:  # the way came back to it: a circle
            parents[current] = None
    return {
        span_id: replace(program, parent_id=parents[span_id] or root) for span_id, program in programs.items()
    }


def chosen(
    programs: Mapping[str, ReportedProgram], acts: Iterable[ReportedAct], limit: int
) -> dict[str, ReportedProgram]:
    """Choose at most `limit` of `programs`, which are `rooted`: first the ones with `acts` or above these."""
    wanted: dict[str, None] = {}
    for act in acts:
        _want(programs, act.parent_id, wanted, limit)
    for program in sorted(programs.values(), key=lambda each: each.started_ns):
        _want(programs, program.span_id, wanted, limit)
    return {span_id: program for span_id, program in programs.items() if span_id in wanted}


def _want(
    programs: Mapping[str, ReportedProgram], span_id: str | None, wanted: dict[str, None], limit: int
) -> None:
    """Add a program and all its ancestors to `wanted`, or none of them if there is too little room."""
    way: list[str] = []
    while span_id is not None and span_id in programs and span_id not in wanted:
        way.append(span_id)
        span_id = programs[span_id].parent_id
    if len(wanted) + len(way) <= limit:
        wanted.update(dict.fromkeys(way))


def hung(acts: Iterable[ReportedAct], programs: Set[str], root: str | None) -> list[ReportedAct]:
    """Return `acts`, sorted by start; `root` replaces each parent that is none of `programs`."""
    placed = (
        act if act.parent_id in programs or act.parent_id == root else replace(act, parent_id=root)
        for act in acts
    )
    return sorted(placed, key=lambda act: (act.started_ns, act.span_id))


IDENTITY = (
    "cicd.pipeline.name",
    "cicd.pipeline.task.name",
    "cicd.pipeline.task.run.id",
    "cicd.pipeline.run.id",
    "egress.job.attempt",
)
ATTRIBUTES = frozenset({*IDENTITY, *REPOSITORY, "egress.mode", "service.instance.id"})
"""All attributes that are read about jobs."""

_UNNAMED = "run"
"""The name of a job's span if no CI system gives it one."""

Key = tuple[str, ...]


def job_key(span: WholeSpan) -> Key:
    """Return a key that all spans of a job share, also if it is exported in parts, and no other job has."""
    get = span.attributes.get
    return (span.trace_id, *(text_of(get(name)) or "" for name in IDENTITY))


@dataclass(slots=True)
class PartialJob:
    """A job, as far as its spans have been read."""

    trace_id: str
    pipeline: str | None
    task: str | None
    run_id: str | None
    repository: str | None
    name: str | None = None
    """The name of the job's own span."""
    first_part: tuple[int, str] | None = None
    """The start and the id of the first of the job's own spans."""
    mode: tuple[int, str] | None = None
    """The start of the latest span that has a mode, and that mode."""
    started_ns: int = 0
    ended_ns: int = 0
    programs: dict[str, ReportedProgram] = field(default_factory=dict)

    def meet(self, span: WholeSpan) -> None:
        """Note the facts about the job that each of its spans has."""
        if span.started_ns:
            self.started_ns = min(self.started_ns or span.started_ns, span.started_ns)
            self.ended_ns = max(self.ended_ns, span.ended_ns)
        mode = text_of(span.attributes.get("egress.mode"))
        if mode in ("audit", "enforce") and (self.mode is None or self.mode[0] <= span.started_ns):
            self.mode = (span.started_ns, mode)

    def add_part(self, span: WholeSpan) -> None:
        """Note the job's own span; a job that is exported in parts has several."""
        part = (span.started_ns, span.span_id)
        self.first_part = min(self.first_part or part, part)

    def report(self, acts: Sequence[ReportedAct], programs_max: int) -> JobReport:
        """Make the report of the job, with `acts`, and `programs_max` programs at most."""
        span_id = self.first_part[1] if self.first_part else ""
        programs = chosen(rooted(self.programs, span_id or None), acts, programs_max)
        named = self._named() or self.task or self.pipeline
        return JobReport(
            trace_id=self.trace_id,
            span_id=span_id,
            title=named or _root_program(programs, span_id, acts) or _UNNAMED,
            pipeline=self.pipeline,
            task=self.task,
            run_id=self.run_id,
            repository=self.repository,
            mode=self.mode[1] if self.mode else None,
            started_ns=self.started_ns,
            ended_ns=self.ended_ns,
            programs=sorted(programs.values(), key=lambda each: (each.started_ns, each.span_id)),
            acts=hung(acts, programs.keys(), span_id or None),
        )

    def _named(self) -> str | None:
        """Return the name of the job's own span, unless it is the default name."""
        return None if self.name == _UNNAMED else self.name


def _root_program(
    programs: Mapping[str, ReportedProgram], span_id: str, acts: Sequence[ReportedAct]
) -> str | None:
    """Return the name of the first program: the title of a job that no CI system names, as in `run`."""
    roots = (each for each in programs.values() if each.parent_id == (span_id or None))
    first = min(roots, key=lambda each: (each.started_ns, each.span_id), default=None)
    if first is not None:
        return first.name
    return next((act.chain[0] for act in acts if act.chain), None)


def found_by(span: WholeSpan, texts: Texts) -> PartialJob:
    """Start a job with `span`, the first of its spans to be read."""
    pipeline, task, _, run_id, _ = (texts.name(span.attributes.get(name)) for name in IDENTITY)
    return PartialJob(span.trace_id, pipeline, task, run_id, repository_of(span.resource))
