"""Each act on a socket is one span, told right, and the act itself is what it was without tracing."""

from __future__ import annotations

import shlex
import subprocess
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple

import pytest

from exporter.kernel.programs.hooks import PROGRAMS
from exporter.kernel.programs.kinds import FunctionExit
from tests.checkout import ROOT
from tests.kernel.arrivals import MPTCP, TCP, Arrivals, Endpoint
from tests.kernel.lab import CLOSED_PORT, MPTCP_PORT, NETWORKS, PORT, V4, V6, Lab, Network
from tests.kernel.lineage_shapes import assert_whole
from tests.kernel.tracing import (
    CLIENT,
    RUN_LIMIT_S,
    Point,
    Span,
    Trace,
    Value,
    announced,
    environment,
    read,
    run_command,
    trace,
)

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from pathlib import Path

    from tests.kernel.conftest import Programs


VARYING = {
    "network.local.address",
    "network.local.port",
    "process.working_directory",
    "cicd.pipeline.run.id",
    "egress.rtt_us",
}
"""Attributes whose values a run chooses: what is bound when, and what /proc still shows."""


EACH_MAX = 32
"""Acts of a program with one peer that are told one by one, in a window."""


PAYLOAD_BYTES = 7
"""What `act` sends."""


class Act(NamedTuple):
    """A verb of `act`, and the spans that it is."""

    verb: str
    name: str
    """How the spans' names begin."""
    transport: str
    port: int = PORT
    peers: tuple[str, ...] = ("peer",)
    """Addresses of `Network` that the program is given."""
    reported: tuple[str, ...] = ("peer",)
    """Those of the spans, in order."""
    times: int = 1
    """The program's COUNT."""
    outcome: str | None = "established"
    error: str = ""
    payload: int = 0
    """Bytes that went each way of a connection."""
    sends: int = 1
    """Calls of `send` that a UDP span stands for: nobody answers."""


def no_answer(verb: str) -> list[Act]:
    """Connects that come to nothing: one to silence, one that a router refuses."""
    ends = {"blackhole": ("timeout", "ETIMEDOUT"), "unreachable": ("unreachable", "EHOSTUNREACH")}
    return [
        Act(verb, "connect", "tcp", peers=(peer,), reported=(peer,), outcome=outcome, error=error)
        for peer, (outcome, error) in ends.items()
    ]


def no_route(verb: str, error: str = "") -> Act:
    """A connect of which the kernel keeps nothing."""
    peers = ("no_route",)
    return Act(verb, "connect", "tcp", peers=peers, reported=peers, outcome="unreachable", error=error)


AT_FUNCTIONS = all(each.is_there for each in PROGRAMS if isinstance(each, FunctionExit))
"""Whether the kernel takes programs at the end of its functions: a ring's connect is no system call."""
CONNECT = Act("connect", "connect", "tcp")
DATAGRAMS = Act("udp-sendto", "send", "udp", times=4, reported=("peer",) * 4, outcome="sent")
OTHERS = [
    Act("connect", "connect", "tcp", times=3, reported=("peer",) * 3),
    Act("connect", "connect", "tcp", port=CLOSED_PORT, outcome="refused", error="ECONNREFUSED"),
    *no_answer("connect"),
    *(no_route(verb, error="ENETUNREACH") for verb in ("connect", "connect-nonblock", "mapped-tcp")),
    no_route("uring-connect", error="ENETUNREACH" if AT_FUNCTIONS else ""),
    Act("connect-nonblock", "connect", "tcp"),
    Act("connect-nonblock", "connect", "tcp", port=CLOSED_PORT, outcome="refused", error="ECONNREFUSED"),
    *no_answer("connect-nonblock"),
    Act("thread-connect", "connect", "tcp"),
    Act("mptcp-connect", "connect", "tcp", port=MPTCP_PORT),
    Act("tfo-sendto", "connect", "tcp", payload=7),
    Act("tfo-connect", "connect", "tcp", payload=7),
    Act("tfo-connect", "connect", "tcp", port=CLOSED_PORT, outcome="refused", error="ECONNREFUSED"),
    Act("mapped-tcp", "connect", "tcp"),
    Act("udp-connect-send", "connect", "udp", times=4, outcome=None, sends=4),
    Act(
        "connect-udp-twice", "connect", "udp", peers=("peer", "evil"), reported=("peer", "evil"), outcome=None
    ),
    Act("udp-sendto", "send", "udp", peers=("no_route",), reported=("no_route",), outcome=None, sends=0),
    Act("udp-sendmsg", "send", "udp", outcome="sent"),
    Act(
        "udp-sendmmsg",
        "send",
        "udp",
        peers=("peer", "evil", "peer"),
        reported=("peer", "evil", "peer"),
        outcome="sent",
    ),
    Act("udplite-sendto", "send", "udplite", outcome="sent"),
    Act("mapped-udp-sendto", "send", "udp", outcome="sent"),
    Act("mapped-udp-connected", "connect", "udp", times=4, outcome=None, sends=4),
    Act("v6sock-v4addr", "send", "udp", outcome="sent"),
    Act("udp-corked", "send", "udp", peers=("peer", "evil"), outcome="sent", sends=2),
    Act("uring-connect", "connect", "tcp"),
    Act("uring-connect", "connect", "tcp", port=CLOSED_PORT, outcome="refused", error="ECONNREFUSED"),
    Act("uring-connect-sqpoll", "connect", "tcp"),
    Act("uring-sendmsg", "send", "udp", outcome="sent"),
]


