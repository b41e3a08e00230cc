"""Who forges answers names nothing, and hostile names do nothing to whoever reads the trace."""

from __future__ import annotations

import re
import socket
from typing import TYPE_CHECKING

import dns.message
import dns.name
import dns.rrset

from tests.kernel.arrivals import UDP, Endpoint
from tests.kernel.lab import NETWORKS, PORT, V4, Lab, Network
from tests.kernel.resolver import Resolver
from tests.kernel.servers import bound
from tests.kernel.tracing import Span, Trace, trace

if TYPE_CHECKING:
    from pathlib import Path

SYSTEM_PYTHON = "/usr/bin/python3"
TRUSTED, OTHER = "trusted.example", "other.example"

ASK_AND_CONNECT = """
import socket, sys
resolver, answers, peer, port, *questions = sys.argv[1:]
family = socket.AF_INET6 if ":" in resolver else socket.AF_INET
asking = socket.socket(family, socket.SOCK_DGRAM)
asking.settimeout(60)
for question in questions:
    asking.sendto(bytes.fromhex(question), (resolver, 53))
    print(*sorted(asking.recvfrom(4096)[1][0] for _ in range(int(answers))))
socket.create_connection((peer, int(port))).close()
"""
"""Waits for so many answers to each question, believes all of them, and connects."""

FORGE_AND_CONNECT = """
import socket, struct, sys
resolver, own, peer, port, question, forged = sys.argv[1:]
asking = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
asking.settimeout(60)
asking.connect((resolver, 53))
asking.send(bytes.fromhex(question))
message = bytes.fromhex(forged)
datagram = struct.pack("!HHHH", 53, asking.getsockname()[1], 8 + len(message), 0) + message
ends = socket.inet_aton(resolver) + socket.inet_aton(own)
header = struct.pack("!BBHHHBBH", 0x45, 0, 20 + len(datagram), 1, 0, 64, 17, 0) + ends
with socket.socket(socket.AF_INET, socket.SOCK_RAW, socket.IPPROTO_RAW) as raw:
    raw.sendto(header + datagram, (own, 0))
print(asking.recv(4096) == message)
socket.create_connection((peer, int(port))).close()
"""
"""Answers its own question in the resolver's name, as root can, and connects."""

HOSTILE_LABELS = [
    b"\x1b[31mred",
    b"two\nlines",
    b"<script>x</script>",
    b"|`md`|",
    b"\xff\xfe",
    b"\xe2\x80\xaertl",
    b"a.dot",
    b"\0",
]


def query(name: str, network: Network) -> bytes:
    return dns.message.make_query(name, kind_of(network), id=7).to_wire()


def kind_of(network: Network) -> str:
    return "A" if network is V4 else "AAAA"


def leading_to(address: str, question: bytes) -> bytes:
    """An answer that says that the name has this address."""
    asked = dns.message.from_wire(question)
    reply = dns.message.make_response(asked, recursion_available=True)
    kind = "AAAA" if ":" in address else "A"
    reply.answer = [dns.rrset.from_text(asked.question[0].name, 60, "IN", kind, address)]
    return reply.to_wire()


class Meddling(Resolver):
    """Before its honest answer another one comes from a stranger, and one to what nobody asked."""

    def __init__(self, lab: Lab, network: Network) -> None:
        super().__init__(lab, network.evil, [])
        self._network = network
        self._stranger = silent(lab, network)

    def answer(self, question: bytes, asker: tuple[str, int]) -> None:
        lie = self._network.peer
        self._stranger.sendto(leading_to(lie, question), asker)
        self.datagrams.sendto(leading_to(lie, query(OTHER, self._network)), asker)
        super().answer(question, asker)

    def __exit__(self, *error: object) -> None:
        super().__exit__(*error)
        self._stranger.close()


def silent(lab: Lab, network: Network) -> socket.socket:
    """Port 53 of the peer, where nobody answers."""
    return lab.peer.call(bound, Endpoint(network.peer, 53), socket.SOCK_DGRAM, UDP).result()


def only_connection(seen: Trace) -> Span:
    (span,) = (span for span in seen.egress if span["network.transport"] == "tcp")
    assert span["egress.outcome"] == "established"
    return span


@NETWORKS
def test_answers_of_strangers_and_to_what_was_not_asked_name_nothing(
    lab: Lab, tmp_path: Path, network: Network
) -> None:
    command = [SYSTEM_PYTHON, "-c", ASK_AND_CONNECT, network.evil, "3", network.peer, str(PORT)]
    with Meddling(lab, network):
        seen = trace(lab, [*command, query(TRUSTED, network).hex()], tmp_path)
    assert seen.stdout.split() == sorted([network.peer, network.evil, network.evil])
    assert only_connection(seen)["server.address"] == network.peer
    assert [span.attributes.get("dns.question.name") for span in seen.egress] == [TRUSTED, None]


def test_an_answer_that_the_job_forges_names_nothing(lab: Lab, tmp_path: Path) -> None:
    for interface in ("all", "lo"):
        lab.build.configure(
            {f"net/ipv4/conf/{interface}/rp_filter": 0, f"net/ipv4/conf/{interface}/accept_local": 1}
        )
    question = query(TRUSTED, V4)
    command = [SYSTEM_PYTHON, "-c", FORGE_AND_CONNECT, V4.peer, V4.build, V4.peer, str(PORT)]
    with silent(lab, V4):
        seen = trace(lab, [*command, question.hex(), leading_to(V4.peer, question).hex()], tmp_path)
    assert (seen.status, seen.stdout) == (0, "True\n")
    assert only_connection(seen)["server.address"] == V4.peer
    assert {span["server.address"] for span in seen.egress} == {V4.peer, V4.build}


@NETWORKS
def test_hostile_names_are_shown_harmlessly_and_name_nothing(
    lab: Lab, tmp_path: Path, network: Network
) -> None:
    names = [dns.name.Name((label, b"example", b"")).to_text() for label in HOSTILE_LABELS]
    records = [f"{name} {kind_of(network)} {network.peer}" for name in names]
    questions = [query(name, network).hex() for name in names]
    command = [SYSTEM_PYTHON, "-c", ASK_AND_CONNECT, network.evil, "1", network.peer, str(PORT), *questions]
    with Resolver(lab, network.evil, records):
        seen = trace(lab, command, tmp_path)
    assert seen.stdout.split() == [network.evil] * len(names)
    asked = [span["dns.question.name"] for span in seen.egress if span["server.port"] == 53]
    assert asked == [name.removesuffix(".") for name in names]
    assert all(str(name).isascii() and str(name).isprintable() for name in asked)
    assert only_connection(seen)["server.address"] == network.peer
    assert re.findall(r"[^\n -~→]", seen.stderr) == []
