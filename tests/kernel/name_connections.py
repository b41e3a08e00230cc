"""Programs of a job that look names up and connect, and what is told of that."""

from __future__ import annotations

from typing import TYPE_CHECKING

from tests.kernel.lab import PORT, Lab
from tests.kernel.tracing import Span, Trace, trace
from tests.launch import SYSTEM_PYTHON

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path


CLIENT = """
import socket, sys
name, port, most = sys.argv[1], int(sys.argv[2]), int(sys.argv[3])
addresses = sorted({info[4][0] for info in socket.getaddrinfo(name, port, type=socket.SOCK_STREAM)})
print(*addresses)
for address in addresses[:most]:
    try:
        socket.create_connection((address, port)).close()
    except OSError as error:
        print(error.strerror)
"""


def client(name: str, *, most: int = 9) -> list[str]:
    """A program that looks `name` up and connects to at `most` so many of its addresses."""
    return [SYSTEM_PYTHON, "-c", CLIENT, name, str(PORT), str(most)]


def trace_inside(
    lab: Lab, command: Sequence[str], to: Path, *options: str, env: Mapping[str, str] | None = None
) -> Trace:
    """Run ci-egress itself on the build side, which alone has the files that name the resolver."""
    return lab.build.call(trace, None, command, to, *options, env=env).result()


def connections(seen: Trace) -> list[Span]:
    """By TCP, to the lab's servers; the C library connects UDP sockets too, to put addresses in order."""
    return [s for s in seen.egress if (s["network.transport"], s["server.port"]) == ("tcp", PORT)]


def lookups(seen: Trace) -> list[Span]:
    return [span for span in seen.egress if span["server.port"] == 53]


def looked_up_and_connected(*names: str) -> list[str]:
    """A shell that runs the client for each name, whatever comes of it."""
    each = " ".join(names)
    script = f'for name in {each}; do "$1" -c "$2" "$name" {PORT} 9; done; true'
    program, _, code, *_ = client(names[0])
    return ["sh", "-c", script, "sh", program, code]