def argv(programs: Programs, act: Act, network: Network) -> list[str]:
    """The act's command line."""
    endpoints = [part for peer in act.peers for part in (getattr(network, peer), act.port)]
    return programs.act(act.verb, *endpoints, *([act.times] if act.times > 1 else []))


SHELL = ["sh", "-c", 'while read -r line; do eval "$line"; echo "status $?"; done']
"""Does what it is given, a line each, and says when it has."""


class Shell:
    """One SHELL for several acts, so that what arrives can be told act by act."""

    def __init__(self, command: Sequence[str | bytes]) -> None:
        """`command` becomes SHELL."""
        pipe = subprocess.PIPE
        self._process = subprocess.Popen(
            command, stdin=pipe, stdout=pipe, stderr=pipe, text=True, env=environment(), cwd=ROOT
        )

    def do(self, command: list[str]) -> list[str]:
        """What it printed, and its status."""
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.write(f"{shlex.join(command)}\n")
        self._process.stdin.flush()
        lines: list[str] = []
        while not lines or not lines[-1].startswith("status "):
            lines.append(self._process.stdout.readline())
            assert lines[-1], f"over after {lines}"
        return lines

    def end(self) -> subprocess.CompletedProcess[str]:
        """Its end."""
        stdout, stderr = self._process.communicate(timeout=RUN_LIMIT_S)
        return subprocess.CompletedProcess(self._process.args, self._process.returncode, stdout, stderr)


@contextmanager
def shell(command: Sequence[str | bytes]) -> Iterator[Shell]:
    """One that doesn't outlive the test."""
    made = Shell(command)
    try:
        yield made
    finally:
        made.end()


def expected(
    announcement: str, act: Act, network: Network, address: str, command: list[str], shells: list[str]
) -> dict[str, object]:
    """Every attribute of the act's span to `address`, but the varying ones.

    `announcement` is the line that `announced` printed, `shells` the command line of the shell that started
    it, if one that is traced did.
    """
    pid, parent_pid = map(int, announcement.split())
    return {
        "server.address": address,
        "server.port": act.port,
        "network.peer.address": address,
        "network.peer.port": act.port,
        "network.transport": act.transport,
        "network.type": "ipv4" if network is V4 else "ipv6",
        "process.pid": pid,
        "process.parent_pid": parent_pid,
        "process.executable.name": "act",
        "process.executable.path": command[0],
        "process.command_line": shlex.join(command),
        "process.command_args": command,
        "process.owner": "root",
        "egress.attribution": "lineage",
        "egress.lineage": [*(["dash"] if shells else []), "act"],
        "egress.ancestors": [shlex.join(shells)] if shells else [],
        "egress.verdict": "allow",
        "egress.attempts": 1,
        **outcome(act, network),
    }


