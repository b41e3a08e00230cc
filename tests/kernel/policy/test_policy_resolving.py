"""Names under a policy, from a real resolver's answers: what they open, for how long, and what doesn't."""

from __future__ import annotations

import json
import os
import socket
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from typing import TYPE_CHECKING, NamedTuple

import pytest

from tests.kernel.arrivals import TCP, Endpoint, Packet
from tests.kernel.forged_answers import ASK_AND_CONNECT, TRUSTED, Meddling, leading_to, query
from tests.kernel.lab import NETWORKS, PORT, V4, V6, Lab, Network
from tests.kernel.name_connections import connections
from tests.kernel.policy_runs import MODES, bracketed, script, under
from tests.kernel.resolver import Resolver, lab_with_resolver
from tests.launch import PYTHON_NAME, SYSTEM_PYTHON

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from tests.kernel.conftest import Programs

pytestmark = pytest.mark.kernel

EXACT, ALIAS, BELOW = "registry.example", "mirror.example", "*.wheels.example"
TARGET = "edge.cdn.example"
TTL_S = 1
LAX = {"rp_filter": 0, "accept_local": 1}
"""Lets in what comes by lo from anywhere."""


class Name(NamedTuple):
    """One that the job looks up."""

    text: str
    rule: str | None
    """That allows it."""


NAMES = [
    Name(EXACT, EXACT),
    Name("a.wheels.example", BELOW),
    Name("b.a-c.wheels.example", BELOW),
    Name(ALIAS, ALIAS),
    Name("wheels.example", None),
    Name("www.registry.example", None),
    Name("evilregistry.example", None),
    Name("registry.example.evil.example", None),
    Name("evilwheels.example", None),
    Name("a.wheels.example.evil.example", None),
    Name("registry-example.evil.example", None),
    Name("xn--regstry-cza.example", None),
    Name(TARGET, None),
    Name("alias-to-registry.evil.example", None),
]
RECONNECT = """
import errno, json, socket, sys, time
names, port, ttl_s = json.loads(sys.argv[1]), int(sys.argv[2]), float(sys.argv[3])
def connect(address):
    with socket.socket(socket.AF_INET6 if ":" in address else socket.AF_INET) as connecting:
        return errno.errorcode.get(connecting.connect_ex((address, port)), "ok")
found = {}
for name in names:
    addresses = {info[4][0] for info in socket.getaddrinfo(name, port, type=socket.SOCK_STREAM)}
    found[name] = {address: [connect(address)] for address in addresses}
time.sleep(1.5 * ttl_s)
for results in found.values():
    for address, result in results.items():
        result.append(connect(address))
print(json.dumps(found))
"""
"""Looks each name up once, connects to all of its addresses, and again when the answers are too old."""


def addresses_of(number: int) -> tuple[str, str]:
    """Two of the peer's network that belong to nobody else: what is sent there is refused."""
    return f"192.0.2.{100 + number}", f"2001:db8::1:{number:x}"


def records() -> list[str]:
    """Both addresses for each name; some of them behind another name."""
    found = []
    for number, name in enumerate(NAMES):
        behind = {ALIAS: "edge-of-mirror.cdn.example", NAMES[-1].text: "listed.example"}.get(name.text)
        if behind:
            found.append(f"{name.text} CNAME {behind}")
        v4, v6 = addresses_of(number)
        found += [f"{behind or name.text} A {v4}", f"{behind or name.text} AAAA {v6}"]
    return found


def add_addresses(lab: Lab) -> None:
    for number in range(len(NAMES)):
        v4, v6 = addresses_of(number)
        lab.peer.configure_links(f"addr add {v4}/24 dev peer0", f"addr add {v6}/64 dev peer0 nodad")
        for address in (v4, v6):
            lab.build.configure_links(
                f"neigh add {address} lladdr 02:00:00:00:00:02 dev build0 nud permanent"
            )


