"""Records of the ring as the kernel writes them, and what a decoder makes of them."""

from __future__ import annotations

from exporter.events import wire
from exporter.events.decode import Decoder
from exporter.events.facts import Event, Execed
from tests.fuzz.draw import Draw
from tests.fuzz.drawn_events import EVENTS
from tests.unit import records


def records_of(event: Event) -> list[bytes]:
    """As the kernel writes it."""
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
    fixed = (event.parent_pid, event.scope, *sizes, path, event.cgroup.encode())
    begin = records.record(wire.EXEC_RECORD, head, *fixed) + first
    return [begin, *(records.piece(event, at + 1, part) for at, part in enumerate(rest))]


def decoded(draw: Draw, decoder: Decoder, data: bytes) -> list[Event]:
    """What comes of a record that stands among others in a ring."""
    before = 8 * draw.length(3)
    ring = memoryview(bytes(before) + data + b"\xaa" * 16)
    return list(decoder.decode(ring, before, len(data)))
