"""A client on the build side of the lab, a resolver on the far side, and what goes between them."""

from __future__ import annotations

import json
import socket
from dataclasses import dataclass
from string import ascii_lowercase, ascii_uppercase, digits
from typing import TYPE_CHECKING

from .held_job import question, reply

if TYPE_CHECKING:
    from collections.abc import Sequence
    from contextlib import ExitStack

    from demo.namespaces import Namespace

    from .lab import Lab, Network

NAME = "registry.example"
OF_HOST_NAMES = "-" + digits + ascii_uppercase + "_" + ascii_lowercase
"""What a label may have, in the order of its codes."""


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
