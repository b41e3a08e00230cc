"""The trace model: the job's span, below it the spans of its programs, and as leaves those of their acts."""

from __future__ import annotations

import errno
import hashlib
import shlex
from collections import deque
from functools import lru_cache, partial
from typing import NamedTuple
from weakref import WeakKeyDictionary

from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import Event as SpanEvent
from opentelemetry.sdk.util.instrumentation import InstrumentationScope
from opentelemetry.trace import SpanContext, SpanKind, Status, StatusCode, TraceFlags, TraceState

from exporter import __version__
from exporter.common.clock import Clock
from exporter.common.net.addresses import address, is_known
from exporter.common.text import LIMIT_BYTES
from exporter.events.destinations import Destination
from exporter.events.facts import HOST, Act, Aggregated, Flowed, Metered, Stage
from exporter.events.programs import Facts, Program
from exporter.jobs.attributes import span_attributes
from exporter.jobs.model import Job
from exporter.otlp.attributes import Attributes, Layer, Layered, LayeredSpan, Value

from .attempt import Attempt, AttemptOf
from .flows import Flow
from .ruling import Ruling

SCOPE_NAME = "ci_egress"

_SCOPE = InstrumentationScope(SCOPE_NAME, __version__)
_SAMPLED = TraceFlags(TraceFlags.SAMPLED)
_UNSET, _ERROR = Status(), Status(StatusCode.ERROR)
_ENDED_MAX = 32
"""The most ended programs whose attributes are kept, as connections end right after their programs."""
_VERBS = {Act.CONNECT: "connect", Act.SEND: "send", Act.CREATE: "create"}


class _Described(NamedTuple):
    layer: Layer
    facts: Facts | None
    """The facts of the program that went into `layer`."""
    context: SpanContext
    """Context of the program's span."""


