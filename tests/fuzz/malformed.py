"""Records of the ring that no kernel sends: refused, or events of the right form, and few of them."""

from __future__ import annotations

from exporter.common.errors import RecordError
from exporter.events import wire
from exporter.events.arguments import Arguments
from exporter.events.decode import WAITING_MAX, Decoder
from exporter.events.facts import Event, Execed, Forked
from tests.fuzz.draw import Draw
from tests.fuzz.drawn_events import EVENTS, drawn_event, process
from tests.fuzz.ring_records import decoded, records_of
from tests.unit import records

_SIZES = {
    wire.KIND_FORK: wire.FORK_RECORD.size,
    wire.KIND_EXIT: wire.EXIT_RECORD.size,
    wire.KIND_ACT: wire.ACT_RECORD.size,
    wire.KIND_FLOW: wire.FLOW_RECORD.size,
    wire.KIND_BYTES: wire.BYTES_RECORD.size,
    wire.KIND_AGGREGATE: wire.AGGREGATE_RECORD.size,
    wire.KIND_TAMPER: wire.TAMPER_RECORD.size,
}
"""Of the kinds behind which nothing stands, but for the name of an act's Unix socket."""


def check(draw: Draw) -> None:
    """Changed records, right headers before anything, and any bytes, of few processes."""
    decoder = Decoder()
    number = 1 + draw.length(9)
    for _ in range(number):
        whole = _one_of_few_processes(draw)
        data, is_refused = _spoiled(draw, whole)
        try:
            events = decoded(draw, decoder, data)
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
        rest = (draw.unsigned(32), offset, len(piece), draw.unsigned(8), draw.unsigned(8), 0, 0)
        return records.record(wire.ENVIRONMENT_RECORD, head, *rest) + piece
    event = drawn_event(draw, key)
    if isinstance(event, Forked):
        event = event._replace(creator=process(draw))
    return draw.choice(records_of(event))


def _spoiled(draw: Draw, whole: bytes) -> tuple[bytes, bool]:
    """The record, changed somehow, and whether it must be refused."""
    way = draw.randrange(5)
    kind = wire.RECORD_HEADER.unpack_from(whole)[1]
    if way == 0 and kind != wire.KIND_ARGUMENTS:  # a piece of no exec is passed over, whatever it holds
        return whole[: draw.randrange(len(whole))], True
    if way == 1 and len(whole) == _SIZES.get(kind):
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
