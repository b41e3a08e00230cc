"""Records of the ring: valid ones become their events, whatever is around them; others are refused."""

from __future__ import annotations

from collections import defaultdict

from exporter import wire
from exporter.arguments import Arguments
from exporter.decode import WAITING_MAX, Decoder
from exporter.errors import RecordError
from exporter.events import Event, Execed, Flowed, Forked, ProcessKey
from tests.fuzz.draw import Draw
from tests.fuzz.drawn_events import EVENTS, drawn_event, process
from tests.unit import records

_SIZES = {
    wire.KIND_FORK: wire.FORK_RECORD.size,
    wire.KIND_EXIT: wire.EXIT_RECORD.size,
    wire.KIND_ACT: wire.ACT_RECORD.size,
    wire.KIND_FLOW: wire.FLOW_RECORD.size,
    wire.KIND_AGGREGATE: wire.AGGREGATE_RECORD.size,
    wire.KIND_TAMPER: wire.TAMPER_RECORD.size,
}
"""Of the kinds behind which nothing stands."""


def check(draw: Draw) -> None:
    """Half the inputs are what a kernel would send, half are not."""
    if draw.chance(0.5):
        _valid_records_become_their_events(draw)
    else:
        _others_are_refused(draw)


def _valid_records_become_their_events(draw: Draw) -> None:
    queues: list[list[bytes]] = []
    expected: dict[int, list[Event]] = defaultdict(list)
    for pid in range(1, 2 + draw.length(5)):
        queue: list[bytes] = []
        key = ProcessKey(pid, draw.unsigned(64))
        for _ in range(1 + draw.length(3)):
            event = drawn_event(draw, key)
            queue += _records(event)
            expected[0 if isinstance(event, Flowed) else pid].append(event)
        queues.append(queue)
    decoder = Decoder()
    got: dict[int, list[Event]] = defaultdict(list)
    while queues:
        queue = draw.choice(queues)
        for event in _decoded(draw, decoder, queue.pop(0)):
            got[0 if isinstance(event, Flowed) else event.process.pid].append(event)
        if not queue:
            queues.remove(queue)
    assert not list(decoder.flush()), "a complete argv waits"
    for pid, events in expected.items():
        if pid:
            assert [*map(_plain, got[pid])] == [*map(_plain, events)], (got[pid], events)
        else:
            assert sorted(map(repr, got[0])) == sorted(map(repr, events))


def _plain(event: Event) -> tuple[object, ...]:
    """Arguments as they came: comparing them would redact them first."""
    block = event.arguments._block if isinstance(event, Execed) else None
    return (type(event), block, *(field for field in event if not isinstance(field, Arguments)))


def _records(event: Event) -> list[bytes]:
    if isinstance(event, Execed):
        return _exec_records(event)
    return [EVENTS[type(event)].record(event)]


def _exec_records(event: Execed) -> list[bytes]:
    """As `records.execed`, but of a block of any bytes."""
    block = event.arguments._block
    first, *rest = records.pieces(block)
    path = records.path_block(event.path)
    head = records.header(wire.KIND_EXEC, event.process, event.exec_id, at_ns=event.at_ns)
    sizes = (len(block) + event.arguments_cut, len(first), len(path), 0)
    begin = records.record(wire.EXEC_RECORD, head, event.parent_pid, event.scope, *sizes, path) + first
    return [begin, *(records.piece(event, at + 1, part) for at, part in enumerate(rest))]


def _decoded(draw: Draw, decoder: Decoder, data: bytes) -> list[Event]:
    """Where it stands among others in a ring."""
    before = 8 * draw.length(3)
    ring = memoryview(bytes(before) + data + b"\xaa" * 16)
    return list(decoder.decode(ring, before, len(data)))


def _others_are_refused(draw: Draw) -> None:
    decoder = Decoder()
    number = 1 + draw.length(9)
    for _ in range(number):
        whole = _one_of_few_processes(draw)
        data, is_refused = _spoiled(draw, whole)
        try:
            events = _decoded(draw, decoder, data)
        except RecordError:
            continue
        assert not is_refused, (whole, data)
        assert len(events) <= 3
        for event in events:
            _is_sound(event)
    rest = list(decoder.flush())
    assert len(rest) <= min(number, WAITING_MAX)
    for event in rest:
        _is_sound(event)


def _one_of_few_processes(draw: Draw) -> bytes:
    """A record whose process others are about, too: what waits for it may meet it."""
    key = process(draw)
    if draw.chance(0.1):
        piece = draw.blob(40) if draw.chance(0.5) else bytes(wire.ARGUMENTS_PIECE)
        head = records.header(wire.KIND_ENVIRONMENT, key, draw.getrandbits(1))
        offset = draw.choice((0, 0, wire.ARGUMENTS_PIECE, draw.unsigned(32)))
        return records.record(wire.ENVIRONMENT_RECORD, head, draw.unsigned(32), offset, len(piece)) + piece
    event = drawn_event(draw, key)
    if isinstance(event, Forked):
        event = event._replace(creator=process(draw))
    return draw.choice(_records(event))


def _spoiled(draw: Draw, whole: bytes) -> tuple[bytes, bool]:
    """The record, changed somehow, and whether it must be refused."""
    way = draw.randrange(5)
    kind = wire.RECORD_HEADER.unpack_from(whole)[1]
    if way == 0 and kind != wire.KIND_ARGUMENTS:  # a piece of no exec is passed over, whatever it holds
        return whole[: draw.randrange(len(whole))], True
    if way == 1 and kind in _SIZES:
        return whole + draw.randbytes(1 + draw.length(40)), True
    if way == 2:
        return draw.mutated(whole), False
    if way == 3:  # a header that is right, and anything behind it
        head = records.header(draw.randrange(wire.KINDS + 1), process(draw), draw.getrandbits(2))
        return head + draw.blob(1300), False
    return draw.blob(200), False


def _is_sound(event: Event) -> None:
    assert type(event).__name__ in {"Execed", "Environment"} or type(event) in EVENTS
    if isinstance(event, Execed):
        assert event.path.encode().startswith((b"/", "…/".encode()))
        assert isinstance(event.arguments, Arguments)
        assert len(event.arguments._block) <= wire.ARGUMENTS_MAX
    for name in ("peer", "local", "resolver"):
        assert len(getattr(event, name, bytes(16))) == 16
    assert len(getattr(event, "message", b"")) <= 1 << 16