class Spans:
    """A maker of the spans of one job.

    Ids are derived, not drawn at random: a recording that is replayed gives the same trace.
    """

    def __init__(self, job: Job, resource: Resource, clock: Clock, *, has_programs: bool = True) -> None:
        """`resource` goes on every span.

        Without `has_programs`, programs have no spans, and the spans of acts are children of the job's.
        """
        self._job = job
        self.resource = resource
        """The resource of every span."""
        self._span = partial(LayeredSpan, resource=resource, instrumentation_scope=_SCOPE)
        self.clock = clock
        self._job_attributes = span_attributes(job)
        self._job_layer = Layer(self._job_attributes)
        self._trace_state = (
            TraceState.from_header([job.ids.trace_state]) if job.ids.trace_state else TraceState()
        )
        self.has_programs = has_programs
        self._sequence = 0
        self._described: WeakKeyDictionary[Program, _Described] = WeakKeyDictionary()
        self._ended: deque[Program] = deque()
        derive_from = job.ids.derive_from or job.ids.job_span_id
        self._ids = hashlib.blake2b(f"{job.ids.trace_id}\0{derive_from}".encode(), digest_size=8)
        """The hash that all ids of this job's spans are derived from."""
        self.job_context = self._context(job.ids.job_span_id)

    def next_context(self, at_ns: int) -> SpanContext:
        """Return the context for the span of an act at `at_ns`; the span itself is made at the act's end."""
        self._sequence += 1
        return self._context(self._id("egress", self._sequence, at_ns))

    def egress(self, flow: Flow, ended_ns: int) -> LayeredSpan:
        """Make the span of one connect or send: kind CLIENT, a leaf under the program that acted."""
        event = flow.attempt.event
        own = Attributes({"egress.attempts": 1})
        known = flow.end if flow.end and flow.end.local_port else flow.established or event
        if known.local_port:
            own.add("network.local.port", known.local_port)
        if is_known(known.local):
            own.add("network.local.address", address(known.local).text)
        own.add("dns.question.name", flow.question)
        if flow.questions > 1:
            own.add("egress.dns.questions", flow.questions)
        if len(flow.names) > 1:
            own.add_list("egress.dns.names", list(flow.names))
        own.add("egress.outcome", flow.outcome)
        if flow.error:
            own.add("error.type", errno.errorcode.get(flow.error, str(flow.error)))
        if flow.end is not None:
            _add_end(own, flow.end)
        if flow.metered is not None:
            _add_bytes(own, flow.metered)
        return self._leaf(flow.attempt, own, ended_ns, flow.established)

    def aggregate(self, attempt: AttemptOf[Aggregated]) -> LayeredSpan:
        """Make the span of acts that were only counted."""
        event = attempt.event
        own = Attributes({"egress.attempts": event.attempts})
        own.add("egress.outcome", event.outcome)
        if event.bytes_sent or event.bytes_received:
            _add_bytes(own, event)
        return self._leaf(attempt, own, event.last_ns)

    def process_attributes(self, program: Program, parent_pid: int, owner: str) -> dict[str, Value]:
        """Return the attributes of a log record about something that `program` did."""
        own = Attributes()
        own.add("process.parent_pid", parent_pid or None)
        own.add("process.owner", owner)
        return dict(own.upon(self._describe(program).layer))

    def program(self, program: Program) -> LayeredSpan:
        """Make the span of one executed program, from its beginning to its end."""
        described = self._describe(program)
        own = Attributes()
        own.add("process.parent_pid", program.parent_pid or None)
        if program.wait_status is not None:
            own.add("process.exit.code", exit_code(program.wait_status))
        return self._span(
            program.name or "unknown",
            described.context,
            self.program_context(program.parent),
            attributes=own.upon(described.layer),
            start_time=self.clock.wall_ns(program.started_ns),
            end_time=self.clock.wall_ns(max(program.started_ns, program.ended_ns or 0)),
        )

    def job(self, started_ns: int, ended_ns: int) -> LayeredSpan:
        """Make the span of the whole job; times are in nanoseconds since boot."""
        parent_id = self._job.ids.parent_span_id
        return self._span(
            self._job.display_name,
            self.job_context,
            self._context(parent_id, is_remote=True) if parent_id else None,
            attributes=Layered((self._job_layer,), {}),
            start_time=self.clock.wall_ns(started_ns),
            end_time=self.clock.wall_ns(ended_ns),
        )

    def program_context(self, program: Program | None) -> SpanContext:
        """Return the context of the span that is the parent of spans below `program`.

        It is the job's span when `program` is None, and when programs have no spans.
        """
        return self._describe(program).context if program and self.has_programs else self.job_context

    def ended(self, program: Program) -> None:
        """Drop the attributes that the program's spans share once _ENDED_MAX more programs have ended.

        The process table remembers the program itself for longer.
        """
        self._ended.append(program)
        if len(self._ended) > _ENDED_MAX:
            self._described.pop(self._ended.popleft(), None)

    def _describe(self, program: Program) -> _Described:
        """Return the part that all spans of a program share. It is made once, and again on new facts."""
        known = self._described.get(program)
        if known is None or known.facts is not program.facts:
            context = self._context(self._id("program", *program.process, program.exec_id))
            layer = self._program_attributes(program).layer()
            known = self._described[program] = _Described(layer, program.facts, context)
            if program.ended_ns is not None:
                self.ended(program)
        return known

    def _program_attributes(self, program: Program) -> Attributes:
        attributes = Attributes(self._job_attributes)
        attributes.add("egress.attribution", attribution(program))
        attributes.add("egress.job.step", program.step)
        attributes.add("process.pid", program.process.pid)
        attributes.add("process.executable.name", program.name)
        attributes.add("process.executable.path", program.path)
        if program.path and program.path.startswith("…"):
            attributes.cut_names.append("process.executable.path")
        if program.arguments:
            attributes.add("process.command_line", command_line(program))
            attributes.add_list("process.command_args", list(program.arguments))
            if program.is_cut:
                attributes.cut_names += ["process.command_args", "process.command_line"]
        if program.facts is not None:
            attributes.add("process.working_directory", program.facts.working_directory)
        attributes.add("container.id", program.container)
        attributes.add_list("egress.lineage", list(program.lineage))
        ancestors = program.chain[:-1]
        attributes.add_list("egress.ancestors", [*map(command_line, ancestors)], each_bytes=LIMIT_BYTES)
        if any(above.is_cut for above in ancestors):
            attributes.cut_names.append("egress.ancestors")
        if not program.is_chain_whole:
            attributes.cut_names += ["egress.lineage", "egress.ancestors"]
        return attributes

    def _leaf(
        self, attempt: Attempt, own: Attributes, ended_ns: int, established: Flowed | None = None
    ) -> LayeredSpan:
        event, destination, program, owner, ruling, context, parent = attempt
        if ruling.is_denied:
            own.add("error.type", errno.errorcode[errno.EPERM])
        own.add("process.parent_pid", event.parent_pid or None)
        own.add("process.owner", owner)
        who = self._describe(program).layer if program else self._job_layer
        return self._span(
            f"{_VERBS[event.act]} {destination.shown}",
            context,
            parent,
            attributes=own.upon(who, _where(destination, ruling)),
            events=[self._established(established)] if established else (),
            kind=SpanKind.CLIENT,
            status=_ERROR if ruling.is_denied else _UNSET,
            start_time=self.clock.wall_ns(event.at_ns),
            end_time=self.clock.wall_ns(max(event.at_ns, ended_ns)),
        )

    def _established(self, event: Flowed) -> SpanEvent:
        return SpanEvent("established", timestamp=self.clock.wall_ns(event.at_ns))

    def _id(self, *parts: str | int) -> int:
        derived = self._ids.copy()
        derived.update("".join(f"\0{part}" for part in parts).encode())
        return int.from_bytes(derived.digest(), "big") or 1

    def _context(self, span_id: int, *, is_remote: bool = False) -> SpanContext:
        return SpanContext(self._job.ids.trace_id, span_id, is_remote, _SAMPLED, self._trace_state)


