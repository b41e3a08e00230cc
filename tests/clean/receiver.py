"""A collector at loopback's port 4318, in a few lines: what it is sent becomes files of a folder.

It runs under the distribution's Python, where none of the project's packages are.
"""

from __future__ import annotations

import sys
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

PORT = 4318


class Receiver(BaseHTTPRequestHandler):
    """Takes whatever comes."""

    folder = Path()

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["content-length"]))
        with (self.folder / f"{Path(self.path).name}.bin").open("ab") as file:
            file.write(body)
        self.send_response(200)
        self.send_header("content-type", "application/x-protobuf")
        self.send_header("content-length", "0")
        self.end_headers()

    def do_GET(self) -> None:
        self.send_response(204)
        self.end_headers()

    def log_message(self, *_: object) -> None:
        pass


def main() -> None:
    """Serve; the parent knows that it listens when it has said so."""
    Receiver.folder = Path(sys.argv[1])
    with ThreadingHTTPServer(("127.0.0.1", PORT), Receiver) as server:
        sys.stdout.write("listening\n")
        sys.stdout.flush()
        server.serve_forever()


if __name__ == "__main__":
    main()
