"""The programs that read DNS messages, attached, with their records and counts."""

from __future__ import annotations

import os
import socket
import struct
from collections.abc import Iterator
from contextlib import ExitStack, closing, contextmanager
from pathlib import Path
from typing import NamedTuple

from exporter.events import wire
from exporter.events.decode import Decoder
from exporter.events.facts import Answered, Asked, ProcessKey
from exporter.kernel.bpf import Map, possible_cpus
from exporter.kernel.compilation.compiling import our_bytecode, system_compiler
from exporter.kernel.instances.loading import attach, load, pin_maps
from exporter.kernel.maps.rings import Ring, drain
from exporter.kernel.mounts import ensure_bpffs
from exporter.kernel.pins import new_instance
from exporter.kernel.programs.hooks import PROGRAMS
from exporter.kernel.tracer import PINNED_MAPS
from exporter.pipeline.procfs import started_ns

SO_COOKIE = 57
WAIT_S = 60
"""For what a socket is to get."""
SCOPE = 7


class Counts(NamedTuple):
    """What the kernel counted of DNS messages."""

    seen: int
    lost: int
    untracked: int
    unread: int
    unasked: int
    ungranted: int


class Lookups:
    """Everything attached; this very process is the job's root, and its threads ask."""

    def __init__(self, pins: Path, stack: ExitStack) -> None:
        """Open what is pinned there."""
        self.maps = {name: stack.enter_context(closing(Map(pins / f"map_{name}"))) for name in PINNED_MAPS}
        ring = self.maps["lookups"]
        self._ring = stack.enter_context(closing(Ring(ring.fileno(), ring.max_entries)))
        started = started_ns(os.getpid())
        assert started is not None
        self.process = ProcessKey(os.getpid(), started)
        value = struct.pack("=QI", started, SCOPE)
        self._value = value + bytes(wire.PROC_VALUE.size - len(value))
        self._pid = struct.pack("=I", os.getpid())
        self.maps["procs"].update(self._pid, self._value)

    @contextmanager
    def being(self, scope: int) -> Iterator[None]:
        """During the block, this process is of another job, and what it makes then for good."""
        key = struct.pack("=QI", self.process.started_ns, scope)
        self.maps["procs"].update(self._pid, key + self._value[len(key) :])
        try:
            yield
        finally:
            self.maps["procs"].update(self._pid, self._value)

    @contextmanager
    def away(self) -> Iterator[None]:
        """During the block, this process belongs to no job."""
        self.maps["procs"].delete(self._pid)
        try:
            yield
        finally:
            self.maps["procs"].update(self._pid, self._value)

    @contextmanager
    def following_the_host(self) -> Iterator[None]:
        """During the block, processes of no job are followed too: whatever runs on this machine."""
        self._follow_the_host(1)
        try:
            yield
        finally:
            self._follow_the_host(0)
            while strangers := [key for key in self.maps["procs"] if key != self._pid]:
                for key in strangers:  # they, and what they start, would be followed for good
                    self.maps["procs"].delete(key)

    def _follow_the_host(self, is_host: int) -> None:
        none = wire.ConfigValue.unpack(bytes(wire.CONFIG_VALUE.size))
        value = none._replace(layout=wire.LAYOUT, is_host=is_host)
        self.maps["config"].update(struct.pack("=I", 0), wire.CONFIG_VALUE.pack(*value))

    def drain(self) -> list[Asked | Answered]:
        """The records since the last time."""
        decoder, events = Decoder(), list[Asked | Answered]()

        def take(data: memoryview, at: int, length: int) -> None:
            for event in decoder.decode(data, at, length):
                assert isinstance(event, Asked | Answered)
                events.append(event)

        while drain([self._ring], take, limit=1000).number:
            pass
        return events

    def counts(self) -> Counts:
        """Since the programs were loaded."""
        numbers = []
        for what in range(len(Counts._fields)):
            value = self.maps["counters"].lookup(struct.pack("=I", wire.KIND_DNS * wire.COUNTS + what))
            assert value is not None
            numbers.append(sum(struct.unpack(f"={possible_cpus()}Q", value)))
        return Counts(*numbers)

    @contextmanager
    def counting(self, **expected: int) -> Iterator[None]:
        """During the block, the kernel counts just what is expected."""
        before = self.counts()
        yield
        after = self.counts()
        difference = {
            name: now - then
            for name, now, then in zip(Counts._fields, after, before, strict=True)
            if now > then
        }
        assert difference == expected, difference


@contextmanager
def reading_lookups() -> Iterator[Lookups]:
    """Load and attach the programs for the block."""
    with new_instance(ensure_bpffs()) as pins, ExitStack() as stack:
        loaded = load(our_bytecode(system_compiler()), PROGRAMS, stack)
        pin_maps(loaded, pins, PINNED_MAPS)
        attach(loaded, pins)
        yield Lookups(pins, stack)


def cookie_of(asking: socket.socket) -> int:
    """The kernel's id of a socket."""
    number: int = struct.unpack("=Q", asking.getsockopt(socket.SOL_SOCKET, SO_COOKIE, 8))[0]
    return number


def packed(address: str) -> bytes:
    """16 bytes, IPv4 as ::ffff:a.b.c.d."""
    if ":" in address:
        return socket.inet_pton(socket.AF_INET6, address)
    return bytes(10) + b"\xff\xff" + socket.inet_aton(address)
