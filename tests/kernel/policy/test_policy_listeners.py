"""What a job's own servers answer to clients that the policy doesn't name: exactly who asked them."""

from __future__ import annotations

import re
import socket
from contextlib import contextmanager
from typing import TYPE_CHECKING

import pytest

from exporter.common.net.addresses import address
from exporter.events.facts import Acted, Verdict
from exporter.policy.compile import Compiled, compile_policy
from tests.kernel.agents import COMMAND, Agent, acts, agent
from tests.kernel.arrivals import UDP, UDPLITE, Endpoint, Packet
from tests.kernel.kernel_side import KernelSide
from tests.kernel.lab import NETWORKS, V4, V6, Lab, Network
from tests.kernel.running_exporter import running, wait_for
from tests.kernel.tracing import copy_of_the_program
from tests.unit.policy.files import rules

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

pytestmark = pytest.mark.kernel

LISTENER, ASKER, OTHER = 7100, 7200, 7201
"""Ports: the job's, the one that it is asked from, and one that it isn't."""
ANSWER = (1 << 32) - 2
ENFORCED = "mode: enforce\n"
OPEN_UDP = f"""
s = socket.socket({{family}}, socket.SOCK_DGRAM, {{protocol}})
s.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
s.settimeout(30)
s.bind(("{{build}}", {LISTENER}))
""".strip().splitlines()


def nothing_allowed(*, deny: str = "", more: str = ENFORCED) -> Compiled:
    """A policy that names neither peer nor evil."""
    return compile_policy(rules(allow="198.51.100.77", deny=deny, more=more))


def family(network: Network) -> str:
    return "socket.AF_INET6" if network is V6 else "socket.AF_INET"


def listen(job: Agent, network: Network, *, protocol: int = UDP, name: str = "s", at: str = "") -> None:
    """Have the job bind a socket."""
    values = {"family": family(network), "protocol": protocol, "build": at or network.build}
    lines = [line.format(**values) for line in OPEN_UDP]
    assert job.do(*(re.sub(r"\bs\b", name, line) for line in lines)) == "ok"


def to(network: Network, host: str, port: int, *, name: str = "s") -> str:
    """A line that sends there."""
    return f"{name}.sendto(b'x', ('{getattr(network, host)}', {port}))"


def ask(lab: Lab, network: Network, host: str, *, port: int = ASKER, protocol: int = UDP) -> None:
    """Send to the job's listener, from the far side."""
    lab.peer.call(_send, getattr(network, host), port, network.build, protocol).result()


def _send(source: str, port: int, target: str, protocol: int) -> None:
    kind = socket.AF_INET6 if ":" in source else socket.AF_INET
    with socket.socket(kind, socket.SOCK_DGRAM, protocol) as asking:
        asking.bind((source, port))
        asking.sendto(b"?", (target, LISTENER))


def told(kernel: KernelSide, job: Agent) -> list[tuple[str, int, Verdict, int]]:
    """Where it acted, and what was said to that."""
    seen = [event for event in acts(kernel.drain(), job.process) if isinstance(event, Acted)]
    return [(address(event.peer).text, event.peer_port, event.verdict, event.rule) for event in seen]


@NETWORKS
def test_an_accepted_connection_is_free(lab: Lab, kernel: KernelSide, network: Network) -> None:
    with agent(kernel, lab, nothing_allowed()) as job:
        job.do(
            f"s = socket.create_server(('{network.build}', {LISTENER}), family={family(network)})",
            "s.settimeout(30)",
        )
        with lab.peer.call(socket.create_connection, (network.build, LISTENER), 30).result() as client:
            assert job.do("c, _ = s.accept()", "c.sendall(b'hello')") == "ok"
            assert client.recv(5) == b"hello"
            client.sendall(b"bye")
            assert job.do("assert c.recv(3) == b'bye'") == "ok"
        assert told(kernel, job) == []


