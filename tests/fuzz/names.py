"""The names of a job, beside a plain list of what was asked and answered."""

from __future__ import annotations

from typing import NamedTuple

from exporter.events.facts import Answered, Asked, ProcessKey
from exporter.pipeline.names import Names
from tests.fuzz.draw import Draw
from tests.fuzz.drawn_messages import ASKED, MAPPED, POINTER, REPLIED, A, Record, packed
from tests.unit.records import ASK

_HOSTS = ("registry.example", "mirror.example", "a_b.example", r"a\.b.example")
"""The last one is no name of a host."""
_WIRE = {
    "registry.example": b"\x08registry\x07example\0",
    "mirror.example": b"\x06mirror\x07example\0",
    "a_b.example": b"\x03a_b\x07example\0",
    r"a\.b.example": b"\x03a.b\x07example\0",
}
_NAMES_OF_ONE = 16


class _Question(NamedTuple):
    cookie: int
    resolver: bytes
    identifier: int
    kind: int
    name: str


class _Said(NamedTuple):
    at_ns: int
    name: str
    process: ProcessKey


class _Model:
    """What `Names` should know. Bounds that the few addresses here don't reach are left out."""

    def __init__(self) -> None:
        self.open: list[_Question] = []
        self.said: dict[bytes, list[_Said]] = {}

    def answered(self, question: _Question, peers: list[bytes], at_ns: int, process: ProcessKey) -> None:
        if question not in self.open:
            return
        self.open.remove(question)
        for peer in peers if question.name != _HOSTS[-1] else ():
            said = self.said.setdefault(peer, [])
            if not said or said[-1][1:] != (question.name, process):
                said.append(_Said(at_ns, question.name, process))
                del said[:-_NAMES_OF_ONE]

    def name_of(self, peer: bytes, at_ns: int, process: ProcessKey) -> str:
        known = [said for said in self.said.get(peer, ()) if said.at_ns <= at_ns]
        own = [said for said in known if said.process == process]
        return (own or known)[-1].name if known else "host"


def check(draw: Draw) -> None:
    """Questions, answers to them and to others, garbage; after each, an address has the name it should."""
    names, model = Names(lambda _peer, _at_ns: "host"), _Model()
    for at_ns in range(4 + draw.length(40)):
        question = _question(draw)
        process = ProcessKey(draw.getrandbits(1), 1)
        if draw.chance(0.4):
            assert names.asked(_asked(question, at_ns, process)) == question.name
            if question not in model.open:
                model.open.append(question)
        elif draw.chance(0.9):
            if model.open and draw.chance(0.8):
                question = draw.choice(model.open)
            last = draw.some(lambda: draw.getrandbits(2), 5)
            event = _answered(question, last, at_ns, process)
            names.answered(event)
            model.answered(question, [_peer(each) for each in last], at_ns, process)
        else:
            names.answered(Answered(*_asked(question, at_ns, process)))  # a question is no answer
        peer, moment = _peer(draw.getrandbits(2)), at_ns - draw.getrandbits(2)
        asker = ProcessKey(draw.getrandbits(1), 1)
        assert names.name_of(peer, moment, asker) == model.name_of(peer, moment, asker)


def _question(draw: Draw) -> _Question:
    resolver = MAPPED + bytes([192, 0, 2, draw.getrandbits(1)])
    return _Question(
        draw.getrandbits(1), resolver, draw.getrandbits(1), draw.choice((1, 28)), draw.choice(_HOSTS)
    )


def _peer(last: int) -> bytes:
    return MAPPED + bytes([198, 51, 100, last])


def _asked(question: _Question, at_ns: int, process: ProcessKey) -> Asked:
    return ASK._replace(
        at_ns=at_ns,
        process=process,
        cookie=question.cookie,
        resolver=question.resolver,
        message=_message(question, ASKED, []),
        is_cut=False,
    )


def _answered(question: _Question, last: list[int], at_ns: int, process: ProcessKey) -> Answered:
    asked = _asked(question, at_ns, process)
    return Answered(*asked)._replace(message=_message(question, REPLIED, last))


def _message(question: _Question, flags: int, last: list[int]) -> bytes:
    records = [Record(POINTER, A, _peer(each)[12:]) for each in last]
    return packed(question.identifier, flags, question.kind, _WIRE[question.name], records)
