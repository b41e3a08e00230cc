"""What stands in for the collector's page: series as a test wants them, for Prometheus to scrape."""

from __future__ import annotations

from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import TYPE_CHECKING, NamedTuple

from tests.integration.receivers import serving

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator


SEEN = "cicd_pipeline_destination:cicd_egress_connections:seen"
"""What a rule records every hour."""


class Connections(NamedTuple):
    """One series of `cicd.egress.connections`, as the collector exposes it."""

    pipeline: str
    destination: str
    instance: str
    is_novel: bool | None = None
    """None without a baseline."""
    port: int = 443

    def line(self, value: float, at_s: float | None = None) -> str:
        """A sample; a scraped one has no time."""
        labels = self._where() | {
            "cicd_pipeline_task_name": "build",
            "egress_verdict": "allow",
            "job": "ci-egress",
            "instance": self.instance,
            "host_name": f"runner-of-{self.instance}",
        }
        if self.is_novel is not None:
            labels["egress_novel"] = str(self.is_novel).lower()
        return _sample("cicd_egress_connections_total", labels, value, at_s)

    def seen(self, at_s: float) -> str:
        """What is recorded of it."""
        return _sample(SEEN, self._where(), 1, at_s)

    def _where(self) -> dict[str, str]:
        return {
            "cicd_pipeline_name": self.pipeline,
            "server_address": self.destination,
            "server_port": str(self.port),
            "network_transport": "tcp",
        }


def _sample(name: str, labels: dict[str, str], value: float, at_s: float | None) -> str:
    inner = ",".join(f'{label}="{text}"' for label, text in labels.items())
    moment = "" if at_s is None else f" {at_s:.0f}"
    return f"{name}{{{inner}}} {value:g}{moment}\n"


class Exposition:
    """Serves the page as it is at the moment."""

    def __init__(self, port: int) -> None:
        self.page = ""
        outer = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                body = outer.page.encode()
                self.send_response(200)
                self.send_header("content-type", "text/plain; version=0.0.4")
                self.send_header("content-length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)

            def log_message(self, format: str, *args: object) -> None:  # noqa: A002
                pass

        self.server = ThreadingHTTPServer(("127.0.0.1", port), Handler)
        self.server.daemon_threads = True

    def show(self, series: Iterable[Connections], value: float = 1) -> None:
        """These and no others, from the next scrape on."""
        self.page = "".join(each.line(value) for each in series)


@contextmanager
def exposing(port: int) -> Iterator[Exposition]:
    """Serve on a port of loopback."""
    exposition = Exposition(port)
    with serving(exposition.server):
        yield exposition