@NETWORKS
@pytest.mark.parametrize("protocol", [UDP, UDPLITE])
def test_exactly_who_asked_is_answered(lab: Lab, kernel: KernelSide, network: Network, protocol: int) -> None:
    with lab.watch() as watch, agent(kernel, lab, nothing_allowed()) as job:
        listen(job, network, protocol=protocol)
        assert job.do(to(network, "evil", ASKER)) == "EPERM", "nobody asked yet"
        ask(lab, network, "evil", protocol=protocol)
        assert job.do("assert s.recvfrom(9)[1][1] == 7200", to(network, "evil", ASKER)) == "ok"
        assert job.do(to(network, "evil", OTHER)) == "EPERM"
        assert job.do(to(network, "peer", ASKER)) == "EPERM"
        assert told(kernel, job) == [
            (network.evil, ASKER, Verdict.DENY, 0),
            (network.evil, ASKER, Verdict.ALLOW, ANSWER),
            (network.evil, OTHER, Verdict.DENY, 0),
            (network.peer, ASKER, Verdict.DENY, 0),
        ]
    assert watch.arrivals.packets_to(network.peer) == 0
    assert watch.arrivals.packets[Packet(protocol, Endpoint(network.evil, ASKER))] == 1
    assert watch.arrivals.packets_to(network.evil) == 1


@NETWORKS
def test_a_socket_may_connect_to_who_asked(lab: Lab, kernel: KernelSide, network: Network) -> None:
    """The one that was asked, and, as servers of DTLS do it, another one on its port."""
    with agent(kernel, lab, nothing_allowed()) as job:
        listen(job, network)
        ask(lab, network, "evil")
        assert job.do("s.recvfrom(9)", f"s.connect(('{network.evil}', {ASKER}))", "s.send(b'x')") == "ok"
        listen(job, network, name="t")
        assert job.do(f"t.connect(('{network.evil}', {OTHER}))") == "EPERM"
        assert job.do(f"t.connect(('{network.evil}', {ASKER}))", "t.send(b'x')") == "ok"


def test_a_socket_for_both_versions_answers_ipv4(lab: Lab, kernel: KernelSide) -> None:
    with agent(kernel, lab, nothing_allowed()) as job:
        listen(job, V6, at="::")
        ask(lab, V4, "evil")
        assert job.do("s.recvfrom(9)", f"s.sendto(b'x', ('::ffff:{V4.evil}', {ASKER}))") == "ok"
        assert job.do(f"s.sendto(b'x', ('::ffff:{V4.evil}', {OTHER}))") == "EPERM"


@NETWORKS
def test_who_sends_first_is_no_listener(lab: Lab, kernel: KernelSide, network: Network) -> None:
    """The kernel bound it, so that what comes back to it comes unasked."""
    rule = f"udp://[{network.peer}]:{ASKER}" if network is V6 else f"udp://{network.peer}:{ASKER}"
    with agent(kernel, lab, compile_policy(rules(allow=f"'{rule}'", more=ENFORCED))) as job:
        opened = f"s = socket.socket({family(network)}, socket.SOCK_DGRAM)"
        assert job.do(opened, to(network, "peer", ASKER), "s.settimeout(30)") == "ok"
        port = int(job.value("s.getsockname()[1]"))
        lab.peer.call(_send_to, network.evil, (network.build, port)).result()
        assert job.do("s.recvfrom(9)", to(network, "evil", ASKER)) == "EPERM"


def _send_to(source: str, target: tuple[str, int]) -> None:
    with socket.socket(socket.AF_INET6 if ":" in source else socket.AF_INET, socket.SOCK_DGRAM) as asking:
        asking.bind((source, ASKER))
        asking.sendto(b"?", target)


def test_an_answer_is_allowed_in_audit_mode_too(lab: Lab, kernel: KernelSide) -> None:
    with agent(kernel, lab, nothing_allowed(more="")) as job:
        listen(job, V4)
        ask(lab, V4, "evil")
        assert job.do("s.recvfrom(9)", to(V4, "evil", ASKER), to(V4, "evil", OTHER)) == "ok"
        assert told(kernel, job) == [
            (V4.evil, ASKER, Verdict.ALLOW, ANSWER),
            (V4.evil, OTHER, Verdict.AUDIT, 0),
        ]