@MODES
@NETWORKS
def test_exactly_what_the_policy_names_is_open_and_stays_so_when_its_answer_is_old(
    tmp_path: Path, network: Network, mode: str
) -> None:
    """`listed.example` and the target of a name that is allowed are reached by other names alone."""
    allow = [f"{rule}:{PORT}" for rule in (EXACT, BELOW, ALIAS, "listed.example")]
    command = [
        SYSTEM_PYTHON,
        "-c",
        RECONNECT,
        json.dumps([name.text for name in NAMES]),
        str(PORT),
        str(TTL_S),
    ]
    with lab_with_resolver(network.peer, records(), tmp_path, ttl_s=TTL_S) as lab:
        add_addresses(lab)
        with lab.watch() as watch:
            ruled = under(lab, mode, allow, command, tmp_path, more="resolvers: system\n", is_inside=True)
    refused, denied = ["ECONNREFUSED"] * 2, [ruled.errno("ECONNREFUSED")] * 2
    assert json.loads(ruled.seen.stdout) == {
        name.text: dict.fromkeys(addresses_of(number), refused if name.rule else denied)
        for number, name in enumerate(NAMES)
    }
    spans = connections(ruled.seen)
    assert len(spans) == len(NAMES) * 4
    for number, name in enumerate(NAMES):
        of_name = [span for span in spans if span["network.peer.address"] in addresses_of(number)]
        assert [span["server.address"] for span in of_name] == [name.text] * 4
        if name.rule:
            ruled.assert_allowed(of_name, f"{name.rule}:{PORT}")
        else:
            ruled.assert_against(of_name)
        arrived = sum(map(watch.arrivals.packets_to, addresses_of(number)))
        assert (arrived == 0) == (ruled.is_enforced and not name.rule)
    told = {ruled.seen.by_id[record["spanId"]]["server.address"] for record in ruled.records}
    assert told == {name.text for name in NAMES if not name.rule}
    assert ruled.seen.account.endswith("+ dropped 0 + pending 0")


ASK_OVER_TCP = """
import errno, socket, struct, sys
resolver, question = sys.argv[1], bytes.fromhex(sys.argv[2])
try:
    with socket.create_connection((resolver, 53), 30) as asking:
        asking.sendall(struct.pack("!H", len(question)) + question)
        print("answered" if asking.recv(4096) else "silent")
except OSError as error:
    print(errno.errorcode[error.errno])
"""


@MODES
def test_a_lookup_over_tcp_or_https_is_a_connect_like_any_other(
    lab: Lab, programs: Programs, tmp_path: Path, mode: str
) -> None:
    """Where no rule allows the resolver; and what it answers in audit opens nothing."""
    commands, both = [], (V4, V6)
    for network in both:
        over_https = f"https://{bracketed(network.evil)}:{PORT}/dns-query"
        commands += [
            [SYSTEM_PYTHON, "-c", ASK_OVER_TCP, network.evil, query(EXACT, network).hex()],
            ["curl", "-sk", "--max-time", "9", "--doh-url", over_https, f"http://{EXACT}:{PORT}/"],
            programs.act("connect", network.peer, PORT),
        ]
    resolvers = [Resolver(lab, n.evil, [f"{EXACT} A {V4.peer}", f"{EXACT} AAAA {V6.peer}"]) for n in both]
    with resolvers[0], resolvers[1], lab.watch() as watch:
        ruled = under(lab, mode, [f"{EXACT}:{PORT}"], script(tmp_path, *commands), tmp_path)
    assert ruled.seen.stdout.split() == [ruled.errno("answered"), ruled.errno()] * 2
    assert (watch.arrivals.packets == {}) == ruled.is_enforced
    ruled.assert_against(ruled.seen.egress)
    found = {
        (span["egress.lineage"][-1], span["network.peer.address"], span["server.port"])  # type: ignore[index]
        for span in ruled.seen.egress
    }
    assert found == {
        expected
        for network in both
        for expected in (
            (PYTHON_NAME, network.evil, 53),
            ("curl", network.evil, PORT),
            ("act", network.peer, PORT),
        )
    }
    assert {span["network.transport"] for span in ruled.seen.egress} == {"tcp"}


