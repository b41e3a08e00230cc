"""What is taken from the ring while COMMAND runs, and what of it is counted when it can't be read."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Callable, Collection, Iterable, Sized
from contextlib import closing
from types import SimpleNamespace
from typing import TYPE_CHECKING, cast

import pytest

from exporter.common.clock import boot_ns
from exporter.events import wire
from exporter.events.arguments import arguments_of
from exporter.events.decode import Decoder
from exporter.events.facts import Environment, Event, Execed, Tampered, Tampering
from exporter.kernel.dropped_connections import NotAborted
from exporter.kernel.maps.inheritance import Inherited
from exporter.kernel.maps.rings import Drained, Ring, drain
from exporter.kernel.tracer import Counts
from exporter.otlp.ledger import LedgerTotals
from exporter.pipeline.account import Bookkeeping, KernelCounts
from exporter.session.feed import LiveSource, kernel_counts, losses, wait
from tests.unit import records
from tests.unit.kernel.maps.ring_memory import PAGE, Producer
from tests.unit.records import ACT, AGGREGATE, EXEC, EXIT, TAMPER, environment_pieces

if TYPE_CHECKING:
    from exporter.kernel.maps.rings import Handler
    from exporter.kernel.tracer import Tracer

LONG = EXEC._replace(arguments=arguments_of(["sh", "-c", "x" * 9000]))


class NoFrames:
    """Nothing is enforced."""

    def __init__(self) -> None:
        self.alarms: list[Tampered] = []

    def turn(self) -> list[Tampered]:
        return []

    def alarm(self, event: Tampered) -> None:
        self.alarms.append(event)


class FakeTracer:
    """A kernel side that hands over batches, and counts as told."""

    def __init__(self, *batches: list[bytes], counts: dict[tuple[int, int], int] | None = None) -> None:
        self.batches = list(batches)
        self.counted: list[bytes] = []
        self.is_detached = False
        self.frames = NoFrames()
        self.before = Inherited()
        self.left = NotAborted()
        self.missed: dict[str, int] = {}
        self.looked_for: list[Collection[int]] = []
        self.processes = SimpleNamespace(forget_ended=lambda pids, _: self.looked_for.append(pids))
        self._counts = counts or {}
        self._drained = 0

    def drain(self, handle: Handler, *, limit: int, most_s: float) -> Drained:
        batch = self.batches.pop(0) if self.batches else []
        self._drained += 1
        assert len(batch) <= limit
        for one in batch:
            handle(memoryview(one), 0, len(one))
        return Drained(len(batch), is_all=len(batch) < limit and most_s > 0)

    def caught_up(self) -> Callable[[], bool]:
        left = len(self.batches)
        return lambda: not self.batches or self._drained >= left

    def finish(self, handle: Handler) -> None:
        assert self.is_detached
        for one in self.counted:
            handle(memoryview(one), 0, len(one))

    def has_counted_open(self) -> bool:
        return False

    def detach(self) -> None:
        self.is_detached = True

    def misses(self) -> dict[str, int]:
        return self.missed

    def counts(self) -> Counts:
        return Counts(lambda kind, what: self._counts.get((kind, what), 0))


class EnvironmentsAlone(FakeTracer):
    """A kernel side with a ring of environments; a program submits one more piece just before each drain."""

    def __init__(self, pieces: list[bytes]) -> None:
        super().__init__()
        size = 16 * PAGE
        self.producer, self._pieces = Producer(size), pieces
        self.ring = Ring(self.producer.descriptor, size)

    def close(self) -> None:
        self.ring.close()
        self.producer.close()

    def submit(self, number: int) -> None:
        for piece in self._pieces[:number]:
            self.producer.submit_whole(piece)
        del self._pieces[:number]

    def hand_environments(self, handle: Handler) -> None:
        self.ring.hand_early(handle)

    def take_environments(self, *, most_s: float) -> None:
        self.ring.take_early(most_s=most_s)

    def drain(self, handle: Handler, *, limit: int, most_s: float) -> Drained:
        self.submit(1)
        return drain([self.ring], handle, limit=limit, most_s=most_s)


class Live:
    """A source over a fake kernel side, with what came of it."""

    def __init__(self, *batches: list[bytes], attempts: int = 0, flows: Sized = ()) -> None:
        self.tracer = FakeTracer(*batches)
        self.events: list[Event] = []
        self.books = Bookkeeping(lambda: KernelCounts(attempts, 0), LedgerTotals, lambda: 0, LedgerTotals)
        self.handle = self.events.append
        self._flows = flows
        self.source = self.source_of(self.tracer)

    def source_of(self, tracer: FakeTracer) -> LiveSource:
        books, flows = self.books, self._flows
        return LiveSource(cast("Tracer", tracer), self._take, books, flows)

    def _take(self, event: Event) -> None:
        self.handle(event)


def test_a_pump_takes_a_batch_and_says_whether_there_was_one() -> None:
    live = Live([records.acted(ACT), records.exited(EXIT)])
    assert live.source.pump()
    assert live.events == [ACT, EXIT]
    assert not live.source.pump()


@pytest.mark.parametrize("before", range(6))
@pytest.mark.parametrize("between", range(6))
def test_an_environment_is_decided_by_all_its_pieces_whenever_they_come(before: int, between: int) -> None:
    """Some come between the early reading and that in turn: a decision without them would let a step go."""
    whole = b"A=" + b"x" * (5 * wire.ARGUMENTS_PIECE) + b"\0CI=true\0"
    live, decided = Live(), list[Environment]()
    with closing(EnvironmentsAlone(environment_pieces(whole))) as tracer:
        source = live.source_of(tracer)
        source.decide_first(decided.append, lambda: None)
        for number in (before, between, 6):
            tracer.submit(number)
            source.pump()
    assert [(event.block, event.is_cut) for event in decided] == [(whole, False)]
    assert live.events == decided


def test_a_fault_of_early_reading_costs_no_turn(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    live, decode, faults = Live(), Decoder.decode, ["a fault"]

    def faulty(decoder: Decoder, data: memoryview, at: int, length: int) -> Iterable[Event]:
        if faults:
            raise LookupError(faults.pop())
        return decode(decoder, data, at, length)

    monkeypatch.setattr(Decoder, "decode", faulty)
    with closing(EnvironmentsAlone(environment_pieces(b"CI=true\0"))) as tracer:
        source = live.source_of(tracer)
        source.decide_first(lambda _: pytest.fail("it wasn't read early"), lambda: None)
        source.pump()
    assert [event.block for event in live.events if isinstance(event, Environment)] == [b"CI=true\0"]
    assert_told_of("LookupError: a fault", capsys)


def test_a_packet_socket_is_an_alarm_and_other_tampering_is_none() -> None:
    made = TAMPER._replace(what=Tampering.PACKET_SOCKET)
    live = Live([records.tampered(TAMPER), records.tampered(made)])
    live.source.pump()
    assert live.events == [TAMPER, made]
    assert live.tracer.frames.alarms == [made]


def test_an_attempt_that_cannot_be_read_is_counted_as_dropped_and_the_next_is_read() -> None:
    bad = bytearray(records.acted(ACT))
    bad[0] ^= 1
    live = Live([bytes(bad), records.exited(EXIT)[:20], records.acted(ACT)], attempts=2)
    live.source.pump()
    assert live.events == [ACT]
    assert live.books.account().dropped == {("ring", "malformed"): 1}


def test_at_the_end_it_takes_what_is_left_and_what_was_only_counted_last() -> None:
    live = Live([records.acted(ACT)], [records.exited(EXIT)])
    live.tracer.counted = [records.aggregated(AGGREGATE)]
    live.source.finish()
    assert live.events == [ACT, EXIT, AGGREGATE]


class BusyTracer(FakeTracer):
    """A machine on which there is always more by the time that a batch is taken in."""

    def drain(self, handle: Handler, *, limit: int, most_s: float) -> Drained:
        self.batches.append([records.exited(EXIT)])
        return super().drain(handle, limit=limit, most_s=most_s)


def test_catching_up_and_the_end_come_to_an_end_where_the_machine_does_not_pause() -> None:
    live = Live()
    live.tracer = BusyTracer([records.acted(ACT)], [records.acted(ACT)])
    live.source = live.source_of(live.tracer)
    live.source.catch_up()
    assert live.events == [ACT, ACT]
    live.source.finish()
    assert live.events[-1] == EXIT


def test_at_the_end_it_waits_for_open_connections_but_not_for_ever() -> None:
    live = Live(flows=[ACT])
    before = boot_ns()
    live.source.finish()
    assert live.tracer.is_detached
    assert 0.1e9 < boot_ns() - before < 60e9


def test_a_fault_costs_all_that_was_counted_together() -> None:
    live = Live([records.aggregated(AGGREGATE)], attempts=AGGREGATE.attempts)

    def faulty(_: Event) -> None:
        raise LookupError("a fault")

    live.handle = faulty
    live.source.pump()
    assert live.books.account().dropped == {("process", "internal"): AGGREGATE.attempts}


def test_at_the_end_an_exec_without_its_last_pieces_comes_too() -> None:
    live = Live([records.execed(LONG)[0]])
    live.source.finish()
    (event,) = live.events
    assert isinstance(event, Execed)
    assert event.arguments_cut


def test_it_waits_a_moment_for_an_attempt_that_is_on_its_way() -> None:
    live = Live([], [], [records.acted(ACT)], attempts=1)
    live.source.finish()
    assert live.events == [ACT]


def test_a_loss_of_processes_is_said_in_numbers() -> None:
    counts = {
        (wire.KIND_FORK, wire.COUNT_SEEN): 10,
        (wire.KIND_FORK, wire.COUNT_LOST): 3,
        (wire.KIND_FORK, wire.COUNT_UNTRACKED): 2,
        (wire.KIND_EXIT, wire.COUNT_SEEN): 9,
        (wire.KIND_EXIT, wire.COUNT_LOST): 1,
        (wire.KIND_ACT, wire.COUNT_SEEN): 7,
        (wire.KIND_ACT, wire.COUNT_LOST): 4,
        (wire.KIND_DNS, wire.COUNT_SEEN): 20,
        (wire.KIND_DNS, wire.COUNT_LOST): 5,
        (wire.KIND_ARGUMENTS, wire.COUNT_SEEN): 8,
        (wire.KIND_ARGUMENTS, wire.COUNT_LOST): 1,
    }
    tracer = cast("Tracer", FakeTracer(counts=counts))
    assert losses(tracer) == [
        "3 forks of 10 were lost: the ring was full",
        "1 exit of 9 was lost: the ring was full",
        "5 DNS messages of 20 were lost: the ring was full",
        "1 command-line piece of 8 was lost: the ring was full",
        "2 processes found the table of processes full: little more than the job is known of what was done",
    ]
    assert kernel_counts(tracer) == KernelCounts(attempts=7, lost=4)
    assert losses(cast("Tracer", FakeTracer())) == []


def test_programs_that_the_kernel_left_out_are_told_and_may_be_why_records_are_missing() -> None:
    tracer = FakeTracer(counts={(wire.KIND_EXEC, wire.COUNT_SEEN): 9, (wire.KIND_EXEC, wire.COUNT_LOST): 1})
    tracer.missed = {"on_exec": 1, "on_exit": 2}
    assert losses(cast("Tracer", tracer)) == [
        "1 exec of 9 was lost: the ring was full, or the kernel left out a program",
        "the kernel left out on_exec 1 time, as it was already running on that CPU",
        "the kernel left out on_exit 2 times, as it was already running on that CPU",
    ]


@pytest.mark.parametrize(("missed", "looks"), [({"on_exec": 1}, 0), ({"on_exit": 1}, 1)])
def test_once_an_exit_was_missed_processes_that_are_gone_are_looked_for(
    missed: dict[str, int], looks: int
) -> None:
    live = Live()
    live.tracer.missed = missed
    live.source.forget_ended()
    live.source.forget_ended()  # within a second
    assert [os.getpid() in pids for pids in live.tracer.looked_for] == [True] * looks


def test_connections_that_may_send_what_was_dropped_are_said_in_numbers() -> None:
    tracer = FakeTracer()
    tracer.left = NotAborted(connections=1, networks=2, packets=3)
    assert losses(cast("Tracer", tracer)) == [
        "1 connection couldn't be aborted: from now on it may send what the policy dropped",
        "2 networks couldn't be looked into: connections there may send what the policy dropped",
        "3 dropped packets may be sent from now on: there was no room to note the connection",
    ]


def test_it_pumps_until_the_process_ends_and_says_when_that_was() -> None:
    live = Live(*[[records.acted(ACT)] for _ in range(3)])
    looked_around: list[int] = []
    with subprocess.Popen(["cat"], stdin=subprocess.PIPE) as child:

        def look_around() -> None:
            looked_around.append(boot_ns())
            if len(looked_around) == 4 and child.stdin:
                child.stdin.close()

        pidfd = os.pidfd_open(child.pid)
        ended = wait(live.source, pidfd, look_around)
        os.close(pidfd)
    assert live.events == [ACT] * 3
    assert looked_around[3] < ended <= boot_ns()


def test_a_fault_costs_its_own_event_and_is_told_once(capsys: pytest.CaptureFixture[str]) -> None:
    live = Live(
        [records.acted(ACT), records.exited(EXIT), records.acted(ACT), records.acted(ACT)], attempts=3
    )
    seen: list[Event] = []

    def faulty(event: Event) -> None:
        seen.append(event)
        if len(seen) < 3:
            raise LookupError("a fault")

    live.handle = faulty
    assert live.source.pump()
    assert seen == [ACT, EXIT, ACT, ACT]
    assert live.books.account().dropped == {("process", "internal"): 1}
    assert_told_of("LookupError: a fault", capsys)


def test_a_record_that_is_none_is_told_also_when_no_attempt_is_lost_with_it(
    capsys: pytest.CaptureFixture[str],
) -> None:
    live = Live([records.exited(EXIT)[:-8], records.acted(ACT)], attempts=1)
    assert live.source.pump()
    assert live.events == [ACT]
    assert live.books.account().dropped == {}
    assert_told_of("truncated", capsys)


def test_environments_that_nothing_came_of_are_counted(capsys: pytest.CaptureFixture[str]) -> None:
    def fail(_: Event) -> None:
        raise RuntimeError("can't start new thread")

    block = b"GITLAB_CI=true\0"
    head = records.header(wire.KIND_ENVIRONMENT, EXIT.process, 1)
    environment = records.record(wire.ENVIRONMENT_RECORD, head, len(block), 0, len(block), 0, 0, 0, 0) + block
    live = Live([environment, records.exited(EXIT)])
    live.handle = fail
    live.source.pump()
    assert live.source.failed_environments == 1
    assert_told_of("RuntimeError: can't start new thread", capsys)


def assert_told_of(fault: str, capsys: pytest.CaptureFixture[str]) -> None:
    """Of the first fault, with its traceback, and of no other."""
    told = capsys.readouterr().err
    assert told.count("a fault of ci-egress") == 1
    assert fault in told
