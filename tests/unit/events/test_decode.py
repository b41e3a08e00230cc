"""From the ring's bytes to events, and what isn't a record is refused."""

from __future__ import annotations

import pytest
from hypothesis import given

from exporter.common.errors import RecordError
from exporter.events import wire
from exporter.events.arguments import arguments_of, split
from exporter.events.decode import WAITING_MAX, Decoder
from exporter.events.facts import Act, Event, Execed, Outcome, ProcessKey
from tests.fuzz import malformed
from tests.fuzz.draw import Draw
from tests.fuzz.strategies import draws
from tests.unit import records
from tests.unit.records import (
    ACT,
    AGGREGATE,
    ANSWER,
    ASK,
    BASH,
    CURL,
    DENIED_TAMPER,
    ENDED,
    ESTABLISHED,
    EXEC,
    EXIT,
    FORK,
    SOCKET_ACT,
    TAMPER,
)

LONG = EXEC._replace(arguments=arguments_of(["node", *(f"{number:03}" * 333 for number in range(12))]))
OVERLONG = EXEC._replace(arguments=arguments_of(["sh", "-c", "x" * 40_000]))
KINDS = {
    "fork": records.forked(FORK),
    "exec": records.execed(EXEC)[0],
    "exit": records.exited(EXIT),
    "act": records.acted(ACT),
    "act on a socket": records.acted(SOCKET_ACT),
    "dns": records.looked_up(ANSWER),
    "flow": records.flowed(ENDED),
    "aggregate": records.aggregated(AGGREGATE),
    "tamper": records.tampered(TAMPER),
    "arguments": records.execed(LONG)[1],
}


REFUSED = AGGREGATE._replace(act=Act.CONNECT, outcome=Outcome.REFUSED, protocol=6)


def decode(decoder: Decoder, *data: bytes) -> list[Event]:
    """What `decoder` makes of records that stand somewhere in a ring, one behind the other."""
    events: list[Event] = []
    for one in data:
        surrounded = b"\xaa" * 8 + one + b"\xaa" * 8
        events += decoder.decode(memoryview(surrounded), 8, len(one))
    return events


@pytest.mark.parametrize(
    ("data", "event"),
    [
        (records.forked(FORK), FORK),
        (records.execed(EXEC)[0], EXEC),
        (records.exited(EXIT), EXIT),
        (records.acted(ACT), ACT),
        (records.acted(SOCKET_ACT), SOCKET_ACT),
        (records.acted(SOCKET_ACT) + bytes(96), SOCKET_ACT),
        (records.looked_up(ASK), ASK),
        (records.looked_up(ANSWER), ANSWER),
        (records.flowed(ESTABLISHED), ESTABLISHED),
        (records.flowed(ENDED), ENDED),
        (records.aggregated(AGGREGATE), AGGREGATE),
        (records.aggregated(REFUSED), REFUSED),
        (records.tampered(TAMPER), TAMPER),
        (records.tampered(DENIED_TAMPER), DENIED_TAMPER),
    ],
)
def test_a_record_becomes_its_event(data: bytes, event: Event) -> None:
    assert decode(Decoder(), data) == [event]


@pytest.mark.parametrize("number", [0, 11, 65535])
def test_an_unknown_tampering_is_refused(number: int) -> None:
    *members, _, is_denied, target = wire.TAMPER_RECORD.unpack(records.tampered(TAMPER))
    with pytest.raises(RecordError, match=f"unknown tampering {number}"):
        decode(Decoder(), wire.TAMPER_RECORD.pack(*members, number, is_denied, target))


@pytest.mark.parametrize("data", KINDS.values(), ids=KINDS.keys())
def test_a_record_truncated_at_any_length_is_refused(data: bytes) -> None:
    whole = len(data)
    for length in range(whole):
        decoder = Decoder()
        decode(decoder, *records.execed(LONG)[:1])  # so that a piece has something to belong to
        with pytest.raises(RecordError, match="record of"):
            list(decoder.decode(data[:length], 0, length))
        with pytest.raises(RecordError, match="truncated"):
            list(Decoder().decode(data[:length], 0, whole))  # a length beyond the memory


@pytest.mark.parametrize("name", ["fork", "exit", "act", "flow", "aggregate", "tamper"])
def test_a_record_longer_than_its_kind_is_refused(name: str) -> None:
    data = KINDS[name]
    with pytest.raises(RecordError, match=f"of {len(data) + 8} bytes is longer than its {len(data)}"):
        decode(Decoder(), data + bytes(8))


