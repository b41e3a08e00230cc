"""Events with any fields that their types allow."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

from exporter.common.net.addresses import UNIX
from exporter.events import wire
from exporter.events.arguments import Arguments
from exporter.events.facts import (
    Act,
    Acted,
    Aggregated,
    Answered,
    Asked,
    Event,
    Execed,
    Exited,
    Flowed,
    Forked,
    Found,
    Metered,
    Outcome,
    ProcessKey,
    Stage,
    Switched,
    Tampered,
    Tampering,
    Verdict,
)
from tests.fuzz.draw import Draw
from tests.unit import records

_OUTCOMES = [outcome for outcome in records.OUTCOMES if outcome is not None]
_U16, _U32, _U64 = 16, 32, 64


class Kind(NamedTuple):
    """How an event is drawn, and written as the kernel does."""

    draw: Callable[[Draw, ProcessKey], Event]
    record: Callable[[Any], bytes]


def process(draw: Draw) -> ProcessKey:
    """One of few, so that events meet."""
    return ProcessKey(draw.getrandbits(2), draw.getrandbits(2))


def address(draw: Draw) -> bytes:
    """16 bytes, mostly of IPv4."""
    if draw.chance(0.7):
        return bytes(10) + b"\xff\xff" + draw.randbytes(4)
    return draw.choice((bytes(16), bytes(15) + b"\1", draw.randbytes(16)))


def drawn_event(draw: Draw, key: ProcessKey) -> Event:
    """Any event but an environment, of this process where it is a process's."""
    if draw.chance(0.25):
        return _execed(draw, key)
    return draw.choice(_KINDS).draw(draw, key)


_CGROUPS = ("", "runner.slice", f"docker-{'0a' * 32}.scope", "é" * 40)


def _execed(draw: Draw, key: ProcessKey) -> Execed:
    if draw.chance(0.1):
        return _waiting(draw, key)
    names = draw.some(lambda: draw.blob(12).replace(b"\0", b"").decode(errors="ignore"), 5)
    path = "/" + "/".join(name.replace("/", "_") for name in names)
    block = draw.blob(60) if draw.chance(0.8) else draw.blob(8) * draw.length(6000)
    block = block[: wire.ARGUMENTS_MAX]
    is_cut = len(block) == wire.ARGUMENTS_MAX
    numbers = (_number(draw, _U32), _number(draw, _U32), _number(draw, _U32))
    return Execed(_number(draw, _U64), key, *numbers, path, Arguments(block), is_cut, draw.choice(_CGROUPS))


def _waiting(draw: Draw, key: ProcessKey) -> Execed:
    """Of an argv in two pieces."""
    block = Arguments(b"make\0" + b"x" * wire.ARGUMENTS_PIECE)
    return Execed(_number(draw, _U64), key, draw.getrandbits(1), 1, 1, "/bin/make", block, False, "")


def _forked(draw: Draw, key: ProcessKey) -> Forked:
    creator = ProcessKey(1000 + draw.getrandbits(2), draw.unsigned(_U64))
    return Forked(_number(draw, _U64), key, creator, *(_number(draw, _U32) for _ in range(3)))


def _exited(draw: Draw, key: ProcessKey) -> Exited:
    return Exited(_number(draw, _U64), key, _number(draw, _U32))


def _acted(draw: Draw, key: ProcessKey) -> Acted:
    act = draw.choice(list(Act))
    thread_id, parent_pid, uid, scope = (_number(draw, _U32) for _ in range(4))
    who = (key, draw.getrandbits(2), act, thread_id, parent_pid, uid, scope)
    cookie, protocol = _number(draw, _U64), draw.choice((6, 17, 1, _number(draw, _U16)))
    ends = (address(draw), _number(draw, _U16), address(draw), _number(draw, _U16))
    ruling = (draw.choice(list(Verdict)), _number(draw, _U32), _number(draw, _U64), _number(draw, _U32))
    drawn = Acted(_number(draw, _U64), *who, cookie, protocol, *ends, *ruling)
    if draw.chance(0.1):
        name = draw.choice("/@") + draw.blob(40).replace(b"\0", b"").decode(errors="ignore")
        return drawn._replace(protocol=UNIX, socket=name)
    return drawn._replace(is_metered=draw.chance(0.5))


