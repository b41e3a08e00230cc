"""The sites of the demo's internet: git, a package registry, a mirror, and the attacker's beacon."""

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
"""The number of requests that the poisoned package sends."""


class Request(NamedTuple):
    """The parts of a request that the sites look at."""

    method: str
    path: str
    authorization: str
    """The value of the header `Authorization`; empty if it is missing."""


class Response(NamedTuple):
    """A site's answer."""

    status: HTTPStatus
    body: bytes = b""
    when_closed: Callable[[], None] | None = None
    """Function that is called when the client has closed the connection."""


Site = Callable[[Request], Response]


def files(contents: Mapping[str, bytes]) -> Site:
    """Make a site that serves files, by path."""

    def respond(request: Request) -> Response:
        body = contents.get(request.path)
        return Response(HTTPStatus.NOT_FOUND) if body is None else Response(HTTPStatus.OK, body)

    return respond


def git() -> Site:
    """Make the site of the project that the job checks out."""
    return files({"/shop/checkout.tar": _tar(PIPELINE / "checkout")})


def registry(*, is_poisoned: bool) -> Site:
    """Make the site of an index and the packages in it; if poisoned, with the release POISONED of one."""
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
    """The attacker's server, which the poisoned package connects to."""

    def __init__(self) -> None:
        """Start without requests."""
        self.requests: list[Request] = []
        self._was_alive = threading.Event()

    def respond(self, request: Request) -> Response:
        """Keep the request, and answer it."""
        self.requests.append(request)
        is_background = request.path == "/alive"
        return Response(HTTPStatus.NO_CONTENT, when_closed=self._was_alive.set if is_background else None)

    def wait_for_the_background_one(self) -> None:
        """Wait until the second beacon has connected and closed, and a moment more for its process to end."""
        self._was_alive.wait(_BEACON_LIMIT_S)
        time.sleep(_AFTERWARDS_S)


class UnreachableBeacon(Beacon):
    """A beacon that a policy keeps the job from: only the run's log records show that the job tried."""

    def __init__(self, logs: Path) -> None:
        """`logs` is the run's logs.jsonl."""
        super().__init__()
        self._logs = logs

    def wait_for_the_background_one(self) -> None:
        """Wait until both requests were denied, each with a log record, and a moment more."""
        deadline_s = time.monotonic() + _BEACON_LIMIT_S
        while self._logs.read_text().count('"cicd.egress.denied"') < _CALLS and time.monotonic() < deadline_s:
            time.sleep(_PAUSE_S)
        time.sleep(_AFTERWARDS_S)


def mirror(beacon: Beacon | None) -> Site:
    """Make a site for uploads. It is slow: if the job ended before its second beacon, demos would differ."""

    def respond(request: Request) -> Response:
        if request.method != "PUT":
            return Response(HTTPStatus.METHOD_NOT_ALLOWED)
        if beacon is not None:
            beacon.wait_for_the_background_one()
        return Response(HTTPStatus.CREATED)

    return respond


def internet(beacon: Beacon | None) -> dict[str, Site]:
    """Make all sites, by address; without a beacon the registry has no poisoned package."""
    sites = {
        names.GIT: git(),
        names.REGISTRY: registry(is_poisoned=beacon is not None),
        names.MIRROR: mirror(beacon),
    }
    return sites if beacon is None else {**sites, names.BEACON: beacon.respond}


def web_server(address: str, port: int, respond: Site) -> ThreadingHTTPServer:
    """Make a server that listens at once, in the calling thread's network; `serve_forever` answers."""

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
            """Write nothing: the output is the demo's alone."""

    class Server(ThreadingHTTPServer):
        address_family = socket.AF_INET6 if ":" in address else socket.AF_INET
        daemon_threads = True
        server_bind = TCPServer.server_bind  # HTTPServer's method asks this machine's resolver for a name

    return Server((address, port), Handler)


def _tar(*directories: Path) -> bytes:
    """Pack the files of the directories; a file of a later one replaces one of the same name."""
    members = {path.name: path for directory in directories for path in directory.iterdir()}
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as archive:
        for name, path in sorted(members.items()):
            if name != "__pycache__":
                archive.add(path, name)
    return buffer.getvalue()