def outcome(act: Act, network: Network) -> dict[str, object]:
    """What the span tells of what became of the act."""
    told: dict[str, object] = {"egress.outcome": act.outcome} if act.outcome else {}
    if act.name == "connect" and act.outcome and act.peers != ("no_route",):
        told |= {"egress.bytes_sent": act.payload, "egress.bytes_received": act.payload}
    if act.transport == "udp":
        told |= {"egress.bytes_sent": act.sends * PAYLOAD_BYTES, "egress.bytes_received": 0}
    if act.error:  # of a router, which says so with another ICMP message of IPv6
        told["error.type"] = act.error if network is V4 else act.error.replace("EHOSTUN", "ENETUN")
    return told


def assert_exact(
    spans: list[Span],
    job: Span,
    announcement: str,
    act: Act,
    network: Network,
    command: list[str],
    shells: list[str],
) -> None:
    """The spans are those of the act, in its order, and no others; each is told right."""
    addresses = [getattr(network, peer) for peer in act.reported]
    bracketed = [f"[{address}]" if ":" in address else address for address in addresses]
    assert [(span.name, span.kind) for span in spans] == [
        (f"{act.name} {host}:{act.port}", CLIENT) for host in bracketed
    ]
    for span, address in zip(spans, addresses, strict=True):
        fixed = {name: value for name, value in span.attributes.items() if name not in VARYING}
        assert fixed == expected(announcement, act, network, address, command, shells)
        is_established = act.outcome == "established"
        assert span.events == (["established"] if is_established else [])
        assert ("egress.rtt_us" in span.attributes) == is_established
        assert (span.ended_ns > span.started_ns) == (act.name == "connect")
        assert span.attributes.get("network.local.address", network.build) == network.build
        assert span["cicd.pipeline.run.id"] == job["cicd.pipeline.run.id"]


def unchanging(arrivals: Arrivals) -> object:
    """What of the arrivals doesn't depend on the moment: of TCP which packets, not how many."""
    packets = {packet: n for packet, n in arrivals.packets.items() if packet.protocol not in {TCP, MPTCP}}
    return (
        arrivals.accepted,
        arrivals.stream_bytes,
        arrivals.datagrams,
        arrivals.datagram_bytes,
        packets,
        set(arrivals.packets),
        arrivals.kernel["TcpExtTCPFastOpenPassive"],
        arrivals.kernel["MPTcpExtMPCapableACKRX"],
    )


class Done(NamedTuple):
    """An act that was done."""

    printed: list[str]
    arrivals: Arrivals


@dataclass(frozen=True)
class Compared:
    """Acts, each done by a shell that isn't traced, and by one that is; both shells do them one by one."""

    acts: list[tuple[Network, Act]]
    commands: list[list[str]]
    untraced: list[Done]
    traced: list[Done]
    more: list[list[str]]
    """What else the shell that is traced did then: commands of one act each."""
    printed: list[str]
    """By `more`."""
    seen: Trace

    def assert_all_exact(self) -> None:
        """Each of them is, and nothing else is told."""
        for network, act in self.acts:
            self.assert_exact(network, act)
        n = sum(len(act.reported) for _, act in self.acts) + len(self.more)
        assert len(self.seen.egress) == n
        assert self.seen.account == f"attempts {n} = exported {n} + aggregated 0 + dropped 0 + pending 0"

    def assert_exact(self, network: Network, act: Act) -> None:
        """The act was traced exactly, and not changed."""
        at = self.acts.index((network, act))
        traced, untraced = self.traced[at], self.untraced[at]
        assert traced.printed[1:] == untraced.printed[1:], act
        assert unchanging(traced.arrivals) == unchanging(untraced.arrivals), act
        assert bool(traced.arrivals.packets) == (act.peers != ("no_route",))
        first = sum(len(act.reported) for _, act in self.acts[:at])
        spans = self.seen.egress[first : first + len(act.reported)]
        assert_exact(spans, self.seen.job, traced.printed[0], act, network, self.commands[at], SHELL)


def compared(
    lab: Lab, programs: Programs, to: Path, acts: list[tuple[Network, Act]], more: Sequence[list[str]] = ()
) -> Compared:
    """Do them; what is traced goes to the folder `to`."""
    commands = [argv(programs, act, network) for network, act in acts]
    with shell(lab.command(SHELL)) as plain:
        untraced = done_by(plain, lab, commands)
    with shell(run_command(to, lab.command(SHELL))) as followed:
        traced = done_by(followed, lab, commands)
        printed = [line for command in more for line in followed.do(command)]
        seen = read(followed.end(), to)
    return Compared(acts, commands, untraced, traced, list(more), printed, seen)


