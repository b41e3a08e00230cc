"""What stands in the demo's internet: git, a package registry, a mirror, and the attacker's beacon."""

from __future__ import annotations

import gzip
import io
import json
import socket
import tarfile
import threading
import time
from collections import defaultdict
from collections.abc import Callable
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from socketserver import TCPServer
from typing import TYPE_CHECKING, NamedTuple

from demo import names
from demo.names import PACKAGES, PIPELINE, POISONED

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

_BEACON_LIMIT_S = 60.0
_AFTERWARDS_S = 0.3
_PAUSE_S = 0.02
_CALLS = 2
"""Of the poisoned package."""


class Request(NamedTuple):
    """What the sites look at."""

    method: str
    path: str
    authorization: str
    """Of the header; empty without."""


class Response(NamedTuple):
    """What they answer."""

    status: HTTPStatus
    body: bytes = b""
    when_closed: Callable[[], None] | None = None
    """Called when the client has closed the connection."""


Site = Callable[[Request], Response]


def files(contents: Mapping[str, bytes]) -> Site:
    """A site of files, by path."""

    def respond(request: Request) -> Response:
        body = contents.get(request.path)
        return Response(HTTPStatus.NOT_FOUND) if body is None else Response(HTTPStatus.OK, body)

    return respond


def git() -> Site:
    """The project that the job checks out."""
    return files({"/shop/checkout.tar": _tar(PIPELINE / "checkout")})


def registry(*, is_poisoned: bool) -> Site:
    """An index and the packages in it; once poisoned, with a release of one of them that nobody asked for."""
    folders = {package: [PIPELINE / "packages" / package.name] for package in PACKAGES}
    if is_poisoned:
        name = POISONED.name
        folders[POISONED] = [PIPELINE / "packages" / name, PIPELINE / "poison" / name]
    archives, index = {}, defaultdict[str, dict[str, str]](dict)
    for package, directories in folders.items():
        path = f"/{package.name}-{package.version}.tgz"
        archives[path] = gzip.compress(_tar(*directories))
        index[package.name][package.version] = path
    return files({"/index.json": json.dumps(index).encode(), **archives})


class Beacon:
    """Where the poisoned package calls home."""

    def __init__(self) -> None:
        """Nobody called yet."""
        self.requests: list[Request] = []
        self._was_alive = threading.Event()

    def respond(self, request: Request) -> Response:
        """Take what is sent."""
        self.requests.append(request)
        is_background = request.path == "/alive"
        return Response(HTTPStatus.NO_CONTENT, when_closed=self._was_alive.set if is_background else None)

    def wait_for_the_background_one(self) -> None:
        """Wait until it has called and hung up, and a moment more for its process to end."""
        self._was_alive.wait(_BEACON_LIMIT_S)
        time.sleep(_AFTERWARDS_S)


class UnreachableBeacon(Beacon):
    """One that a policy keeps the job from: that it tried is in the run's log records alone."""

    def __init__(self, logs: Path) -> None:
        """`logs` is the run's logs.jsonl."""
        super().__init__()
        self._logs = logs

    def wait_for_the_background_one(self) -> None:
        """Wait until both calls were denied, each by a chain of its own, and a moment more."""
        deadline_s = time.monotonic() + _BEACON_LIMIT_S
        while self._logs.read_text().count('"cicd.egress.denied"') < _CALLS and time.monotonic() < deadline_s:
            time.sleep(_PAUSE_S)
        time.sleep(_AFTERWARDS_S)


def mirror(beacon: Beacon | None) -> Site:
    """Takes uploads, slowly: were the job over before its background beacon, each demo would differ."""

    def respond(request: Request) -> Response:
        if request.method != "PUT":
            return Response(HTTPStatus.METHOD_NOT_ALLOWED)
        if beacon is not None:
            beacon.wait_for_the_background_one()
        return Response(HTTPStatus.CREATED)

    return respond


def internet(beacon: Beacon | None) -> dict[str, Site]:
    """All of it, by address; without a beacon the registry has nothing that would call home."""
    sites = {
        names.GIT: git(),
        names.REGISTRY: registry(is_poisoned=beacon is not None),
        names.MIRROR: mirror(beacon),
    }
    return sites if beacon is None else {**sites, names.BEACON: beacon.respond}


def web_server(address: str, port: int, respond: Site) -> ThreadingHTTPServer:
    """Listen at once, in the network namespace of the calling thread; `serve_forever` answers."""

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def setup(self) -> None:
            super().setup()
            self.answers: list[Response] = []

        def finish(self) -> None:
            super().finish()
            for answer in self.answers:
                if answer.when_closed:
                    answer.when_closed()

        def _answer(self) -> None:
            self.rfile.read(int(self.headers.get("Content-Length", 0)))
            response = respond(Request(self.command, self.path, self.headers.get("Authorization", "")))
            self.answers.append(response)
            self.send_response(response.status)
            if response.status != HTTPStatus.NO_CONTENT:
                self.send_header("Content-Length", str(len(response.body)))
            self.end_headers()
            self.wfile.write(response.body)

        do_GET = do_PUT = _answer  # noqa: N815 - http.server's names

        def log_message(self, format: str, *arguments: object) -> None:  # noqa: A002 - http.server's
            """Keep the demo's output to itself."""

    class Server(ThreadingHTTPServer):
        address_family = socket.AF_INET6 if ":" in address else socket.AF_INET
        daemon_threads = True
        server_bind = TCPServer.server_bind  # HTTPServer's asks this machine's resolver for a name

    return Server((address, port), Handler)


def _tar(*directories: Path) -> bytes:
    """Their contents, where a later one's replace those of the ones before."""
    members = {path.name: path for directory in directories for path in directory.iterdir()}
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as archive:
        for name, path in sorted(members.items()):
            if name != "__pycache__":
                archive.add(path, name)
    return buffer.getvalue()