def test_a_deny_of_addresses_is_final_for_answers_too(lab: Lab, kernel: KernelSide) -> None:
    with agent(kernel, lab, nothing_allowed(deny=V4.evil)) as job:
        listen(job, V4)
        ask(lab, V4, "evil")
        assert job.do("s.recvfrom(9)", to(V4, "evil", ASKER)) == "EPERM"


def test_sockets_that_share_a_port_answer_for_each_other_but_for_no_other_job(
    lab: Lab, kernel: KernelSide
) -> None:
    with agent(kernel, lab, nothing_allowed()) as job:
        listen(job, V4)
        ask(lab, V4, "evil")
        assert job.do("s.recvfrom(9)") == "ok"
        listen(job, V4, name="t")
        assert job.do(to(V4, "evil", ASKER, name="t")) == "ok"
        with agent(kernel, lab, nothing_allowed()) as another:
            listen(another, V4)
            assert another.do(to(V4, "evil", ASKER)) == "EPERM"


def test_a_flood_of_one_job_costs_no_other_an_answer(lab: Lab, kernel: KernelSide) -> None:
    """And neither those of its own that were noted before."""
    flood = range(20_000, 20_000 + 2_048 + 100)
    with agent(kernel, lab, nothing_allowed()) as job, agent(kernel, lab, nothing_allowed()) as another:
        listen(job, V4)
        lab.peer.call(_send_from_many, V4.evil, flood, (V4.build, LISTENER)).result()
        assert job.do(to(V4, "evil", flood[0])) == "ok"
        assert job.do(to(V4, "evil", flood[-1])) == "EPERM"
        assert another.do("s = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)", "s.settimeout(30)") == "ok"
        assert another.do(f"s.bind(('{V4.build}', {OTHER}))") == "ok"
        lab.peer.call(_send_to, V4.evil, (V4.build, OTHER)).result()
        assert another.do("s.recvfrom(9)", to(V4, "evil", ASKER)) == "ok"


def _send_from_many(source: str, ports: range, target: tuple[str, int]) -> None:
    for port in ports:
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as asking:
            asking.bind((source, port))
            asking.sendto(b"?", target)


@contextmanager
def forger(kernel: KernelSide, lab: Lab, *, allow: str) -> Iterator[Agent]:
    """A job of an ordinary user, with an IPv6 socket `f` under evil's address."""
    policy = compile_policy(rules(allow=allow, more=ENFORCED))
    under = ("setpriv", "--reuid=65534", "--regid=65534", "--clear-groups")
    with agent(kernel, lab, policy, under=under) as job:
        assert (
            job.do(
                "f = socket.socket(socket.AF_INET6, socket.SOCK_DGRAM)",
                f"f.bind(('{V6.evil}', {ASKER}))",
            )
            == "ok"
        )
        yield job


@pytest.mark.usefixtures("any_source")
def test_a_job_cannot_ask_itself_in_anothers_name(lab: Lab, kernel: KernelSide) -> None:
    with lab.watch() as watch, forger(kernel, lab, allow=f'"udp://[{V6.build}]:{LISTENER}"') as job:
        listen(job, V6, at="::")
        assert job.do(f"f.sendto(b'?', ('{V6.build}', {LISTENER}))") == "ok"
        assert job.do(f"assert s.recvfrom(9)[1][:2] == ('{V6.evil}', {ASKER})") == "ok", "it isn't forged"
        assert job.do(to(V6, "evil", ASKER)) == "EPERM"
    assert watch.arrivals.packets_to(V6.evil) == 0


