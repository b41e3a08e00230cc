"""Read task, run, destination and chain from a span, or the reason why a baseline learns nothing from it."""

from __future__ import annotations

from collections.abc import Mapping
from functools import lru_cache
from hashlib import blake2b
from typing import Any

from exporter.common.net.addresses import is_loopback, is_transport, transport_has_ports
from exporter.common.text import clean
from exporter.events.destinations import OTHER, SOCKET
from exporter.events.programs import CHAIN_MAX, Lineage
from exporter.otlp.reading.json import number_of, text_of
from exporter.otlp.reading.spans import EgressSpan
from exporter.policy.endpoints import PORT_MAX
from exporter.policy.hosts import recorded_host
from exporter.policy.model import ANSWER

from .model import NamedDestination, Task
from .seen import NotLearntError, Run, Seen, day_of

ATTRIBUTES = frozenset(
    {
        "cicd.pipeline.name",
        "cicd.pipeline.run.id",
        "cicd.pipeline.task.name",
        "egress.attempts",
        "egress.job.attempt",
        "egress.lineage",
        "egress.novel",
        "egress.rule",
        "egress.truncated",
        "egress.verdict",
        "network.peer.address",
        "network.transport",
        "server.address",
        "server.port",
    }
)
"""The span attributes that learning reads."""

DENIED = "denied, so nothing went there"
TOGETHER = f"of destinations that were counted together ({OTHER})"
NO_ADDRESS = "of sockets without an address"
ANSWERED = "answering who asked a job's own listener"
NO_JOB = "of no job: without a run"
NOBODY = "of programs that aren't known"
NO_TIME = "without a time"
ELSEWHERE = "of other repositories, or of none that is known"
NO_NAME = "of what no baseline can name"

_NAME_MAX = 1024
"""The most characters of the name of a pipeline or a task, or of a run's id."""
_CHAIN_MAX = 1024
"""The most characters of a chain, all its names together."""
_TIME_MAX_NS = 4_102_444_800 * 10**9  # the year 2100


def add_span(seen: Seen, span: EgressSpan, repository: str | None = None) -> None:
    """Add the facts in `span` to `seen`; with a `repository`, only if the span is of one of its runs."""
    seen.spans += 1
    try:
        _add(seen, span, repository)
    except NotLearntError as error:
        if error.why is not None:
            attempts = number_of(span.attributes.get("egress.attempts"))
            if attempts != 0:  # 0: it only has further bytes of attempts that another span counted
                seen.left_out[error.why] += attempts or 1


def _add(seen: Seen, span: EgressSpan, repository: str | None) -> None:
    """Add the span to `seen`. Raises NotLearntError with the reason where nothing is learnt from it."""
    at_ns, attributes, own = span
    if repository is not None and own != repository:
        raise NotLearntError(ELSEWHERE)
    if not 0 < at_ns < _TIME_MAX_NS:
        raise NotLearntError(NO_TIME)
    get = attributes.get
    name, run = identity_of(attributes)
    task = seen.task(name)
    seen.belongs(name.pipeline, own)
    place = seen.run(name.pipeline, run, at_ns)
    if place is None:
        seen.uncounted += 1
    bit = 0 if place is None else 1 << place
    task.runs |= bit
    where = _where(attributes)
    chain = _chain(get("egress.lineage"), get("egress.truncated"))
    met = seen.met(task, where)
    met.add((at_ns, run), bit, chain)
    if get("egress.novel") is True:
        met.was_novel(day_of(at_ns), text_of(get("cicd.pipeline.run.id")) or "")


def _where(attributes: dict[str, Any]) -> NamedDestination:
    get = attributes.get
    host, kind = text_of(get("server.address")), text_of(get("network.transport"))
    peer = text_of(get("network.peer.address"))
    if is_loopback(host or "") or is_loopback(peer or ""):
        raise NotLearntError(None)
    if get("egress.verdict") == "deny":
        raise NotLearntError(DENIED)
    if get("egress.rule") == ANSWER and kind == "udp":  # of tcp, it is a rule for a host `answer`
        raise NotLearntError(ANSWERED)
    return where_of(host, number_of(get("server.port")), kind)


@lru_cache(maxsize=16_384)
def where_of(host: str | None, port: int | None, kind: str | None) -> NamedDestination:
    """Return the destination in the one form that baselines use. Raises NotLearntError."""
    if host is None or host == SOCKET:
        raise NotLearntError(NO_ADDRESS)
    if host == OTHER:
        raise NotLearntError(TOGETHER)
    if kind is None or not is_transport(kind):
        raise NotLearntError(NO_NAME)
    has_port = transport_has_ports(kind)
    named = recorded_host(host)
    if named is None or (has_port and (port is None or port > PORT_MAX)):
        raise NotLearntError(NO_NAME)
    return NamedDestination(named, port if has_port else None, kind)


def identity_of(attributes: Mapping[str, Any]) -> tuple[Task, Run]:
    """Return a span's task and run. Raises NotLearntError where it has no run, or too long a name."""
    get = attributes.get
    return _identity(
        text_of(get("cicd.pipeline.name")),
        text_of(get("cicd.pipeline.task.name")),
        text_of(get("cicd.pipeline.run.id")),
        text_of(get("egress.job.attempt")),
    )


@lru_cache(maxsize=4096)
def _identity(
    pipeline: str | None, task: str | None, run_id: str | None, attempt: str | None
) -> tuple[Task, Run]:
    if run_id is None:
        raise NotLearntError(NO_JOB)
    if any(len(text) > _NAME_MAX for text in (run_id, attempt) if text):
        raise NotLearntError(NO_NAME)
    digest = blake2b(f"{run_id}\0{attempt or ''}".encode(errors="replace"), digest_size=8).digest()
    return task_of(pipeline, task), digest


def task_of(pipeline: str | None, task: str | None) -> Task:
    """Return the task as a file can hold it; None or "" means a missing name. Raises NotLearntError."""
    if any(len(name) > _NAME_MAX for name in (pipeline, task) if name):
        raise NotLearntError(NO_NAME)
    return Task(clean(pipeline) if pipeline else None, clean(task) if task else None)


def _chain(value: object, truncated: object) -> Lineage:
    """Return the span's chain of programs. Raises NotLearntError.

    A chain is refused where it is missing, too long to be kept, or marked as truncated though it has fewer
    than CHAIN_MAX programs.
    """
    if isinstance(value, list) and len(value) < CHAIN_MAX and _lists(truncated, "egress.lineage"):
        raise NotLearntError(NOBODY)
    if not isinstance(value, list) or not all(isinstance(name, str) for name in value):
        raise NotLearntError(NOBODY)
    return chain_of(tuple(value))


def _lists(names: object, name: str) -> bool:
    return isinstance(names, list) and name in names


@lru_cache(maxsize=16_384)
def chain_of(names: Lineage) -> Lineage:
    """Return the chain as a file can hold it; equal chains share one tuple. Raises NotLearntError."""
    if not names or not all(names) or sum(map(len, names)) > _CHAIN_MAX:
        raise NotLearntError(NOBODY)
    return tuple(map(clean, names))