def test_a_record_of_another_layout_is_refused_and_says_which() -> None:
    data = records.header(wire.KIND_EXIT, CURL, layout=wire.LAYOUT ^ 1) + bytes(8)
    with pytest.raises(RecordError, match=f"{wire.LAYOUT ^ 1:#010x}.*{wire.LAYOUT:#010x}"):
        decode(Decoder(), data)


@pytest.mark.parametrize("kind", [0, wire.KINDS, 0xFFFF])
def test_an_unknown_kind_is_refused(kind: int) -> None:
    with pytest.raises(RecordError, match=f"unknown kind {kind}"):
        decode(Decoder(), records.header(kind, CURL) + bytes(2000))


@pytest.mark.parametrize("act", [0, 4, 0xFFFF])
def test_an_unknown_act_is_refused(act: int) -> None:
    data = bytearray(records.acted(ACT))
    offset = wire.OFFSETS["act_record"][1]["act"]
    data[offset : offset + 2] = act.to_bytes(2, "little")
    with pytest.raises(RecordError, match=f"unknown act {act}"):
        decode(Decoder(), bytes(data))


@pytest.mark.parametrize(("member", "value"), [("outcome", 0), ("outcome", 8), ("stage", 0), ("stage", 5)])
def test_a_flow_of_an_unknown_outcome_or_stage_is_refused(member: str, value: int) -> None:
    data = bytearray(records.flowed(ENDED))
    data[wire.OFFSETS["flow_record"][1][member]] = value
    with pytest.raises(RecordError, match="unknown outcome"):
        decode(Decoder(), bytes(data))


@pytest.mark.parametrize("stage", [0, 3, 0xFF])
def test_an_unknown_stage_is_refused(stage: int) -> None:
    with pytest.raises(RecordError, match=f"unknown stage {stage}"):
        decode(Decoder(), records.looked_up(ASK, stage=stage))


def test_an_answer_that_comes_during_an_exec_does_not_cut_its_argv() -> None:
    begin, middle, last = records.execed(LONG)
    assert decode(Decoder(), begin, middle, records.looked_up(ANSWER), last) == [ANSWER, LONG]


@pytest.mark.parametrize(
    ("member", "size"),
    [("arguments_here", 34), ("arguments_here", 0xFFFFFFFF), ("path_here", 1025), ("path_here", 0xFFFFFFFF)],
)
def test_an_exec_that_claims_more_than_it_brings_is_refused(member: str, size: int) -> None:
    data = bytearray(records.execed(EXEC)[0])
    offset = wire.OFFSETS["exec_record"][1][member]
    data[offset : offset + 4] = size.to_bytes(4, "little")
    with pytest.raises(RecordError, match="claims"):
        decode(Decoder(), bytes(data))


def test_a_claimed_argv_of_4_gb_takes_no_memory_and_is_marked_cut() -> None:
    (event,) = decode(Decoder(), *records.execed(EXEC, size=0xFFFFFFFF))
    assert event == EXEC._replace(arguments_cut=True)


def test_a_long_argv_comes_whole_with_its_last_piece() -> None:
    data = records.execed(LONG)
    assert len(data) == 3
    decoder = Decoder()
    assert decode(decoder, *data[:-1]) == []
    assert decode(decoder, data[-1]) == [LONG]
    assert list(decoder.flush()) == []


def test_an_argv_beyond_the_limit_is_cut_there_and_marked() -> None:
    block = records.arguments_block(OVERLONG.arguments)
    (event,) = decode(Decoder(), *records.execed(OVERLONG, size=len(block)))
    assert isinstance(event, Execed)
    assert event.arguments_cut
    assert len(records.arguments_block(event.arguments)) == wire.ARGUMENTS_MAX + 1  # its last NUL was cut off


def test_without_its_last_piece_an_exec_comes_before_what_its_process_does_next() -> None:
    data = records.execed(LONG)
    decoder = Decoder()
    first, second = decode(decoder, *data[:-1], records.acted(ACT))
    assert isinstance(first, Execed)
    assert first.arguments_cut
    assert records.arguments_block(LONG.arguments).startswith(records.arguments_block(first.arguments)[:-1])
    assert second == ACT


