"""What is allowed to go one way, and made to go another: to a peer that the policy doesn't allow."""

from __future__ import annotations

import socket
import struct
from dataclasses import replace
from typing import TYPE_CHECKING

import pytest

from exporter.policy.compile import Compiled, compile_policy
from exporter.policy.model import Mode
from tests.kernel.agents import Agent, agent
from tests.kernel.arrivals import UDP, Endpoint, Packet
from tests.kernel.held_job import question, record, reply
from tests.kernel.kernel_side import KernelSide
from tests.kernel.lab import MPTCP_PORT, NETWORKS, PORT, V4, V6, Lab, Network
from tests.kernel.routes import IPV6_TCLASS, by_way_of_evil, set_route, to_evil_at_last
from tests.unit.policy.files import rules

if TYPE_CHECKING:
    from collections.abc import Iterator

pytestmark = pytest.mark.kernel

LISTENER, CLOSED = 7100, 7101
USER = ("setpriv", "--reuid=65534", "--regid=65534", "--clear-groups")
IPV6_FREEBIND, IPV6_HDRINCL = 78, 36
FILL = r"exec('try:\n while True: {0}.send(bytes(65536))\nexcept BlockingIOError: pass')"
DRAIN = r"exec('try:\n while {0}.recv(65536): pass\nexcept TimeoutError: pass')"


def audited(allow: str) -> Compiled:
    return compile_policy(rules(allow=allow))


def enforced(allow: str) -> Compiled:
    return replace(audited(allow), mode=Mode.ENFORCE)


@NETWORKS
def test_a_source_route_for_an_open_connection_is_decided_like_any_other(
    lab: Lab, kernel: KernelSide, network: Network
) -> None:
    """Where the policy is enforced, it can't be set: a socket may have it from before."""
    policy = audited(f"any://{V4.peer}\nany://[{V6.peer}]")
    under = USER if network is V6 else ()
    with lab.watch() as watch, agent(kernel, lab, policy, under=under) as job:
        assert job.do(f"s = socket.create_connection(('{network.peer}', {PORT}))") == "ok"
        assert (
            job.do("s.sendall(b'hello')", "assert s.recv(5)", *by_way_of_evil("s", network, network.peer))
            == "ok"
        )
        kernel.change_mode(policy, Mode.ENFORCE)
        assert job.do("s.sendall(b'secret')", "s.close()") == "ok", "it is in the queue"
    assert watch.arrivals.packets_to(network.evil) == 0
    assert watch.arrivals.stream_bytes.total() == 5


@pytest.mark.parametrize("is_closed", [False, True])
@pytest.mark.parametrize("end", ["client", "server"])
def test_what_waited_for_room_takes_no_source_route_either(
    lab: Lab, kernel: KernelSide, end: str, is_closed: bool
) -> None:
    """When its peer reads, it leaves in nobody's context, and without any owner where that closed it."""
    other = "server" if end == "client" else "client"
    policy = audited("198.51.100.77")
    with lab.watch() as watch, agent(kernel, lab, policy, under=USER) as job:
        opened = (
            f"listener = socket.create_server(('::1', {LISTENER}), family=socket.AF_INET6)",
            f"client = socket.create_connection(('::1', {LISTENER}))",
            "server, _ = listener.accept()",
            f"{end}.setblocking(False)",
            f"{other}.settimeout(0.5)",
        )
        assert job.do(*opened, FILL.format(end), *by_way_of_evil(end, V6, "::1")) == "ok"
        kernel.change_mode(policy, Mode.ENFORCE)
        if is_closed:
            assert job.do(f"{end}.close()") == "ok"
        assert job.do(DRAIN.format(other)) == "ok"
    assert watch.arrivals.packets_to(V6.evil) == 0


