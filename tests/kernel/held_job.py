"""This very process as a job under a policy: its sockets show what the kernel lets it do."""

from __future__ import annotations

import errno
import itertools
import os
import socket
import sys
from contextlib import contextmanager
from typing import TYPE_CHECKING

import dns.message
import dns.rrset

from exporter.events import wire
from exporter.events.facts import ProcessKey
from exporter.jobs.claims import named
from exporter.kernel.maps.grants import Grants
from exporter.pipeline.procfs import started_ns
from exporter.policy.compile import Compiled, compile_policy
from exporter.policy.parse import parse_policy
from exporter.policy.sections import effective

from .kernel_side import KernelSide, kernel_side
from .servers import family_of

if TYPE_CHECKING:
    from collections.abc import Iterator

    from demo.namespaces import Namespace

DENIED, SENT = "EPERM", "ok"


def compiled(text: str) -> Compiled:
    """The policy of a file with that behind `version: 1`."""
    return compile_policy(
        effective(parse_policy(f"version: 1\n{text}".encode(), "policy.yaml"), named(None, None))
    )


class HeldJob:
    """A job, this process, whose policy changes from test to test."""

    def __init__(self, kernel: KernelSide) -> None:
        """It has none yet."""
        self.kernel = kernel
        self._scopes, self._scope = itertools.count(1), 0
        started = started_ns(os.getpid())
        assert started is not None
        self._process = ProcessKey(os.getpid(), started)

    @property
    def scope(self) -> int:
        """Of the latest job."""
        return self._scope

    def hold_to(self, policy: Compiled) -> int:
        """Begin another job, of this process, under `policy`; its scope."""
        self.grants().forget(self._scope)
        self._scope = scope = next(self._scopes)
        self.kernel.hold(scope, policy)
        self.enter(scope)
        return scope

    def hold_to_text(self, text: str) -> int:
        """The same, of a file with that behind `version: 1`."""
        return self.hold_to(compiled(text))

    def enforce(self, scope: int) -> None:
        """Turn what is only told into what is denied."""
        modes = self.kernel.tracer.maps["modes"]
        key = scope.to_bytes(4, sys.byteorder)
        value = wire.ModeValue.unpack(modes.lookup(key) or b"")
        modes.update(key, wire.MODE_VALUE.pack(*value._replace(is_enforcing=1)))

    def grants(self) -> Grants:
        """Of all scopes, to be ended at any time."""
        return Grants(self.kernel.tracer.maps)

    @contextmanager
    def away(self) -> Iterator[None]:
        """During the block, this process belongs to no job."""
        procs, key = self.kernel.tracer.maps["procs"], os.getpid().to_bytes(4, sys.byteorder)
        value = procs.take(key)
        assert value is not None
        try:
            yield
        finally:
            procs.update(key, value)

    @contextmanager
    def before_it_is_known(self) -> Iterator[None]:
        """During the block, it isn't known yet that this process is of its job."""
        procs, candidates = (self.kernel.tracer.maps[name] for name in ("procs", "candidates"))
        pid = os.getpid().to_bytes(4, sys.byteorder)
        known = wire.ProcValue.unpack(procs.lookup(pid) or b"")
        key = wire.CandidateKey(known.started_ns, os.getpid(), known.scope)
        procs.update(pid, wire.PROC_VALUE.pack(*known._replace(scope=0, **key._asdict())))
        try:
            yield
        finally:
            candidates.update(wire.CANDIDATE_KEY.pack(*key), known.scope.to_bytes(4, sys.byteorder))

    def enter(self, scope: int) -> None:
        """Let this process be of that job."""
        self.kernel.tracer.processes.follow(self._process, scope)

    @property
    def ungranted(self) -> int:
        """Addresses that found no room."""
        return self.kernel.tracer.counts().ungranted()


@contextmanager
def held_job() -> Iterator[HeldJob]:
    """Attach the programs for the block."""
    with kernel_side() as kernel:
        yield HeldJob(kernel)


def question(name: str, kind: str = "A", *, txid: int = 7) -> bytes:
    """As a client asks."""
    return dns.message.make_query(name, kind, id=txid).to_wire()


def reply(asked: bytes, *records: str, ttl_s: int = 60) -> bytes:
    """An answer with `records`, as `owner type data`, `=` for the name that was asked for."""
    query = dns.message.from_wire(asked)
    made = dns.message.make_response(query, recursion_available=True)
    for record in records:
        owner, kind, data = record.split(" ", 2)
        name = query.question[0].name if owner == "=" else owner
        made.answer.append(dns.rrset.from_text(name, ttl_s, "IN", kind, data))
    return made.to_wire(max_size=65535)


def record(address: str) -> str:
    """The answer's, for the name that was asked for."""
    return f"= {'AAAA' if ':' in address else 'A'} {address}"


def connect(side: Namespace, address: str, port: int, kind: int = socket.SOCK_STREAM) -> str:
    """What comes of a connect there, and of a datagram: ok, or the name of the error."""
    with side.call(socket.socket, family_of(address), kind).result() as made:
        made.settimeout(60)
        try:
            made.connect((address, port))
            if kind == socket.SOCK_DGRAM:
                made.send(b"x")
        except OSError as error:
            return errno.errorcode[error.errno or 0]
    return SENT