@lru_cache(maxsize=4096)
def _where(destination: Destination, ruling: Ruling) -> Layer:
    """Return the attributes that all spans with this destination and ruling share."""
    attributes = Attributes({"egress.verdict": ruling.verdict})
    attributes.add("egress.mode", ruling.mode)
    attributes.add("egress.rule", ruling.rule)
    attributes.add("security_rule.name", ruling.rule)
    attributes.add("security_rule.ruleset.name", ruling.ruleset)
    attributes.add("egress.novel", ruling.is_novel)
    if destination.is_address:
        attributes.add("server.address", destination.host)
    attributes.add("server.port", destination.port)
    attributes.add("network.transport", destination.transport)
    if destination.peer is not None:
        attributes.add("network.peer.address", destination.peer.text)
        attributes.add("network.peer.port", destination.port)
        attributes.add("network.type", destination.peer.network_type)
    return attributes.layer()


def attribution(program: Program) -> str:
    """Return `egress.attribution`: how it is known which job `program` belongs to."""
    if program.attribution is not None:
        return program.attribution
    if program.scope != HOST:
        return "lineage"
    return "container" if program.container else "host"


def _add_bytes(attributes: Attributes, event: Flowed | Metered | Aggregated) -> None:
    attributes.add("egress.bytes_sent", event.bytes_sent)
    attributes.add("egress.bytes_received", event.bytes_received)


def _add_end(attributes: Attributes, end: Flowed) -> None:
    if end.stage is Stage.ENDED:
        _add_bytes(attributes, end)
    if end.rtt_us:
        attributes.add("egress.rtt_us", end.rtt_us)


def command_line(program: Program) -> str:
    """Return the command as one could type it in a shell; the executable's name where argv is unknown."""
    return shlex.join(program.arguments.shown) if program.arguments else (program.name or "unknown")


def exit_code(wait_status: int) -> int:
    """Return the exit code as a shell reports it: the code, or 128 + the signal that ended the process."""
    signal = wait_status & 0x7F
    return 128 + signal if signal else wait_status >> 8 & 0xFF


def traceparent(context: SpanContext) -> str:
    """Return the W3C `traceparent` header that puts another program's spans under `context`."""
    return f"00-{context.trace_id:032x}-{context.span_id:016x}-01"