@pytest.mark.parametrize("target", ["::1", V6.peer])
def test_a_route_that_is_at_its_end_is_decided_like_any_other(
    lab: Lab, kernel: KernelSide, target: str
) -> None:
    """Of a datagram, of a connection's first segment, and on one that is open."""
    policy = audited(f"any://[{V6.peer}]")
    with lab.watch() as watch, agent(kernel, lab, policy, under=USER) as job:
        made = ("u = socket.socket(socket.AF_INET6, socket.SOCK_DGRAM)", "s = socket.socket(socket.AF_INET6)")
        opened = f"o = socket.create_connection(('{V6.peer}', {PORT}))"
        assert job.do(*made, "s.setblocking(False)", opened, *map(to_evil_at_last, "uso")) == "ok"
        assert job.do(f"o.setsockopt(socket.IPPROTO_IPV6, {IPV6_TCLASS}, 4)") == "ok"
        kernel.change_mode(policy, Mode.ENFORCE)
        assert job.do(f"u.sendto(b'secret', ('{target}', {PORT}))") == "EPERM"
        assert job.do(f"s.connect(('{target}', {PORT}))") == "EINPROGRESS"
        assert job.do("o.sendall(b'secret')") == "ok"
    assert watch.arrivals.packets_to(V6.evil) == 0


def test_a_raw_packet_for_no_address_is_for_whom_it_is_from(lab: Lab, kernel: KernelSide) -> None:
    """This machine's own kernel takes it in by `lo`, and answers with all that is in it."""
    policy = audited("tcp://198.51.100.77")
    with lab.watch() as watch, agent(kernel, lab, policy) as job:
        echo = struct.pack("!BBHHH", 8, 0, 0xF7FF, 0, 0)
        lines = (
            "r = socket.socket(socket.AF_INET, socket.SOCK_RAW, socket.IPPROTO_TCP)",
            "r.setsockopt(socket.SOL_IP, socket.IP_HDRINCL, 1)",
            f"ends = socket.inet_aton('{V4.evil}') + bytes(4)",
            f"head = struct.pack('!BBHHHBBH', 0x45, 0, {20 + len(echo)}, 1, 0, 64, 1, 0) + ends",
        )
        assert job.do(*lines) == "ok"
        kernel.change_mode(policy, Mode.ENFORCE)
        assert job.do(f"r.sendto(head + {echo!r}, ('127.0.0.1', 0))") == "EPERM"
    assert watch.arrivals.packets_to(V4.evil) == 0


def test_a_source_route_that_is_allowed_works(lab: Lab, kernel: KernelSide) -> None:
    policy = audited(f"any://[{V6.peer}]\nany://[{V6.evil}]")
    with lab.watch() as watch, agent(kernel, lab, policy) as job:
        assert job.do(f"s = socket.create_connection(('{V6.peer}', {PORT}))") == "ok"
        assert job.do(*by_way_of_evil("s", V6, V6.peer)) == "ok"
        kernel.change_mode(policy, Mode.ENFORCE)
        assert job.do("s.sendall(b'hello')") == "ok"
        reset = "s.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack('ii', 1, 0))"
        assert job.do(reset, "s.close()") == "ok", "else it would be sent again beside other tests"
    assert watch.arrivals.packets_to(V6.evil) > 0


OPTIONS = {
    "ip-options": ("AF_INET", set_route("s", V4, V4.peer)),
    "rthdr": ("AF_INET6", set_route("s", V6, V6.peer)),
    "rthdr-at-its-end": ("AF_INET6", to_evil_at_last("s")),
    "2292-rthdr": ("AF_INET6", "s.setsockopt(41, 5, 1)"),
    "2292-pktoptions": ("AF_INET6", "s.setsockopt(41, 6, struct.pack('NiiI4x', 20, 41, 52, 64))"),
}
"""Of the last one the value has a hop limit: it might have a route."""
HEADERS = {
    "ipv4": ("AF_INET", "s.setsockopt(socket.SOL_IP, socket.IP_HDRINCL, 1)"),
    "ipv6": ("AF_INET6", f"s.setsockopt(socket.IPPROTO_IPV6, {IPV6_HDRINCL}, 1)"),
    "ipv6-by-another-level": ("AF_INET6", f"s.setsockopt(socket.IPPROTO_RAW, {IPV6_HDRINCL}, 1)"),
}
ALL_ALLOWED = "\n".join(f"any://{each}" for each in (V4.evil, f"[{V6.evil}]", V4.peer, f"[{V6.peer}]"))