@pytest.mark.usefixtures("any_source")
def test_a_job_cannot_ask_itself_in_anothers_name_by_a_group(lab: Lab, kernel: KernelSide) -> None:
    allow = f'"udp://[ff02::fb]:{LISTENER}"\n"icmp://[ff02::fb]"'  # the latter: to join the group
    with lab.watch() as watch, forger(kernel, lab, allow=allow) as job:
        listen(job, V6, at="::")
        assert (
            job.do(
                "at = socket.if_nametoindex('build0')",
                "group = socket.inet_pton(socket.AF_INET6, 'ff02::fb')",
                "s.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_JOIN_GROUP, group + struct.pack('=I', at))",
                f"f.sendto(b'?', ('ff02::fb', {LISTENER}, 0, at))",
                f"assert s.recvfrom(9)[1][:2] == ('{V6.evil}', {ASKER})",
            )
            == "ok"
        ), "it isn't forged"
        assert job.do(to(V6, "evil", ASKER)) == "EPERM"
    assert watch.arrivals.packets_to(V6.evil) == 0


def test_a_namespace_of_its_own_is_no_way_into_another(lab: Lab, kernel: KernelSide) -> None:
    """There it may be evil itself, and ask as that."""
    asking = (
        f"ip link set lo up; ip addr add {V4.evil}/32 dev lo; exec {COMMAND[0]} -c '"
        "import select, socket; s = socket.socket(socket.AF_INET, socket.SOCK_DGRAM); "
        f's.bind(("{V4.evil}", {LISTENER})); c = socket.socket(socket.AF_INET, socket.SOCK_DGRAM); '
        f'c.bind(("{V4.evil}", {ASKER})); asks = lambda: c.sendto(b"?", s.getsockname()); '
        # A network that was made a moment ago may lose a datagram.
        "any(asks() and select.select([s], [], [], 2)[0] for _ in range(15)); "
        's.settimeout(0); s.sendto(b"!", s.recvfrom(9)[1])'
        "'"
    )
    policy = compile_policy(rules(allow=f"udp://{V4.evil}:{LISTENER}", more=ENFORCED))
    with lab.watch() as watch, agent(kernel, lab, policy) as job:
        listen(job, V4)
        lines = (
            "import subprocess",
            f"asked = subprocess.run(['unshare', '-Urn', 'sh', '-c', {asking!r}])",
            "assert asked.returncode == 0, asked",
        )
        assert job.do(*lines) == "ok", "it is an answer there"
        assert job.do(to(V4, "evil", ASKER)) == "EPERM"
    assert watch.arrivals.packets_to(V4.evil) == 0


@NETWORKS
def test_a_client_on_the_same_machine_is_answered(lab: Lab, kernel: KernelSide, network: Network) -> None:
    """Of no job: its packets come by lo, under the machine's own address."""
    with agent(kernel, lab, nothing_allowed()) as job:
        listen(job, network)
        lab.build.call(_send_to, network.build, (network.build, LISTENER)).result()
        assert job.do("s.recvfrom(9)", to(network, "build", ASKER)) == "ok"
        assert job.do(to(network, "build", OTHER)) == "EPERM"


def test_an_answer_that_comes_late_is_denied(lab: Lab, tmp_path: Path) -> None:
    env = copy_of_the_program(tmp_path / "copy")
    source = tmp_path / "copy/bpf/listener.bpf.c"
    text, times = re.subn(r"(#define ANSWERED_NS) \d+", r"\1 200000000", source.read_text())
    assert times == 1
    source.write_text(text)
    command = lab.command(COMMAND)
    options = ("--enforce", "--allowed-endpoints", "198.51.100.77")
    with running(command, tmp_path / "otlp", *options, env=env, cwd=tmp_path) as run:

        def do(line: str) -> str:
            run.tell(line)
            return run.next_line()

        for line in OPEN_UDP:
            assert do(line.format(family="socket.AF_INET", protocol=UDP, build=V4.build)) == "ok"
        ask(lab, V4, "evil")
        assert do("s.recvfrom(9)") == "ok"
        assert do(to(V4, "evil", ASKER)) in {"ok", "EPERM"}
        wait_for(lambda: do(to(V4, "evil", ASKER)) == "EPERM")
        ask(lab, V4, "evil")
        assert do("s.recvfrom(9)") == "ok"
