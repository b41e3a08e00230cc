"""How a connection ended is what its program was told of it, and not what came when it had closed it."""

from __future__ import annotations

import errno
import socket
import struct
from functools import partial
from typing import TYPE_CHECKING

import pytest

from exporter.events.facts import Acted, Event, Flowed, Outcome, Stage
from tests.kernel.agents import acts, agent
from tests.kernel.kernel_side import KernelSide, kernel_side
from tests.kernel.lab import CLOSED_PORT, NETWORKS, V4, Lab, Network
from tests.kernel.lab import PORT as SERVED_PORT
from tests.kernel.running_exporter import wait_for

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.kernel.agents import Agent
    from tests.kernel.conftest import Programs

pytestmark = pytest.mark.kernel

PORT = 7500
CORK = 3
"""TCP_CORK: what is sent waits for the end, as close_notify of TLS does on a long way."""


@pytest.fixture
def listening(lab: Lab, network: Network) -> Iterator[socket.socket]:
    """The peer's."""
    family = socket.AF_INET if network is V4 else socket.AF_INET6
    made = partial(socket.create_server, (network.peer, PORT), family=family)
    with lab.peer.call(made).result() as server:
        yield server


def accepted(job: Agent, network: Network, server: socket.socket) -> socket.socket:
    """The peer's end of a connection that the job has made as `s`."""
    assert job.do(f"s = socket.create_connection({(network.peer, PORT)})") == "ok"
    return server.accept()[0]


def ending(kernel: KernelSide, job: Agent) -> tuple[Outcome, int]:
    """How the job's connection ended, with the errno.

    Where somebody else traces, the ends of other sockets are told here, too.
    """
    events: list[Event] = []

    def ended() -> list[Flowed]:
        cookies = {act.cookie for act in acts(events, job.process) if isinstance(act, Acted)}
        flows = (event for event in events if isinstance(event, Flowed) and event.stage is Stage.ENDED)
        return [flow for flow in flows if flow.cookie in cookies]

    def is_over() -> bool:
        events.extend(kernel.drain())
        return bool(ended())

    wait_for(is_over)
    (only,) = ended()
    return only.outcome, only.error


@NETWORKS
def test_a_reset_that_comes_when_it_is_closed_is_no_failure(
    lab: Lab, kernel: KernelSide, network: Network, listening: socket.socket
) -> None:
    """The server has closed it; what the client says at its end, nobody takes."""
    with agent(kernel, lab, None) as job:
        accepted(job, network, listening).close()
        says = ("assert s.recv(1) == b''", f"s.setsockopt(6, {CORK}, 1)", "s.send(b'close_notify')")
        assert job.do(*says, "s.close()") == "ok"
        assert ending(kernel, job) == (Outcome.ESTABLISHED, 0)


@NETWORKS
def test_a_reset_while_somebody_has_it_is_one(
    lab: Lab, kernel: KernelSide, network: Network, listening: socket.socket
) -> None:
    with agent(kernel, lab, None) as job, accepted(job, network, listening) as peers:
        peers.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        peers.close()
        assert job.do("s.recv(1)") == "ECONNRESET"
        assert ending(kernel, job) == (Outcome.RESET, errno.ECONNRESET)


def test_connects_of_a_job_of_another_instance_take_no_room_here(
    lab: Lab, programs: Programs, kernel: KernelSide
) -> None:
    """The other one has the kernel call every instance for these connections."""
    kernel.drain()
    with kernel_side() as other:
        command = programs.flood("connects", 400, 1, V4.peer, SERVED_PORT, CLOSED_PORT)
        assert other.run(lab, command).acts
    assert kernel.drain() == []