def is_for_audit_alone(lab: Lab, kernel: KernelSide, *lines: str) -> None:
    """The last line fails where the policy is enforced, and only there, whatever its rules allow."""
    policy = audited(ALL_ALLOWED)
    with agent(kernel, lab, policy) as job:
        for mode, done in ((Mode.AUDIT, "ok"), (Mode.ENFORCE, "EPERM"), (Mode.AUDIT, "ok")):
            kernel.change_mode(policy, mode)
            assert job.do(*lines) == done


@pytest.mark.parametrize("kind", ["SOCK_STREAM", "SOCK_DGRAM", "SOCK_RAW"])
@pytest.mark.parametrize("option", OPTIONS)
def test_where_a_policy_is_enforced_no_socket_gets_a_source_route(
    lab: Lab, kernel: KernelSide, option: str, kind: str
) -> None:
    """What the kernel sends for it when nobody acts any more would go by it."""
    family, line = OPTIONS[option]
    protocol = 0 if kind != "SOCK_RAW" else 1 if family == "AF_INET" else 58
    is_for_audit_alone(lab, kernel, f"s = socket.socket(socket.{family}, socket.{kind}, {protocol})", line)


@pytest.mark.parametrize("option", HEADERS)
def test_nor_does_a_raw_socket_get_headers_of_its_own(lab: Lab, kernel: KernelSide, option: str) -> None:
    """The header says where a packet goes, and the kernel sends it to where the call says."""
    family, line = HEADERS[option]
    made = f"s = socket.socket(socket.{family}, socket.SOCK_RAW, "
    is_for_audit_alone(lab, kernel, f"{made}{socket.IPPROTO_TCP})", line)
    is_for_audit_alone(lab, kernel, f"{made}{socket.IPPROTO_RAW})")


def test_what_answers_without_a_socket_takes_no_route(lab: Lab, kernel: KernelSide) -> None:
    """A listener's SYN-ACKs, once its queue is full (SYN cookies), come by no program."""
    connect = rf"exec('for each in c:\n each.setblocking(False)\n each.connect_ex((\"::1\", {LISTENER}))')"
    with lab.watch() as watch, agent(kernel, lab, enforced("198.51.100.77"), under=USER) as job:
        listen = f"s = socket.create_server(('::1', {LISTENER}), family=socket.AF_INET6, backlog=0)"
        set_it = job.do(listen, set_route("s", V6, "::1"))
        assert job.do("c = [socket.socket(socket.AF_INET6) for _ in range(10)]", connect) == "ok"
    assert watch.arrivals.packets_to(V6.evil) == 0
    assert set_it == "EPERM"


IN_A_CIRCLE = (
    "one, other = socket.socketpair(socket.AF_UNIX, socket.SOCK_DGRAM)",
    "socket.send_fds(other, [b'x'], [one.fileno(), s.fileno()])",
    "s.close()",
    "one.close()",
    "other.close()",
    "socket.socket(socket.AF_UNIX).close()",
)
"""Sends the socket to where nobody is left to take it: the kernel closes it."""


