"""A lab whose build side resolves names: a resolver on the far side, and the files that point to it."""

from __future__ import annotations

import select
import socket
import struct
import subprocess
import threading
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Self

import dns.flags
import dns.message
import dns.name
import dns.rdatatype
import dns.rrset

from .lab import Lab
from .servers import family_of, receive

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

_TURN_S = 0.05
_RESOLV_CONF, _NSSWITCH_CONF, _HOSTS = map(Path, ("/etc/resolv.conf", "/etc/nsswitch.conf", "/etc/hosts"))


class Resolver(threading.Thread):
    """Answers like a real one: through CNAMEs, over UDP only as much as the asker takes, else over TCP."""

    def __init__(self, lab: Lab, address: str, records: Sequence[str], *, ttl_s: int = 60) -> None:
        """Listen at port 53 of an address of the peer; `records` are lines of `owner type data`."""
        super().__init__(daemon=True)
        self._ttl_s = ttl_s
        self._records = [_parsed(record) for record in records]
        family = family_of(address)
        self.datagrams = lab.peer.call(socket.socket, family, socket.SOCK_DGRAM).result()
        self._listener = lab.peer.call(socket.socket, family, socket.SOCK_STREAM).result()
        self._listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        for one in (self.datagrams, self._listener):
            one.bind((address, 53))
            one.settimeout(0)
        self._listener.listen()
        self._connections: list[socket.socket] = []
        self._has_ended = threading.Event()

    def __enter__(self) -> Self:
        """Start to serve."""
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        """Stop serving."""
        self._has_ended.set()
        self.join()
        for one in (self.datagrams, self._listener, *self._connections):
            one.close()

    def run(self) -> None:
        """Serve; an asker that takes its time with a connection keeps no other one waiting."""
        while not self._has_ended.is_set():
            sockets = [self.datagrams, self._listener, *self._connections]
            ready, _, _ = select.select(sockets, [], [], _TURN_S)
            for one in ready:
                if one is self.datagrams:
                    self.answer(*self.datagrams.recvfrom(4096))
                elif one is self._listener:
                    self._connections.append(self._listener.accept()[0])
                else:
                    self._serve(one)

    def answer(self, question: bytes, asker: tuple[str, int]) -> None:
        """Answer a datagram."""
        self.datagrams.sendto(self.reply_to(question, over_tcp=False), asker)

    def _serve(self, connection: socket.socket) -> None:
        """What came at once is answered at once, until its asker closes."""
        taken = receive(connection)
        if not taken:
            self._connections.remove(connection)
            connection.close()
            return
        replies = [self.reply_to(question, over_tcp=True) for question in _unframed(taken)]
        with suppress(ConnectionError):
            connection.sendall(b"".join(struct.pack("!H", len(reply)) + reply for reply in replies))

    def reply_to(self, wire: bytes, *, over_tcp: bool) -> bytes:
        """The answer to a question; over UDP, one that is too long says so and nothing more."""
        question = dns.message.from_wire(wire)
        reply = dns.message.make_response(question, recursion_available=True)
        asked = question.question[0]
        reply.answer = self._found(asked.name, dns.rdatatype.to_text(asked.rdtype))
        try:
            return reply.to_wire(max_size=65535 if over_tcp else max(512, question.payload))
        except dns.exception.TooBig:
            reply.answer.clear()
            reply.flags |= dns.flags.TC
            return reply.to_wire()

    def _found(self, name: dns.name.Name, kind: str) -> list[dns.rrset.RRset]:
        found = []
        for owner, its_kind, data in self._records:
            if owner != name or its_kind not in (kind, "CNAME"):
                continue
            found.append(dns.rrset.from_text(owner, self._ttl_s, "IN", its_kind, data))
            if its_kind == "CNAME":
                found += self._found(dns.name.from_text(data), kind)
        return found


def _parsed(record: str) -> tuple[dns.name.Name, str, str]:
    owner, kind, data = record.split()
    absolute = dns.name.from_text(data).to_text() if kind == "CNAME" else data
    return dns.name.from_text(owner), kind, absolute


def _unframed(taken: bytes) -> Iterator[bytes]:
    while taken:
        (size,) = struct.unpack("!H", taken[:2])
        yield taken[2 : 2 + size]
        taken = taken[2 + size :]


def resolving_with(lab: Lab, address: str, directory: Path, *, hosts: str = "") -> None:
    """Let programs that `lab.build.call` starts ask the resolver at `address`, after a hosts file.

    `directory` is for the files.
    """
    contents = {
        # Asking again would be a lookup more: not because the machine was busy for a moment.
        _RESOLV_CONF: f"nameserver {address}\noptions timeout:30\n",
        _NSSWITCH_CONF: "hosts: files dns\n",
        _HOSTS: hosts,
    }
    shown = {}
    for path, text in contents.items():
        (directory / path.name).write_text(text)
        if path.exists():
            shown[path.resolve()] = directory / path.name
    lab.build.replace_files(shown)


def answering_for(lab: Lab, address: str, resolver: str, port: int | None = None) -> None:
    """Let NAT put `resolver` in the place of `address`, as a cluster does; with `port`, as Docker does."""
    family = "ip6" if ":" in address else "ip"
    there = f"[{resolver}]" if ":" in resolver and port else resolver
    to = f"{there}:{port}" if port else there
    rule = f"{family} daddr {address} meta l4proto {{ tcp, udp }} th dport 53 dnat to {to}"
    table = f"table {family} services {{ chain output {{ type nat hook output priority -100; {rule}; }}; }}"
    subprocess.run(lab.build.command(["nft", "--file", "-"]), input=table, text=True, check=True)


def answering_for_itself(lab: Lab) -> None:
    """Nobody is put in anybody's place any more."""
    subprocess.run(lab.build.command(["nft", "flush", "ruleset"]), check=True)


@contextmanager
def lab_with_resolver(
    address: str, records: Sequence[str], directory: Path, *, hosts: str = "", ttl_s: int = 60
) -> Iterator[Lab]:
    """Build a lab whose build side has a resolver with `records` at `address` of the peer."""
    with Lab() as lab, Resolver(lab, address, records, ttl_s=ttl_s):
        resolving_with(lab, address, directory, hosts=hosts)
        yield lab
