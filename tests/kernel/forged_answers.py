"""Resolvers that forge, or are forged, and programs that believe them."""

from __future__ import annotations

import socket

import dns.message
import dns.name
import dns.rrset

from tests.kernel.arrivals import UDP, Endpoint
from tests.kernel.lab import V4, Lab, Network
from tests.kernel.resolver import Resolver
from tests.kernel.servers import bound

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