@NETWORKS
@pytest.mark.parametrize("closes", ["itself", "its-end", "kernel"])
def test_what_is_sent_as_a_socket_is_closed_takes_no_route_either(
    lab: Lab, kernel: KernelSide, network: Network, closes: str
) -> None:
    """At a process's end its files are closed when nobody knows any more whose it was."""
    policy = audited(f"any://{V4.peer}\nany://[{V6.peer}]")
    under = USER if network is V6 else ()
    with lab.watch() as watch, agent(kernel, lab, policy, under=under) as job:
        opened = (f"s = socket.create_connection(('{network.peer}', {PORT}))", "s.sendall(b'hello')")
        assert job.do(*opened, "assert s.recv(5)", "s.setsockopt(6, socket.TCP_CORK, 1)") == "ok"
        assert job.do(*by_way_of_evil("s", network, network.peer)) == "ok"
        kernel.change_mode(policy, Mode.ENFORCE)
        assert job.do("s.sendall(b'secret')") == "ok", "it waits"
        if closes == "its-end":
            assert job.do("os._exit(0)") == "", "nothing more comes of it"
        else:
            assert job.do(*(IN_A_CIRCLE if closes == "kernel" else ["s.close()"])) == "ok"
    assert watch.arrivals.packets_to(network.evil) == 0
    assert watch.arrivals.stream_bytes.total() == 5


DISCONNECT = "assert ctypes.CDLL(None).connect({0}.fileno(), bytes(16), 16) == 0"
CONNECT, FAST_OPEN = "s.connect(('{0}', {1}))", "s.sendto(b'secret', 0x20000000, ('{0}', {1}))"
MPTCP = 262


@pytest.mark.parametrize("target", ["::1", V6.peer])
@pytest.mark.parametrize(
    ("protocol", "act"),
    [(socket.IPPROTO_TCP, CONNECT), (socket.IPPROTO_TCP, FAST_OPEN), (MPTCP, CONNECT)],
    ids=["tcp", "fast-open", "mptcp"],
)
def test_a_socket_that_was_connected_by_ipv4_does_not_go_on_by_it(
    lab: Lab, kernel: KernelSide, protocol: int, act: str, target: str
) -> None:
    """Whatever it connects to next, the kernel sends its SYN to the old peer, at the new port."""
    policy = enforced(f"{V4.peer}:{PORT}\nany://[{V6.peer}]")
    with lab.watch() as watch, agent(kernel, lab, policy, under=USER) as job:
        connected = (
            f"s = socket.socket(socket.AF_INET6, socket.SOCK_STREAM, {protocol})",
            f"s.connect(('::ffff:{V4.peer}', {PORT}))",
            DISCONNECT.format("s"),
        )
        assert job.do(*connected) == "ok"
        for port in (CLOSED, MPTCP_PORT):
            assert job.do("s.setblocking(False)", act.format(target, port)) == "EPERM"
        again = (DISCONNECT.format("s"), "s.settimeout(60)", f"s.connect(('::ffff:{V4.peer}', {PORT}))")
        assert job.do(*again) == "ok", "there it goes"
    to = {packet.to.port for packet in watch.arrivals.packets if packet.to.address == V4.peer}
    assert to == {PORT}


def test_a_datagram_socket_goes_where_it_is_connected_last(lab: Lab, kernel: KernelSide) -> None:
    policy = enforced(f"udp://{V4.peer}:{PORT}\nany://[{V6.peer}]")
    with lab.watch() as watch, agent(kernel, lab, policy, under=USER) as job:
        before = (
            "u = socket.socket(socket.AF_INET6, socket.SOCK_DGRAM)",
            f"u.connect(('::ffff:{V4.peer}', {PORT}))",
            DISCONNECT.format("u"),
        )
        assert job.do(*before, f"u.connect(('{V6.peer}', {PORT}))", "u.send(b'x')") == "ok"
    assert watch.arrivals.packets == {Packet(UDP, Endpoint(V6.peer, PORT)): 1}


def under_evils_address(job: Agent, kind: str) -> None:
    """Have it make a socket `f`, whose address isn't the machine's."""
    assert (
        job.do(
            f"f = socket.socket(socket.AF_INET6, {kind})",
            f"f.bind(('{V6.evil}', 7200))",
        )
        == "ok"
    )


