"""Servers at Unix sockets, of no job; and what a job that connects to them is told to have done."""

from __future__ import annotations

import os
import socket
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager, suppress
from typing import TYPE_CHECKING

from exporter.common.net.addresses import UNIX
from exporter.common.net.unix_sockets import name_of
from exporter.events.facts import Act, Acted, Verdict
from exporter.policy.compile import Compiled, compile_policy
from tests.unit.policy.files import rules

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.kernel.kernel_side import KernelSide


@contextmanager
def server(name: str, kind: int = socket.SOCK_STREAM) -> Iterator[None]:
    """A process of no job that accepts whoever connects, or takes what is sent."""
    with socket.socket(socket.AF_UNIX, kind) as listening:
        listening.bind(os.fsdecode(name_of(name)))
        if kind == socket.SOCK_DGRAM:
            yield
            return
        listening.listen()
        with ThreadPoolExecutor(1) as accepting:
            accepting.submit(_accept, listening)
            try:
                yield
            finally:
                listening.shutdown(socket.SHUT_RDWR)


def _accept(listening: socket.socket) -> None:
    with ExitStack() as accepted, suppress(OSError):
        while True:
            accepted.enter_context(listening.accept()[0])


def policy(*denied: str, allowed: tuple[str, ...] = (), mode: str = "enforce") -> Compiled:
    return compile_policy(rules(allow="\n".join(allowed), deny="\n".join(denied), more=f"mode: {mode}\n"))


def connect(name: str, kind: int = socket.SOCK_STREAM) -> tuple[str, str]:
    return f"s = socket.socket(1, {kind:d})", f"s.connect({os.fsdecode(name_of(name))!r})"


def told(kernel: KernelSide) -> list[tuple[str, Act, Verdict]]:
    """The acts on Unix sockets since the last time."""
    return [
        (event.socket, event.act, event.verdict)
        for event in kernel.drain()
        if isinstance(event, Acted) and event.protocol == UNIX
    ]
