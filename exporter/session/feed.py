"""Live tracing: take records from the kernel's rings, and hand their events to the pipeline."""

from __future__ import annotations

import select
import time
import traceback
from collections.abc import Callable, Container, Iterable, Iterator, Sized
from contextlib import suppress
from functools import partial
from typing import TYPE_CHECKING

from exporter.common.clock import Rhythm, boot_ns
from exporter.common.errors import RecordError
from exporter.common.text import counted
from exporter.events import wire
from exporter.events.decode import Decoder
from exporter.events.facts import Environment, Event, Found, ProcessKey, Tampered, Tampering
from exporter.pipeline.account import Bookkeeping, KernelCounts
from exporter.pipeline.procfs import all_pids, everyone

from .shared_messages import tell_fault

if TYPE_CHECKING:
    from exporter.kernel.tracer import Tracer

_BUSY_INTERVAL_S = 0.005
_IDLE_INTERVAL_S = 0.02
_BATCH = 8192
_BATCH_S = 0.1
"""The most seconds that a batch of records takes, and that reading environments before it takes.

Decoding a long command line takes a millisecond, and roots may come faster than they are decided. Nothing
else is done meanwhile.
"""
_PATIENCE_S = 0.002
"""How many seconds a root waits for its decision while other records are handled."""
_FORGET_S, _FORGET_MOST_S = 1.0, 0.05
_AT_EXIT = "on_exit"
"""The program that takes processes which end out of the kernel's table."""
_SETTLE_S = 0.5
_CLOSING_S = 0.5


class LiveSource:
    """A reader of the rings, by a timer: a wakeup for each record would cost a job more than its tracing."""

    def __init__(
        self,
        tracer: Tracer,
        handle: Callable[[Event], None],
        books: Bookkeeping,
        flows: Sized,
    ) -> None:
        """Hand each event to `handle`; attempts that get lost before that are entered in `books`.

        The length of `flows` is the number of open connections.
        """
        self._tracer = tracer
        self._handle = handle
        self._books = books
        self._flows = flows
        self._has_faults = False
        self._decide: Callable[[Environment], object] | None = None
        self._make_up: Callable[[], object] = lambda: None
        self._early = Decoder()
        """For environments before their turn; it gets all their pieces, as `_decoder` does later."""
        self._peeked_s = 0.0
        self._forgetting = Rhythm(_FORGET_S)
        self.is_behind = False
        """Whether records still wait that were there when the last batch was read."""
        self.failed_environments = 0
        """The number of environments that a fault kept from being handled."""
        self._decoder = Decoder()

    def pump(self) -> bool:
        """Handle one batch of records; returns whether there were any. The caller can do other work then."""
        self.decide()
        drained = self._tracer.drain(self._take, limit=_BATCH, most_s=_BATCH_S)
        self.is_behind = not drained.is_all
        for event in self._tracer.frames.turn():
            self._handle(event)
        return drained.number > 0

    def decide_first(self, decide: Callable[[Environment], object], make_up: Callable[[], object]) -> None:
        """Call `decide` from now on with environments of processes of no job, before their turn.

        So the job of a root is decided soon, however many records wait. `make_up` is called as often, to read
        environments whose records got lost.
        """
        self._decide, self._make_up = decide, make_up
        self._tracer.hand_environments(self._take_early)

    def take(self, data: memoryview, at: int, length: int) -> None:
        """Handle a record that doesn't come from the rings."""
        self._take(data, at, length)

    def catch_up(self) -> None:
        """Handle all records that wait now, but not all that come meanwhile: there may be no end of these."""
        is_done = self._tracer.caught_up()
        while self.pump() and not is_done():
            pass

    def finish(self) -> None:
        """Stop tracing, then handle the records that the kernel still holds."""
        self._await_ends()
        self._tracer.detach()
        self.catch_up()
        self._tracer.finish(self._take)
        # An eBPF program that was running when it was detached may still submit a record.
        self._pump_while(lambda: self._books.account().pending["ring"] > 0, _SETTLE_S)
        for event in self._decoder.flush():
            self._handle(event)

    def _await_ends(self) -> None:
        """Give open connections a moment to close, to learn how they ended."""
        self._pump_while(self._has_open, _CLOSING_S)

    def _pump_while(self, is_awaited: Callable[[], bool], most_s: float) -> None:
        """Pump while records come or `is_awaited`, for `most_s` at most: other processes may never pause."""
        deadline_s = time.monotonic() + most_s
        while (self.pump() or is_awaited()) and time.monotonic() < deadline_s:
            time.sleep(_BUSY_INTERVAL_S)

    def _has_open(self) -> bool:
        return bool(self._flows) or self._tracer.has_counted_open()

    def _take(self, data: memoryview, at: int, length: int) -> None:
        try:
            for event in self._decoder.decode(data, at, length):
                self._handle(event)
                if isinstance(event, Tampered) and event.what is Tampering.PACKET_SOCKET:
                    self._tracer.frames.alarm(event)
            if time.monotonic() - self._peeked_s > _PATIENCE_S:
                self.decide()
        except RecordError:
            self._fail("ring", "malformed", _attempts(data, at, length))
        except Exception:  # noqa: BLE001 - nothing that one process does may end the tracing of the others
            self.failed_environments += _kind(data, at, length) == wire.KIND_ENVIRONMENT
            self._fail("process", "internal", _attempts(data, at, length))

    def decide(self) -> None:
        """Decide the jobs of the roots that wait. Call it between steps that take long."""
        if self._decide is not None:
            self._tracer.take_environments(most_s=_BATCH_S)
            self._survive(self._make_up)
            self._peeked_s = time.monotonic()

    def _take_early(self, data: memoryview, at: int, length: int) -> None:
        self._survive(partial(self._decide_early, data, at, length))  # else the record's turn wouldn't come

    def _decide_early(self, data: memoryview, at: int, length: int) -> None:
        with suppress(RecordError):  # it is counted when the record's turn comes
            for event in self._early.decode(data, at, length):
                if isinstance(event, Environment) and self._decide is not None:
                    self._survive(partial(self._decide, event))

    def forget_ended(self) -> None:
        """Take processes out of the kernel's table whose exits its programs missed: else they fill it."""
        if self._forgetting.is_time() and _AT_EXIT in self._tracer.misses():
            self._tracer.processes.forget_ended(all_pids(), _FORGET_MOST_S)

    def hand(self, event: Event) -> None:
        """Handle an event that wasn't made of a record."""
        self._survive(partial(self._handle, event))

    def _survive(self, act: Callable[[], object]) -> None:
        """Call `act`, and go on if it fails: one process may not end the tracing of the others."""
        try:
            act()
        except Exception:  # noqa: BLE001 - as above
            self._fail("process", "internal", 0)

    def _fail(self, stage: str, error_type: str, attempts: int) -> None:
        """Enter lost attempts in the books, and report the first fault, whatever record it came from."""
        if attempts:
            self._books.drop(stage, error_type, attempts)
        if not self._has_faults:
            self._has_faults = True
            tell_fault(traceback.format_exc())