@pytest.mark.usefixtures("any_source")
@pytest.mark.parametrize("port", [LISTENER, CLOSED])
def test_loopback_is_no_way_to_who_is_answered(lab: Lab, kernel: KernelSide, port: int) -> None:
    """A SYN-ACK or a reset; with an ICMP error goes what was sent, with an echo reply, too."""
    with lab.watch() as watch, agent(kernel, lab, enforced("icmp://198.51.100.77"), under=USER) as job:
        assert job.do(f"l = socket.create_server(('::', {LISTENER}), family=socket.AF_INET6)") == "ok"
        for target in ("::1", "::"):
            under_evils_address(job, "socket.SOCK_STREAM")
            assert job.do(f"f.connect(('{target}', {port}))") == "EPERM"
            under_evils_address(job, "socket.SOCK_DGRAM")
            assert job.do(f"f.sendto(b'secret', ('{target}', {port}))") == "EPERM"
            assert job.do(f"f.connect(('{target}', {port}))") == "EPERM"
        connect = ("f = socket.socket(socket.AF_INET6, socket.SOCK_DGRAM)", f"f.connect(('::1', {port}))")
        assert job.do(*connect, "f.sendmsg([b'ok'], [(41, 67, bytes(4))])") == "ok"
        under_evils = f"socket.inet_pton(socket.AF_INET6, '{V6.evil}') + bytes(4)"
        assert job.do(*connect, f"f.sendmsg([b'secret'], [(41, 50, {under_evils})])") == "EPERM"
        under_evils_address(job, "socket.SOCK_DGRAM, socket.IPPROTO_ICMPV6")
        job.do("f.sendto(bytes([128, 0, 0, 0, 0, 0, 0, 1]) + b'secret', ('::1', 0))")
    assert watch.arrivals.packets_to(V6.evil) == 0


def test_nothing_leaves_under_the_loopback_address(lab: Lab, kernel: KernelSide) -> None:
    """Not even what a process of no job, which is not asked, makes the kernel answer."""
    send = (
        "import socket; f = socket.socket(socket.AF_INET6, socket.SOCK_DGRAM); "
        f"f.setsockopt(socket.IPPROTO_IPV6, {IPV6_FREEBIND}, 1); f.bind(('{V6.evil}', 7200)); "
        f"f.sendto(b'x', ('::1', {CLOSED}))"
    )
    with lab.watch() as watch, agent(kernel, lab, enforced("198.51.100.77")):
        done = lab.run(["python3", "-c", send])
        assert (done.returncode, done.stderr) == (0, "")
    assert watch.arrivals.packets_to(V6.evil) == 0


@pytest.mark.parametrize("is_held", [True, False], ids=["enforced", "no-policy"])
def test_no_address_is_this_machines_loopback_whatever_the_sender_has(
    lab: Lab, kernel: KernelSide, *, is_held: bool
) -> None:
    """The kernel would take that which is bound, here one that the policy denies."""
    policy = enforced("198.51.100.77") if is_held else None
    server = f"listener = socket.create_server(('{V4.build}', {LISTENER}))"
    tcp = ("s = socket.socket()", f"s.bind(('{V4.build}', 0))", f"s.connect(('0.0.0.0', {LISTENER}))")
    mapped = (
        "m = socket.socket(socket.AF_INET6)",
        f"m.bind(('::ffff:{V4.build}', 0))",
        f"m.connect(('::ffff:0.0.0.0', {LISTENER}))",
    )
    udp = (
        "taking = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)",
        f"taking.bind(('{V4.build}', {LISTENER}))",
        "taking.settimeout(1)",
        "u = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)",
        f"u.bind(('{V4.build}', 0))",
        f"u.sendto(b'x', ('0.0.0.0', {LISTENER}))",
        "w = socket.socket(socket.AF_INET6, socket.SOCK_DGRAM)",
        f"w.bind(('::ffff:{V4.build}', 0))",
        f"w.sendto(b'x', ('::ffff:0.0.0.0', {LISTENER}))",
    )
    with agent(kernel, lab, policy, under=USER) as job:
        assert job.do(server, *tcp) == ("ECONNREFUSED" if is_held else "ok")
        assert job.do(*mapped) == ("ECONNREFUSED" if is_held else "ok")
        assert job.do(*udp) == "ok"
        take = "exec('try: got += taking.recv(9)\\nexcept TimeoutError: pass')"
        assert job.do("got = b''", take, take) == "ok"
        assert job.value("got") == ("b''" if is_held else "b'xx'")