def _flowed(draw: Draw, _: ProcessKey) -> Flowed:
    stage, outcome = draw.choice(list(Stage)), draw.choice(_OUTCOMES)
    told = (_number(draw, _U16), _number(draw, _U64), _number(draw, _U64), _number(draw, _U32))
    ends = (address(draw), _number(draw, _U16))
    return Flowed(_number(draw, _U64), _number(draw, _U64), stage, outcome, *told, *ends)


def _metered(draw: Draw, _: ProcessKey) -> Metered:
    return Metered(*(_number(draw, _U64) for _ in range(5)))


def _aggregated(draw: Draw, key: ProcessKey) -> Aggregated:
    act = draw.choice(list(Act))
    outcome = Outcome.SENT if act is Act.SEND else draw.choice(_OUTCOMES)
    verdict = draw.choice(list(Verdict))
    rule, held, policy = _number(draw, _U32), _number(draw, _U64), _number(draw, _U32)
    if verdict is Verdict.DENY:
        outcome = Outcome.DENIED
    parent_pid, uid, scope = (_number(draw, _U32) for _ in range(3))
    peer = (address(draw), _number(draw, _U16), draw.chance(0.2))
    attempts, sent, received = (_number(draw, _U64) for _ in range(3))
    at_ns, last_ns, protocol = _number(draw, _U64), 1 + draw.getrandbits(_U64 - 1), _number(draw, _U16)
    who = (key, draw.getrandbits(2), act, outcome, parent_pid, uid, scope)
    drawn = Aggregated(at_ns, last_ns, *who, protocol, *peer, attempts, sent, received, verdict, rule)
    return drawn._replace(held=held, policy=policy)


def _tampered(draw: Draw, key: ProcessKey) -> Tampered:
    exec_id, parent_pid, uid, scope, detail, times = (_number(draw, _U32) for _ in range(6))
    what = draw.choice(list(Tampering))
    return Tampered(_number(draw, _U64), key, exec_id, parent_pid, uid, scope, what, detail, times)


def _asked(draw: Draw, key: ProcessKey) -> Asked:
    ids = (draw.getrandbits(2), _number(draw, _U32), _number(draw, _U64), draw.choice((6, 17)))
    message = draw.blob(300)
    return Asked(
        _number(draw, _U64), key, *ids, address(draw), _number(draw, _U16), message, draw.chance(0.1)
    )


def drawn_answer(draw: Draw, key: ProcessKey) -> Answered:
    """What a resolver told the process."""
    return Answered(*_asked(draw, key))


def _number(draw: Draw, bits: int) -> int:
    return draw.unsigned(bits)


def drawn_of_user_space(draw: Draw, key: ProcessKey) -> Event:
    """One of those that the exporter makes itself."""
    if draw.chance(0.5):
        return Found(_number(draw, _U64), key, _number(draw, _U32))
    return Switched(_number(draw, _U64), _number(draw, _U32), draw.chance(0.5))


EVENTS: dict[type[Event], Kind] = {
    Forked: Kind(_forked, records.forked),
    Exited: Kind(_exited, records.exited),
    Acted: Kind(_acted, records.acted),
    Flowed: Kind(_flowed, records.flowed),
    Metered: Kind(_metered, records.metered),
    Aggregated: Kind(_aggregated, records.aggregated),
    Tampered: Kind(_tampered, records.tampered),
    Asked: Kind(_asked, records.looked_up),
    Answered: Kind(drawn_answer, records.looked_up),
}
"""Those of one record each."""
_KINDS = list(EVENTS.values())