FORGE = """
import socket, struct, sys
giver, resolver, own, peer, port, question, forged = sys.argv[1:]
family = socket.AF_INET6 if ":" in resolver else socket.AF_INET
asking = socket.socket(family, socket.SOCK_DGRAM)
asking.settimeout(30)
asking.connect((resolver, 53))
asking.send(bytes.fromhex(question))
message = bytes.fromhex(forged)
ends = socket.inet_pton(family, resolver) + socket.inet_pton(family, own)
ports = 53, asking.getsockname()[1], 8 + len(message)
even = ends + struct.pack("!IIHHHH", 8 + len(message), 17, *ports, 0) + message + b"\\0" * (len(message) % 2)
total = sum(struct.unpack(f"!{len(even) // 2}H", even))
total = (total & 0xffff) + (total >> 16)
datagram = struct.pack("!HHHH", *ports, 0xffff & ~((total & 0xffff) + (total >> 16))) + message
if family == socket.AF_INET:
    header = struct.pack("!BBHHHBBH", 0x45, 0, 20 + len(datagram), 1, 0, 64, 17, 0)
else:
    header = struct.pack("!IHBB", 6 << 28, len(datagram), 17, 64)
with socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET) as taking:
    taking.connect(giver)
    _, (four, six), *_ = socket.recv_fds(taking, 1, 2)
with socket.socket(fileno=four if family == socket.AF_INET else six) as raw:
    raw.sendto(header + ends + datagram, (own, 0))
assert asking.recv(4096) == message
print("forged", flush=True)
print(socket.socket(family).connect_ex((peer, int(port))))
"""
"""Answers its own question in the resolver's name, as root can, over loopback; then it connects.

Its raw sockets are a stranger's: where the policy is enforced, it can't make any.
"""


@contextmanager
def giving_raw_sockets(lab: Lab, path: Path) -> Iterator[None]:
    """During the block, each who connects to that path gets two of the build side."""
    both = (socket.AF_INET, socket.AF_INET6)
    with ExitStack() as stack:
        listener = stack.enter_context(socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET))
        listener.bind(os.fspath(path))
        listener.listen()
        listener.settimeout(60)
        pool = stack.enter_context(ThreadPoolExecutor(1))
        raw = [
            stack.enter_context(lab.build.call(socket.socket, family, socket.SOCK_RAW, 255).result())
            for family in both
        ]

        def give() -> None:
            for _ in both:
                taking, _ = listener.accept()
                with taking:
                    socket.send_fds(taking, [b"x"], [each.fileno() for each in raw])

        giving = pool.submit(give)
        yield
        giving.result()


@MODES
def test_answers_that_nobody_was_asked_for_or_that_the_job_forges_open_nothing(
    tmp_path: Path, mode: str
) -> None:
    commands, allow, both, giver = [], [f"{TRUSTED}:{PORT}"], (V4, V6), tmp_path / "giver"
    for network in both:
        question = query(TRUSTED, network)
        lie = leading_to(network.peer, question).hex()
        asked = question.hex()
        ask = [SYSTEM_PYTHON, "-c", ASK_AND_CONNECT, network.evil, "3", network.peer, str(PORT), asked]
        to = [str(giver), network.peer, network.build, network.peer, str(PORT), asked, lie]
        commands += [["sh", "-c", '"$@" 2>/dev/null', "sh", *ask], [SYSTEM_PYTHON, "-c", FORGE, *to]]
        hosts = bracketed(network.evil), bracketed(network.peer)
        allow += [*(f"udp://{host}:53" for host in hosts), f"any://{bracketed(network.build)}"]
    with Lab() as lab, Meddling(lab, V4), Meddling(lab, V6):
        for interface in ("all", "lo"):
            settings = {f"net/ipv4/conf/{interface}/{name}": n for name, n in LAX.items()}
            lab.build.configure(settings)
        with giving_raw_sockets(lab, giver), lab.watch() as watch:
            ruled = under(lab, mode, allow, script(tmp_path, *commands), tmp_path)
    denied = "1" if ruled.is_enforced else "0"
    assert ruled.seen.stdout.splitlines() == [
        line
        for network in both
        for line in (" ".join(sorted([network.peer, *[network.evil] * 2])), "forged", denied)
    ]
    spans = connections(ruled.seen)
    assert [span["server.address"] for span in spans] == [V4.peer, V4.peer, V6.peer, V6.peer]
    ruled.assert_against(spans)
    opened = [watch.arrivals.packets[Packet(TCP, Endpoint(network.peer, PORT))] for network in both]
    assert [number == 0 for number in opened] == [ruled.is_enforced] * 2
    assert {record["spanId"] for record in ruled.records} == {span.span_id for span in spans}