def test_where_lookups_are_refused_dockers_resolver_is_asked_at_port_53_alone(
    lab: Lab, kernel: KernelSide
) -> None:
    """The port behind it, to which the kernel translates in a container, would take any question."""
    for more, done in (("mode: enforce\ndns: deny\n", "EPERM"), ("mode: enforce\n", "ok")):
        policy = compile_policy(rules(allow="198.51.100.77", more=more))
        with agent(kernel, lab, policy, under=USER) as job:
            assert job.do(f"listener = socket.create_server(('127.0.0.11', {LISTENER}))") == "ok"
            assert job.do("s = socket.socket()", f"s.connect(('127.0.0.11', {LISTENER}))") == done
            udp = "u = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)"
            assert job.do(udp, f"u.sendto(b'x', ('127.0.0.11', {LISTENER}))") == done


LOOPBACK_BY_BUILD0 = {V4: "127.0.0.9", V6: "::1"}


@pytest.fixture
def lab_with_every_way() -> Iterator[Lab]:
    """One whose build side sends everything that has no route of its own to the peer."""
    with Lab() as lab:
        lab.build.configure_links(
            *("route add default dev build0", "route add ::/0 dev build0"),
            *(
                f"neigh replace {address} lladdr 02:00:00:00:00:02 dev build0 nud permanent"
                for address in LOOPBACK_BY_BUILD0.values()
            ),
        )
        yield lab


@NETWORKS
@pytest.mark.parametrize("kind", ["SOCK_DGRAM", "SOCK_STREAM"])
def test_loopback_is_no_way_out_by_an_interface(
    lab_with_every_way: Lab, kernel: KernelSide, network: Network, kind: str
) -> None:
    """A socket that any user binds to an interface sends there, also what is for this machine."""
    lab, address = lab_with_every_way, LOOPBACK_BY_BUILD0[network]
    make = (
        f"s = socket.socket(socket.{'AF_INET' if network is V4 else 'AF_INET6'}, socket.{kind})",
        "s.setsockopt(socket.SOL_SOCKET, socket.SO_BINDTODEVICE, b'build0')",
        "s.setblocking(False)",
    )
    connect, send = f"s.connect(('{address}', {PORT}))", "s.send(b'x')"
    with lab.watch() as watch, agent(kernel, lab, enforced("198.51.100.77"), under=USER) as job:
        if kind == "SOCK_DGRAM":
            assert job.do(*make, connect, send) == "EPERM"
        else:
            assert job.do(*make, connect) == "EINPROGRESS", "of a SYN that is dropped TCP tells nobody"
    assert watch.arrivals.packets == {}


@pytest.mark.parametrize(("family", "address"), [("AF_INET", "127.0.0.1"), ("AF_INET6", "::1")])
def test_loopback_goes_on_by_lo(lab: Lab, kernel: KernelSide, family: str, address: str) -> None:
    with agent(kernel, lab, enforced("198.51.100.77")) as job:
        for name in ("one", "other"):
            made = f"{name} = socket.socket(socket.{family}, socket.SOCK_DGRAM)"
            bound = f"{name}.setsockopt(socket.SOL_SOCKET, socket.SO_BINDTODEVICE, b'lo')"
            assert job.do(made, bound, f"{name}.settimeout(30)") == "ok"
        reached = f"other.connect(('{address}', 7200))"
        assert job.do(f"one.bind(('{address}', 7200))", reached, "other.send(b'x')") == "ok"
        assert job.do("assert one.recv(9) == b'x'") == "ok"


