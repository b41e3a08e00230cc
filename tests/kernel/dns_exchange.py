"""A client on the build side of the lab, a resolver on the far side, and what goes between them."""

from __future__ import annotations

import json
import socket
import struct
from dataclasses import dataclass
from string import ascii_lowercase, ascii_uppercase, digits
from typing import TYPE_CHECKING

import dns.message

from .held_job import question, reply

if TYPE_CHECKING:
    from collections.abc import Sequence
    from contextlib import ExitStack

    from demo.namespaces import Namespace

    from .lab import Lab, Network

NAME = "registry.example"
OF_HOST_NAMES = "-" + digits + ascii_uppercase + "_" + ascii_lowercase
"""What a label may have, in the order of its codes."""


PACED = (socket.SOL_SOCKET, 47, 400)
"""SO_MAX_PACING_RATE, which any user may set: bytes a second."""
HELD_BACK_S = 2
"""At least so long TCP holds a piece back that is sent behind `questions_held_back`."""


def bracketed(address: str) -> str:
    """As rules have it."""
    return f"[{address}]" if ":" in address else address


def policy(network: Network, *allow: object, deny: Sequence[str] = (), mode: str = "enforce") -> str:
    """With the resolver at `evil`; its answers, and the peer's, come from this process, too."""
    ours = [f"any://{bracketed(network.build)}"]
    resolver = [f"{protocol}://{bracketed(network.evil)}:53" for protocol in ("udp", "tcp")]
    return f"mode: {mode}\nallow: {json.dumps([*ours, *resolver, *allow])}\ndeny: {json.dumps([*deny])}\n"


@dataclass
class Asking:
    """A client and its resolver."""

    client: socket.socket
    resolver: socket.socket
    stranger: socket.socket
    """Port 53 of the peer's other address."""

    @classmethod
    def at(cls, stack: ExitStack, lab: Lab, network: Network) -> Asking:
        """Make the three; `stack` closes them."""
        return cls(
            udp(stack, lab.build, network.build, 0),
            udp(stack, lab.peer, network.evil, 53),
            udp(stack, lab.peer, network.peer, 53),
        )

    def ask(self, name: str, *records: str, kind: str = "A", ttl_s: int = 60, at: str = "") -> None:
        """Ask for `name` and get that answer; of a resolver at many addresses, ask `at` one."""
        asked = question(name, kind)
        self.get(asked, reply(asked, *records, ttl_s=ttl_s), at=at)

    def get(self, asked: bytes, answer: bytes, *, at: str = "") -> None:
        """Ask that and get that answer."""
        self.client.sendto(asked, (at, 53) if at else self.resolver.getsockname())
        taken, client = self.resolver.recvfrom(4096)
        assert taken == asked
        self.resolver.sendto(answer, client)
        assert self.client.recv(65535) == answer


def udp(stack: ExitStack, side: Namespace, address: str, port: int) -> socket.socket:
    """A socket on that side, bound; `stack` closes it."""
    family = socket.AF_INET6 if ":" in address else socket.AF_INET
    made = stack.enter_context(side.call(socket.socket, family, socket.SOCK_DGRAM).result())
    made.settimeout(60)
    made.bind((address, port))
    return made


def framed(*messages: bytes) -> bytes:
    """The messages as they stand in a stream."""
    return b"".join(struct.pack("!H", len(message)) + message for message in messages)


def taken(server: socket.socket, size: int) -> bytes:
    """What comes by a connection: so many bytes, or all until its end."""
    found = b""
    while len(found) < size and (piece := server.recv(size - len(found))):
        found += piece
    return found


def nothing_comes(server: socket.socket, within_s: float = 1) -> bool:
    """Not even by a retransmission: the first one comes 0.2 s later, the next one 0.4 s after that."""
    server.settimeout(within_s)
    try:
        return not server.recv(1)
    except TimeoutError:
        return True


def padded(size: int = 128) -> bytes:
    """A question with something behind it."""
    return dns.message.make_query(NAME, "A", use_edns=0, pad=size).to_wire()


def questions_held_back() -> tuple[list[bytes], bytes]:
    """What a client is to send so that TCP sends the next piece only HELD_BACK_S later.

    The pieces before it sets PACED, and the one after that: the kernel begins to pace with the tenth segment.
    """
    return [framed(question(NAME))] * 12, framed(padded(800))