def test_a_piece_lost_in_the_middle_ends_the_argv_there() -> None:
    begin, _, last = records.execed(LONG)
    decoder = Decoder()
    (event,) = decode(decoder, begin, last)
    assert isinstance(event, Execed)
    assert event.arguments_cut
    assert len(records.arguments_block(event.arguments)) == wire.ARGUMENTS_PIECE + 1
    assert decode(decoder, last) == []


def test_an_exec_comes_before_the_fork_of_its_process_though_pieces_were_lost() -> None:
    child = ProcessKey(200, 8_000_000)
    fork = FORK._replace(process=child, creator=CURL)
    events = decode(Decoder(), records.execed(LONG)[0], records.forked(fork))
    assert [type(event).__name__ for event in events] == ["Execed", "Forked"]


def test_the_pieces_of_two_processes_may_interleave() -> None:
    other = LONG._replace(process=BASH, arguments=arguments_of(["make", "y" * 9000]))
    mine, theirs = records.execed(LONG), records.execed(other)
    mixed = [record for pair in zip(mine, theirs, strict=True) for record in pair]
    assert decode(Decoder(), *mixed) == [LONG, other]


def test_pieces_whose_exec_was_lost_are_passed_over() -> None:
    assert decode(Decoder(), *records.execed(LONG)[1:], records.acted(ACT)) == [ACT]


def test_pieces_of_another_program_of_the_process_are_passed_over() -> None:
    decoder = Decoder()
    stale = records.execed(LONG._replace(exec_id=9))[1]
    assert decode(decoder, records.execed(LONG)[0], stale) == []
    assert len(list(decoder.flush())) == 1


def test_a_piece_of_another_process_under_the_same_pid_is_passed_over() -> None:
    """Its own exec was lost, and what told of the end of the process before it, too."""
    decoder = Decoder()
    again = LONG._replace(process=ProcessKey(CURL.pid, 9_000_000))
    assert decode(decoder, records.execed(LONG)[0], records.execed(again)[1]) == []
    (event,) = decoder.flush()
    assert isinstance(event, Execed)
    assert event.process == CURL
    assert len(records.arguments_block(event.arguments)) == wire.ARGUMENTS_PIECE + 1


def test_of_execs_whose_pieces_never_come_the_oldest_makes_room() -> None:
    decoder = Decoder()
    begun = [LONG._replace(process=ProcessKey(pid, 5)) for pid in range(1, WAITING_MAX + 11)]
    told = decode(decoder, *(records.execed(event)[0] for event in begun))
    assert [event.process for event in told if isinstance(event, Execed)] == [
        event.process for event in begun[:10]
    ]
    assert len(list(decoder.flush())) == WAITING_MAX


def test_what_still_waits_comes_with_the_flush_once() -> None:
    decoder = Decoder()
    decode(decoder, records.execed(LONG)[0])
    (event,) = decoder.flush()
    assert isinstance(event, Execed)
    assert (event.process, event.arguments_cut) == (CURL, True)
    assert list(decoder.flush()) == []


def test_secrets_in_argv_never_get_further_than_here() -> None:
    secret = EXEC._replace(arguments=arguments_of(["curl", "--user", "me:hunter2", "registry.example"]))
    (event,) = decode(Decoder(), *records.execed(secret))
    assert "hunter2" not in repr(event)
    assert "<redacted>" in repr(event)


def test_bytes_that_are_not_utf_8_become_replacement_characters() -> None:
    assert split(b"a\xff\xfeb\0\xc3\xa9\0") == ["a\ufffd\ufffdb", "é"]


@pytest.mark.parametrize(
    ("block", "arguments"),
    [(b"", []), (b"\0", [""]), (b"a\0\0", ["a", ""]), (b"a\0b", ["a", "b"]), (b"a\0b\0", ["a", "b"])],
)
def test_empty_arguments_stay_and_a_missing_last_nul_does_no_harm(block: bytes, arguments: list[str]) -> None:
    assert split(block) == arguments


def test_a_path_cut_at_the_root_says_so() -> None:
    data = bytearray(records.execed(EXEC)[0])
    offset = wire.OFFSETS["exec_record"][1]["path_cut"]
    data[offset] = 1
    (event,) = decode(Decoder(), bytes(data))
    assert isinstance(event, Execed)
    assert event.path == "…/usr/bin/curl"


@given(draws())
def test_no_bytes_at_all_raise_anything_but_a_record_error(draw: Draw) -> None:
    malformed.check(draw)