def done_by(shell: Shell, lab: Lab, commands: list[list[str]]) -> list[Done]:
    """What came of each of them."""
    done = []
    for command in commands:
        with lab.watch() as watch:
            printed = shell.do(announced(command))
        done.append(Done(printed, watch.arrivals))
    return done


@pytest.fixture(scope="module")
def of_every_kernel(lab: Lab, programs: Programs, tmp_path_factory: pytest.TempPathFactory) -> Compared:
    """Those that are done on each kernel, traced by one run."""
    acts = [(network, act) for network in (V4, V6) for act in (CONNECT, DATAGRAMS)]
    shapes = [
        programs.lineage("double-fork", *programs.act("connect", V4.peer, PORT)),
        programs.lineage("fork-noexec", V4.peer, PORT),
    ]
    return compared(lab, programs, tmp_path_factory.mktemp("acts"), acts, shapes)


@NETWORKS
@pytest.mark.everywhere(feature="connects")
def test_a_connect_is_traced_exactly_and_not_changed(of_every_kernel: Compared, network: Network) -> None:
    of_every_kernel.assert_exact(network, CONNECT)


@NETWORKS
@pytest.mark.everywhere(feature="udp")
def test_datagrams_are_traced_exactly_and_not_changed(of_every_kernel: Compared, network: Network) -> None:
    of_every_kernel.assert_exact(network, DATAGRAMS)


@pytest.mark.everywhere(feature="account")
def test_acts_told_one_by_one_are_the_whole_account(of_every_kernel: Compared) -> None:
    of_every_kernel.assert_all_exact()


@pytest.mark.everywhere(feature="lineage")
def test_an_orphan_and_a_child_that_never_execs_hang_below_their_creators(of_every_kernel: Compared) -> None:
    seen = of_every_kernel.seen
    assert_whole(seen)
    orphan, never_execed = seen.egress[-2:]
    assert orphan["egress.lineage"] == ["dash", "lineage", "lineage", "act"]
    assert never_execed["egress.lineage"] == ["dash", "lineage", "lineage"]
    creator, middle, _ = seen.above(orphan)[2:]
    assert orphan["process.parent_pid"] not in {creator["process.pid"], middle["process.pid"]}
    assert middle["process.parent_pid"] == creator["process.pid"]
    first, child = seen.above(never_execed)[2:]
    assert child["process.command_args"] == first["process.command_args"] == of_every_kernel.more[1]
    assert child["process.pid"] != first["process.pid"] == child["process.parent_pid"]
    assert len(seen.processes) == 1 + len(of_every_kernel.acts) + 3 + 2
    output = [*of_every_kernel.printed, *seen.stdout.splitlines(keepends=True)]
    assert sorted(output) == ["ok\n", "status 0\n", "status 0\n"]


@NETWORKS
def test_any_other_act_is_traced_exactly_and_not_changed(
    lab: Lab, programs: Programs, tmp_path: Path, network: Network
) -> None:
    compared(lab, programs, tmp_path, [(network, act) for act in OTHERS]).assert_all_exact()


def test_an_address_without_family_is_traced_as_the_ipv4_that_it_is(
    lab: Lab, programs: Programs, tmp_path: Path
) -> None:
    act = Act("sendto-unspec", "send", "udp", outcome="sent")
    command = argv(programs, act, V4)
    with lab.watch() as watch:
        seen = trace(lab, announced(command), tmp_path)
    assert watch.arrivals.datagrams == {Endpoint(V4.peer, PORT): 1}
    assert_exact(seen.egress, seen.job, seen.stdout.splitlines()[0], act, V4, command, [])


def test_what_the_kernel_refuses_before_any_peer_is_known_is_no_act(
    lab: Lab, programs: Programs, tmp_path: Path
) -> None:
    command = programs.act("sendto-unspec", V6.peer, PORT)
    plain = lab.run(command)
    seen = trace(lab, command, tmp_path)
    assert (seen.status, seen.stdout) == (plain.returncode, plain.stdout) == (89, "EDESTADDRREQ\n")
    assert seen.egress == []
    assert seen.account.startswith("attempts 0 = exported 0 ")