RAW = {
    4: """
r = socket.socket(socket.AF_INET, socket.SOCK_RAW, {protocol})
r.setsockopt(socket.SOL_IP, socket.IP_HDRINCL, 1)
""",
    6: """
r = socket.socket(socket.AF_INET6, socket.SOCK_RAW, {protocol})
r.setsockopt(socket.IPPROTO_IPV6, 36, 1)
""",
}
"""36 is IPV6_HDRINCL."""
RAW_ANSWER = {
    4: """
ends = socket.inet_aton("127.0.0.53") + socket.inet_aton("127.0.0.1")
head = struct.pack("!BBHHHBBH", 0x45, 0, 20 + len(datagram), 1, 0, 64, 17, 0) + ends
r.sendto(head + datagram, ("127.0.0.1", 0))
""",
    6: """
head = struct.pack("!IHBB", 6 << 28, len(datagram), 17, 64) + 2 * socket.inet_pton(socket.AF_INET6, "::1")
r.sendto(head + datagram, ("::1", 0))
""",
}


def datagram(payload: bytes, source: str, target: str) -> bytes:
    """UDP from port 53, with the checksum that it needs over IPv6."""
    family = socket.AF_INET6 if ":" in source else socket.AF_INET
    size = 8 + len(payload)
    ends = socket.inet_pton(family, source) + socket.inet_pton(family, target)
    summed = ends + struct.pack("!HHHHH", 17, size, 53, 7200, size) + payload + bytes(len(payload) % 2)
    total = sum(struct.unpack(f"!{len(summed) // 2}H", summed))
    checksum = 0xFFFF - (total % 0xFFFF)
    return struct.pack("!4H", 53, 7200, size, checksum) + payload


@pytest.mark.parametrize("protocol", ["socket.IPPROTO_TCP", "socket.IPPROTO_ICMP"])
@pytest.mark.parametrize(
    ("version", "resolver", "local"), [(4, "127.0.0.53", "127.0.0.1"), (6, "::1", "::1")]
)
def test_over_loopback_a_raw_socket_is_no_resolver(
    lab: Lab, kernel: KernelSide, version: int, resolver: str, local: str, protocol: str
) -> None:
    """It takes CAP_NET_RAW, which root in a container has, and a header of one's own from before."""
    asked = question("trusted.example")
    answer = reply(asked, record(V4.evil))
    policy = audited(f"trusted.example:{PORT}\nicmp://198.51.100.77")
    family = "socket.AF_INET" if version == 4 else "socket.AF_INET6"
    with lab.watch() as watch, agent(kernel, lab, policy) as job:
        ask = (
            f"s = socket.socket({family}, socket.SOCK_DGRAM)",
            f"s.bind(('{local}', 7200))",
            "s.settimeout(30)",
            f"s.sendto(bytes.fromhex('{asked.hex()}'), ('{resolver}', 53))",
            f"datagram = bytes.fromhex('{datagram(answer, resolver, local).hex()}')",
        )
        assert job.do(*RAW[version].format(protocol=protocol).strip().splitlines()) == "ok"
        kernel.change_mode(policy, Mode.ENFORCE)
        assert job.do(*ask, *RAW_ANSWER[version].strip().splitlines()) == "ok"
        assert job.do("assert s.recv(4096) == datagram[8:]") == "ok", "it is forged"
        assert job.do(f"socket.create_connection(('{V4.evil}', {PORT}))") == "EPERM"
    assert watch.arrivals.packets_to(V4.evil) == 0
