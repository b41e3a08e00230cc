"""Make a report of any number of spans, within limits: parts that are left out are counted, and noted.

gathering = Gathering()
gathering.add(span)  # for each span that `whole_spans_in` yields
report = gathering.report(account)
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator
from typing import NamedTuple

from exporter.common.text import counted
from exporter.otlp.reading.json import text_of
from exporter.otlp.reading.spans import WholeSpan
from exporter.pipeline.account import Account

from . import acts, jobs
from .acts import Acts, act_of, attempts_of, program_of
from .jobs import Key, PartialJob, found_by, job_key
from .model import Report, ReportedAct
from .texts import NAME_MAX, Texts

ATTRIBUTES = acts.ATTRIBUTES | jobs.ATTRIBUTES
"""All attributes that are read from spans and their resources."""


class Limits(NamedTuple):
    """The most jobs, programs, acts and so on that a report holds."""

    acts: int = 20_000
    programs: int = 20_000
    programs_read: int = 100_000
    """The most programs read; of these, the ones with acts are chosen first."""
    jobs: int = 1_000
    spans_told_apart: int = 1_000_000
    """The most spans of which duplicates are recognized; further ones may count twice."""
    instances: int = 10_000


class Gathering:
    """A report under construction, from spans as they are read."""

    def __init__(self, limits: Limits = Limits()) -> None:  # noqa: B008 - immutable
        self._limits = limits
        self._texts = Texts()
        self._jobs: dict[Key, int] = {}
        self._found: list[PartialJob] = []
        self._acts = Acts(limits.acts)
        self._seen: set[int] = set()
        self._programs = 0
        self.instances: set[str] = set()
        """The `service.instance.id`, cut to NAME_MAX characters, of each process that made the spans."""
        self._left_out = self._programs_left_out = self._without_ids = 0
        self._has_more_jobs = self._has_more_instances = False

    def add(self, span: WholeSpan) -> None:
        """Add a span, unless it was added already."""
        if not span.trace_id or not span.span_id:
            self._without_ids += 1
            return
        if not self._is_new(span):
            return
        self._meet_maker(span)
        number = self._job(span)
        if number is None:
            if span.is_egress:
                self._left_out += attempts_of(span)
            return
        self._found[number].meet(span)
        self._add_to(number, span)

    def report(self, account: Account | None = None, notes: tuple[str, ...] = ()) -> Report:
        """Make the report of the spans read so far; `notes` come before its own notes."""
        of_job: dict[int, list[ReportedAct]] = defaultdict(list)
        for number, act in self._acts:
            of_job[number].append(act)
        room, reports = self._limits.programs, []
        for number, found in enumerate(self._found):
            made = found.report(of_job[number], room)
            room -= len(made.programs)
            self._programs_left_out += len(found.programs) - len(made.programs)
            reports.append(made)
        left_out = self._left_out + self._acts.left_out
        ordered = sorted(reports, key=lambda job: (job.started_ns, job.trace_id, job.span_id))
        return Report(ordered, account, left_out, (*notes, *self._notes()))

    def _is_new(self, span: WholeSpan) -> bool:
        told = int(span.trace_id + span.span_id, 16)
        if told in self._seen:
            return False
        if len(self._seen) < self._limits.spans_told_apart:
            self._seen.add(told)
        return True

    def _meet_maker(self, span: WholeSpan) -> None:
        instance = (text_of(span.resource.get("service.instance.id")) or "")[:NAME_MAX]
        if instance and instance not in self.instances:
            if len(self.instances) < self._limits.instances:
                self.instances.add(instance)
            else:
                self._has_more_instances = True

    def _job(self, span: WholeSpan) -> int | None:
        """Return the number of the span's job. None: it is one job too many."""
        key = job_key(span)
        number = self._jobs.get(key)
        if number is not None:
            return number
        if len(self._found) >= self._limits.jobs:
            self._has_more_jobs = True
            return None
        self._jobs[key] = number = len(self._found)
        self._found.append(found_by(span, self._texts))
        return number

    def _add_to(self, number: int, span: WholeSpan) -> None:
        job = self._found[number]
        if span.is_egress:
            self._acts.add(number, act_of(span, self._texts))
        elif "process.pid" not in span.attributes:
            job.name = self._texts.name(span.name)
            job.add_part(span)
        elif self._programs < self._limits.programs_read:
            self._programs += 1
            job.programs[span.span_id] = program_of(span, self._texts)
        else:
            self._programs_left_out += 1

    def _notes(self) -> Iterator[str]:
        if self._acts.folded:
            told = counted(self._acts.folded, "further act")
            yield f"{told} counted with another of the same destination, chain, verdict and outcome"
        if left_out := self._left_out + self._acts.left_out:
            yield f"{counted(left_out, 'attempt')} found no room here: only the account has them"
        if self._has_more_jobs:
            yield f"more than {counted(self._limits.jobs, 'job')}: name fewer files to see the others"
        if self._has_more_instances:
            made = counted(self._limits.instances, "run or watch", "runs and watches")
            yield f"more than {made} made these spans: the account is of the first ones"
        if self._programs_left_out:
            yield f"{counted(self._programs_left_out, 'further program')} without a line of its own"
        if self._without_ids:
            yield f"{counted(self._without_ids, 'span')} without an id left out"
        if self._texts.cut:
            yield f"{counted(self._texts.cut, 'long text')} cut short"
