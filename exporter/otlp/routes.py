"""Open the sinks of a route: files and collector clients. Only needed modules are imported."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import NamedTuple

from .complaints import Complaints
from .encoders import json_line_encoder, protobuf_encoder
from .file_sink import JsonLines
from .settings import DEFAULT_TIMEOUT_S, Endpoint, OtlpProtocol, Rotation, Route, Signal
from .sinks import Sink, Transport

_LARGEST_REQUEST = 3_500_000
"""The most bytes of a request to a collector: gRPC servers accept 4 MiB by default."""
_LARGEST_LINE = 16_000_000


class FileCallbacks(NamedTuple):
    """The functions to be called when somebody takes a file of telemetry away."""

    deleted: Callable[[], None]
    moved: Callable[[Path], None]
    """Called with the folder that the file was in."""


def open_sinks(signal: Signal, route: Route, complaints: Complaints, hearers: FileCallbacks) -> list[Sink]:
    """Open the sinks of one signal, the file first: it answers at once.

    Raises CiEgressError for a directory that can't be used, UsageError for certificates that can't be used.
    """
    sinks: list[Sink] = []
    if route.directory:
        path = route.directory / f"{signal}.jsonl"
        sinks.append(_file_sink(signal, path, route.rotation, complaints, hearers))
    if route.endpoint:
        sinks.append(_collector_sink(route.endpoint))
    return sinks


def _file_sink(
    signal: Signal,
    path: Path,
    rotation: Rotation | None,
    complaints: Complaints,
    hearers: FileCallbacks,
) -> Sink:
    def complain() -> None:
        hearers.deleted()
        complaints.add(
            (str(path), "deleted"), f"{path} was deleted: what it held is lost; a new one is written"
        )

    moved = partial(hearers.moved, path.parent)
    file = JsonLines(path, on_deleted=complain, on_moved=moved, rotation=rotation)
    largest = min(_LARGEST_LINE, rotation.max_bytes) if rotation else _LARGEST_LINE
    return Sink(str(path), file, json_line_encoder(signal), DEFAULT_TIMEOUT_S, largest)


def _collector_sink(endpoint: Endpoint) -> Sink:
    encode = protobuf_encoder(endpoint.signal)
    return Sink(endpoint.shown, _transport(endpoint), encode, endpoint.timeout_s, _LARGEST_REQUEST, endpoint)


def _transport(endpoint: Endpoint) -> Transport:
    if endpoint.protocol is OtlpProtocol.GRPC:
        with _meanwhile("GRPC_VERBOSITY", "NONE"):  # read when grpc is imported: its C core writes to stderr
            from .over_grpc import GrpcTransport

        return GrpcTransport(endpoint)
    from .over_http import HttpTransport

    return HttpTransport(endpoint)


@contextlib.contextmanager
def _meanwhile(variable: str, value: str) -> Iterator[None]:
    """Set an environment variable, unless it is set, and only for the block: COMMAND inherits all of them."""
    if variable in os.environ:
        yield
        return
    os.environ[variable] = value
    try:
        yield
    finally:
        del os.environ[variable]
