"""A collector that accepts everything and keeps nothing: `python -m benchmarks.sink http/protobuf|grpc`.

It runs in a process of its own, so that its time and memory aren't counted as the exporter's. It prints its
port and ends when stdin does.
"""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Thread

import grpc

from benchmarks.workshop import ROOT


class _Taker(BaseHTTPRequestHandler):
    """A handler that answers with an empty body: an empty response message means that all was accepted."""

    protocol_version = "HTTP/1.1"

    def do_POST(self) -> None:
        self.rfile.read(int(self.headers["Content-Length"]))
        self.send_response(200)
        self.send_header("Content-Type", "application/x-protobuf")
        self.send_header("Content-Length", "0")
        self.end_headers()

    def log_message(self, *_: object) -> None:
        """Write nothing."""


class _AnyMethod(grpc.GenericRpcHandler):
    def service(self, _: grpc.HandlerCallDetails) -> grpc.RpcMethodHandler[bytes, bytes]:
        return grpc.unary_unary_rpc_method_handler(lambda _request, _context: b"")


def _serve_http() -> None:
    server = ThreadingHTTPServer(("127.0.0.1", 0), _Taker)
    Thread(target=server.serve_forever, daemon=True).start()
    _say_port(server.server_port)
    sys.stdin.read()


def _serve_grpc() -> None:
    server = grpc.server(ThreadPoolExecutor(2), handlers=[_AnyMethod()])
    port = server.add_insecure_port("127.0.0.1:0")
    server.start()
    _say_port(port)
    sys.stdin.read()
    server.stop(grace=None)


def _say_port(port: int) -> None:
    print(port, flush=True)


@contextmanager
def collector(protocol: str) -> Iterator[dict[str, str]]:
    """Run the collector; yield the environment that makes ci-egress export to it."""
    pipe = subprocess.PIPE
    command = [sys.executable, "-m", "benchmarks.sink", protocol]
    with subprocess.Popen(command, stdin=pipe, stdout=pipe, text=True, cwd=ROOT) as process:
        assert process.stdout is not None
        port = int(process.stdout.readline())
        yield {
            "OTEL_EXPORTER_OTLP_ENDPOINT": f"http://127.0.0.1:{port}",
            "OTEL_EXPORTER_OTLP_PROTOCOL": protocol,
        }
        process.communicate()


if __name__ == "__main__":
    {"http/protobuf": _serve_http, "grpc": _serve_grpc}[sys.argv[1]]()
