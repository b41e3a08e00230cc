"""Records of the ring, as a kernel sends them: each becomes its event, cut only where a piece was lost."""

from __future__ import annotations

from collections import defaultdict
from typing import NamedTuple

from exporter.events.decode import Decoder
from exporter.events.facts import Event, Execed, ProcessKey
from tests.fuzz.draw import Draw
from tests.fuzz.drawn_events import drawn_answer, drawn_event
from tests.fuzz.ring_records import decoded, records_of


class _Sent(NamedTuple):
    record: bytes
    event: Event | None
    """Whose first record it is; None for a further piece."""
    is_whole: bool = True
    """Whether no piece of it was lost."""


def check(draw: Draw) -> None:
    """Of several processes at once, some pieces lost."""
    queues = {pid: _history(draw, pid) for pid in range(1, 2 + draw.length(5))}
    expected = {pid: [sent for sent in queue if sent.event] for pid, queue in queues.items()}
    decoder = Decoder()
    got: dict[int, list[Event]] = defaultdict(list)
    while queues:
        pid = draw.choice([*queues])
        got[pid] += decoded(draw, decoder, queues[pid].pop(0).record)
        if not queues[pid]:
            del queues[pid]
    for late in decoder.flush():
        assert isinstance(late, Execed)
        got[late.process.pid].append(late)
    for pid, sent in expected.items():
        assert len(got[pid]) == len(sent)
        told = sorted(got[pid], key=_kind)  # an answer may come before the end of an exec
        for event, one in zip(told, sorted(sent, key=lambda each: _kind(each.event)), strict=True):
            _is_what_was_sent(event, one)


def _history(draw: Draw, pid: int) -> list[_Sent]:
    key = ProcessKey(pid, draw.unsigned(64))
    history: list[_Sent] = []
    for _ in range(1 + draw.length(3)):
        event = drawn_event(draw, key)
        first, *pieces = records_of(event)
        kept = [piece for piece in pieces if draw.chance(0.5)] if draw.chance(0.3) else pieces
        history.append(_Sent(first, event, kept == pieces))
        if pieces and draw.chance(0.5):
            answer = drawn_answer(draw, key)
            history.append(_Sent(records_of(answer)[0], answer))
        history += [_Sent(piece, None) for piece in kept]
    return history


def _kind(event: Event | None) -> str:
    return type(event).__name__


def _is_what_was_sent(event: Event, sent: _Sent) -> None:
    if not isinstance(event, Execed) or not isinstance(sent.event, Execed):
        assert event == sent.event
        return
    here, whole = event.arguments._block, sent.event.arguments._block
    assert here == whole if sent.is_whole else whole.startswith(here)
    assert event.arguments_cut == (sent.event.arguments_cut or here != whole)
    is_cut = event.arguments_cut
    assert event == sent.event._replace(arguments=event.arguments, arguments_cut=is_cut)
