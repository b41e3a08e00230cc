"""Trace and span ids of a job: from TRACEPARENT, by GitHub's formula, or by one that all runners agree on."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Mapping
from dataclasses import replace
from typing import NamedTuple

from .model import TraceIds

_TRACEPARENT = re.compile(r"([0-9a-f]{2})-([0-9a-f]{32})-([0-9a-f]{16})-[0-9a-f]{2}(-.*)?")
CONTEXT_VARIABLES = ("TRACEPARENT", "TRACESTATE")
"""The variables that hold the trace context of a job: its parent span, and the tracestate."""
_MAX_TRACEPARENT_CHARS = 512
_MAX_TRACESTATE_CHARS = 512
_TRACE_HEX = slice(0, 32)
_SPAN_HEX = slice(0, 16)
_GITHUB_SPAN_HEX = slice(16, 32)


class SpanContext(NamedTuple):
    """A span in a trace, both ids non-zero."""

    trace_id: int
    span_id: int


class Identity(NamedTuple):
    """The fields that identify a job, from which its ids are computed; a missing field is empty."""

    provider: str
    server: str
    project: str
    """The scope in which run ids are unique: the repository, or the pipeline."""
    run_id: str
    attempt: str
    job_id: str

    @property
    def trace_id(self) -> int:
        """The 128-bit id of the trace, which all jobs of one attempt of the run share."""
        return _sliced_digest("\0".join(self[:-1]), _TRACE_HEX)

    @property
    def job_span_id(self) -> int:
        """The 64-bit id of the job span."""
        return _sliced_digest("\0".join(self), _SPAN_HEX)


class GithubRun(NamedTuple):
    """A workflow run, with the ids that the Collector's `githubreceiver` gives it.

    Egress spans nest under the receiver's spans.

    Source: receiver/githubreceiver of opentelemetry-collector-contrib.
    """

    run_id: str
    attempt: str

    @property
    def trace_id(self) -> int:
        """The id of the run's trace."""
        return _sliced_digest(f"{self.run_id}{self.attempt}t", _TRACE_HEX)

    @property
    def root_span_id(self) -> int:
        """The id of the span of the whole run."""
        return _sliced_digest(f"{self.run_id}{self.attempt}s", _GITHUB_SPAN_HEX)

    def parent_span_id(self, check_run_id: str | None) -> int:
        """Return the id of the receiver's job span if the check run is known, else of its root span."""
        return github_job_span_id(check_run_id) if _is_number(check_run_id) else self.root_span_id


def github_job_span_id(check_run_id: str | None) -> int:
    """Return the id of the receiver's span of one job."""
    return _sliced_digest(f"{check_run_id}-j", _GITHUB_SPAN_HEX)


def trace_ids(
    identity: Identity, environ: Mapping[str, str], *, github: GithubRun | None, check_run_id: str | None
) -> TraceIds:
    """Place the job's spans under TRACEPARENT if it is valid, else under GitHub's run, else as a root."""
    inherited = parse_traceparent(environ.get("TRACEPARENT", ""))
    if inherited:
        # Inside an outer instance TRACEPARENT names this very job span: a span can't be its own parent.
        parent = inherited.span_id if inherited.span_id != identity.job_span_id else None
        state = parse_tracestate(environ.get("TRACESTATE", ""))
        return TraceIds(inherited.trace_id, identity.job_span_id, parent, state)
    if github:
        return TraceIds(github.trace_id, identity.job_span_id, github.parent_span_id(check_run_id))
    return TraceIds(identity.trace_id, identity.job_span_id, None)


def further_part(first: TraceIds, began: str) -> TraceIds:
    """Return ids for a further part of a job whose span was exported already: a span beside the first one.

    The first span can't be exported again with other contents, so each part has a span id of its own; `began`
    differs for each part. All parts derive the ids of the spans below in the same way: a program that
    outlives a part keeps its span.
    """
    below = first.derive_from or first.job_span_id
    return replace(first, job_span_id=_part_span_id(below, began), derive_from=below)


def joined_late(job: TraceIds, began: str) -> TraceIds:
    """Return ids for a job whose beginning another tracer may have exported: its span ids are all new."""
    return replace(job, job_span_id=_part_span_id(job.job_span_id, began))


def parse_traceparent(text: str) -> SpanContext | None:
    """Return the span that a W3C `traceparent` names, flags ignored. None: it is invalid.

    Versions above 00 may carry more fields, 00 may not, ff is forbidden (Trace Context level 1, 3.2).
    """
    match = _TRACEPARENT.fullmatch(text) if len(text) <= _MAX_TRACEPARENT_CHARS else None
    if match is None or match[1] == "ff" or (match[1] == "00" and match[4]):
        return None
    context = SpanContext(int(match[2], 16), int(match[3], 16))
    return context if all(context) else None


def parse_tracestate(text: str) -> str:
    """Return `tracestate` as it came if it is printable ASCII of at most 512 characters, else empty."""
    return text if len(text) <= _MAX_TRACESTATE_CHARS and text.isascii() and text.isprintable() else ""


def _part_span_id(job_span_id: int, began: str) -> int:
    return _sliced_digest(f"{job_span_id:016x}\0{began}", _SPAN_HEX)


def _is_number(text: str | None) -> bool:
    return text is not None and text.isascii() and text.isdecimal()


def _sliced_digest(text: str, hex_digits: slice) -> int:
    """Return a piece of SHA-256 as a number, never 0: all-zero ids are invalid."""
    return int(hashlib.sha256(text.encode()).hexdigest()[hex_digits], 16) or 1