def test_a_program_that_stays_shows_its_working_directory(lab: Lab, tmp_path: Path) -> None:
    until_told = "for _ in $(seq 1000); do grep -q 'send ' otlp/traces.jsonl && break; sleep 0.05; done"
    script = f"echo payload >/dev/udp/{V4.peer}/{PORT}; {until_told}"
    seen = trace(lab, ["bash", "-c", script], tmp_path / "otlp", cwd=tmp_path)
    assert [span["process.working_directory"] for span in seen.egress] == [str(tmp_path)]


@NETWORKS
def test_a_bound_socket_shows_where_it_is_bound(lab: Lab, tmp_path: Path, network: Network) -> None:
    script = (
        "import socket, sys\n"
        "host, port, own = sys.argv[1], int(sys.argv[2]), sys.argv[3]\n"
        "s = socket.socket(socket.AF_INET6 if ':' in host else socket.AF_INET, socket.SOCK_STREAM)\n"
        "s.bind((own, 0))\n"
        "print(s.getsockname()[1], flush=True)\n"
        "s.connect((host, port))\n"
    )
    seen = trace(lab, ["/usr/bin/python3", "-c", script, network.peer, str(PORT), network.build], tmp_path)
    (span,) = seen.egress
    assert span["network.local.address"] == network.build
    assert span["network.local.port"] == int(seen.stdout)


def test_every_attempt_is_in_the_metrics_and_carries_the_trace(
    lab: Lab, programs: Programs, tmp_path: Path
) -> None:
    n = 3000
    seen = trace(lab, programs.act("udp-sendto", V4.peer, PORT, n), tmp_path)
    assert sum(int(str(span["egress.attempts"])) for span in seen.egress) == n
    assert len({span.span_id for span in seen.spans}) == len(seen.spans)
    series: dict[str, Value] = {
        "server.address": V4.peer,
        "server.port": PORT,
        "network.transport": "udp",
        "egress.verdict": "allow",
    }
    assert seen.metrics["cicd.egress.connections"] == [Point(series, n)]
    assert seen.metrics["cicd.egress.exporter.attempts"] == [Point({}, n)]
    alone = [span for span in seen.egress if span["egress.attempts"] == 1]
    assert len(alone) >= EACH_MAX
    assert settled(seen) == {("export", "exported"): len(alone), ("kernel", "aggregated"): n - len(alone)}


def settled(seen: Trace) -> dict[tuple[object, object], int]:
    """Attempts by stage and result."""
    points = seen.metrics["cicd.egress.exporter.events"]
    return {
        (point.attributes["egress.stage"], point.attributes["egress.result"]): point.value for point in points
    }


def test_another_process_beside_the_job_is_not_traced(lab: Lab, programs: Programs, tmp_path: Path) -> None:
    def once(name: str) -> str:
        return f"for _ in $(seq 1000); do [ -e {name} ] && break; sleep 0.05; done; [ -e {name} ]"

    beside = subprocess.Popen(
        lab.command(["sh", "-c", f"{once('started')} && {connect(programs)} && touch done"]),
        cwd=tmp_path,
        stdout=subprocess.DEVNULL,
    )
    with beside, lab.watch() as watch:
        seen = trace(lab, ["sh", "-c", f"touch started; {once('done')}"], tmp_path / "otlp", cwd=tmp_path)
    assert (beside.returncode, seen.status) == (0, 0)
    assert watch.arrivals.accepted == {Endpoint(V4.evil, PORT): 1}
    assert seen.egress == []
    assert seen.account.startswith("attempts 0 ")


def connect(programs: Programs) -> str:
    """For a shell."""
    return shlex.join(programs.act("connect", V4.evil, PORT))


def test_the_resource_of_a_span_names_the_service_and_the_job(
    lab: Lab, programs: Programs, tmp_path: Path
) -> None:
    seen = trace(lab, programs.act("connect", V4.peer, PORT), tmp_path)

    def resource(span: Span) -> tuple[object, object]:
        return span.resource["service.name"], span.resource["cicd.pipeline.run.id"]

    assert {resource(span) for span in seen.spans} == {("ci-egress", seen.job["cicd.pipeline.run.id"])}