_KIND_AT = wire.OFFSETS["aggregate_record"][1]["header.kind"]
_LOSABLE = {
    wire.KIND_FORK: "fork",
    wire.KIND_EXEC: "exec",
    wire.KIND_EXIT: "exit",
    wire.KIND_FLOW: "connect outcome",
    wire.KIND_BYTES: "byte count",
    wire.KIND_ENVIRONMENT: "environment",
    wire.KIND_TAMPER: "tampering record",
    wire.KIND_DNS: "DNS message",
    wire.KIND_ARGUMENTS: "command-line piece",
}
"""Kinds of records that get lost when the ring has no room, with their names in messages. Acts don't: the
kernel counts them instead."""


def _kind(data: memoryview, at: int, length: int) -> int:
    return data[at + _KIND_AT] if length > _KIND_AT else 0


def _attempts(data: memoryview, at: int, length: int) -> int:
    """Return the number of attempts that a record reports."""
    kind = _kind(data, at, length)
    if kind == wire.KIND_ACT:
        return 1
    if kind == wire.KIND_AGGREGATE and length == wire.AGGREGATE_RECORD.size:
        return wire.AggregateRecord._make(wire.AGGREGATE_RECORD.unpack_from(data, at)).attempts
    return 0


def losses(tracer: Tracer) -> list[str]:
    """Return a line about each kind of loss besides attempts; lost attempts are in the account."""
    return [*lost_records(tracer), *left_out(tracer)]


def left_out(tracer: Tracer) -> list[str]:
    """Return a line about each program that the kernel left out, as it had preempted the program."""
    return [
        f"the kernel left out {name} {counted(times, 'time')}, as it was already running on that CPU"
        for name, times in tracer.misses().items()
    ]


def lost_records(tracer: Tracer) -> list[str]:
    """Return a line about each kind of record that was lost, and of what else found no room."""
    counts = tracer.counts()
    why = "the ring was full, or the kernel left out a program" if tracer.misses() else "the ring was full"
    lines = []
    for kind, what in _LOSABLE.items():
        if lost := counts.lost(kind):
            were = "was" if lost == 1 else "were"
            lines.append(f"{counted(lost, what)} of {counts.seen(kind)} {were} lost: {why}")
    if counts.unmetered():
        found = counted(counts.unmetered(), "act or datagram", "acts or datagrams")
        lines.append(f"bytes of {found} aren't counted: there was no room")
    if counts.ungranted():
        addresses = counted(counts.ungranted(), "address", "addresses")
        lines.append(f"{addresses} of names that the policy has found no room, and may be denied")
    if counts.untracked():
        lines.append(
            f"{counted(counts.untracked(), 'process', 'processes')} found the table of processes full: "
            "little more than the job is known of what was done"
        )
    return [*lines, *tracer.left.lines()]


def kernel_counts(tracer: Tracer) -> KernelCounts:
    """Return the kernel's counts of attempts, without those that an earlier exporter settled or lost."""
    counts, before = tracer.counts(), tracer.before
    attempts = counts.seen(wire.KIND_ACT) - before.settled - before.lost
    return KernelCounts(attempts, counts.lost(wire.KIND_ACT) - before.lost)


def find_everyone(
    tracer: Tracer,
    *,
    besides: Container[int],
    standing: Callable[[ProcessKey, int], Iterable[int]] = lambda *_: (),
) -> Iterator[Found]:
    """Follow and yield the processes that run already; the kernel's programs follow their new children.

    `besides` are pids to leave out, ci-egress's own among them: its export would be traced, and exported.
    `standing` returns, for a process and its parent's pid, the arguments that `FollowedProcesses.find` takes
    besides the process.
    """
    for process, parent_pid in everyone():
        if process.pid not in besides:
            tracer.processes.find(process, *standing(process, parent_pid))
            yield Found(boot_ns(), process, parent_pid)


def wait(source: LiveSource, pidfd: int, between: Callable[[], None]) -> int:
    """Pump until the process behind `pidfd` ends, and return when it ended, in nanoseconds since boot.

    `between` is called every 20 ms or sooner.
    """
    ended = select.poll()
    ended.register(pidfd, select.POLLIN)
    interval_s = _IDLE_INTERVAL_S
    while not ended.poll(interval_s * 1000):
        interval_s = _BUSY_INTERVAL_S if source.pump() else _IDLE_INTERVAL_S
        between()
    return boot_ns()
