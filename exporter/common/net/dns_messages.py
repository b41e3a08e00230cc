"""Parse DNS messages, whose sender may be hostile: a breach of RFC 1035 is refused, never interpreted.

dnspython reads the names; it is imported with the first message, since many jobs look up no name.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, NamedTuple

from .addresses import MAPPED

if TYPE_CHECKING:
    from dns.name import Name
    from dns.wire import Parser

DNS_PORT = 53
_HEADER = "!HHHHHH"
_A, _CNAME, _AAAA, _SVCB, _HTTPS, _IN = 1, 5, 28, 64, 65, 1
_IS_ANSWER, _OPERATION, _IS_TRUNCATED, _CODE = 0x8000, 0x7800, 0x0200, 0x000F
_RECORDS_MAX = 128
_HINTS = {4: (MAPPED, 4), 6: (b"", 16)}
"""By the keys of the parameters ipv4hint and ipv6hint (RFC 9460): the prefix that makes an address 16 bytes
long, and the size of the address without it."""
_HOST_NAME = re.compile(r"[a-z0-9_-]{1,63}(?:\.[a-z0-9_-]{1,63})*")
_HOST_NAME_MAX = 253


class MessageError(ValueError):
    """Bytes that are no DNS message with one question of class IN."""


class Question(NamedTuple):
    """The question that a message asks or answers."""

    identifier: int
    kind: int
    """The type that is asked for: 1 A, 28 AAAA, 65 HTTPS, …"""
    name: str
    """The name in lower case, without the final dot. Bytes other than printable ASCII, and dots inside a
    label, are written as in RFC 1035's files: `\\DDD`, `\\.`."""


class Reply(NamedTuple):
    """The answer to a question, with the addresses that belong to it."""

    question: Question
    addresses: tuple[bytes, ...]
    """Addresses of the name or of one that its CNAMEs lead to: 16 bytes each, IPv4 as ::ffff:a.b.c.d."""


class _Record(NamedTuple):
    owner: Name
    target: Name | None
    """Target of a CNAME; None for other types."""
    addresses: tuple[bytes, ...]


def parse_question(message: bytes) -> Question:
    """Return the question that `message` asks. Raises MessageError, also for an answer."""
    with _refusing():
        parser, flags, _ = _begin(message)
        if flags & _IS_ANSWER:
            raise MessageError("it is an answer")
        return _question(message, parser)[0]


def parse_reply(message: bytes, *, is_cut: bool) -> Reply:
    """Return the answer in `message`; with `is_cut`, its part before the cut. Raises MessageError."""
    with _refusing():
        parser, flags, number = _begin(message)
        if not flags & _IS_ANSWER:
            raise MessageError("it is a question")
        question, name = _question(message, parser)
        if flags & _CODE:
            return Reply(question, ())
        records = _records(parser, number, is_cut=is_cut or bool(flags & _IS_TRUNCATED))
        return Reply(question, tuple(_addresses(name, records)))


def is_host_name(name: str) -> bool:
    """Whether `name` may be a host's: letters, digits, `-` and `_`, in lower case."""
    return len(name) <= _HOST_NAME_MAX and _HOST_NAME.fullmatch(name) is not None


@contextmanager
def _refusing() -> Iterator[None]:
    from dns.exception import DNSException

    try:
        yield
    except DNSException as error:
        raise MessageError(str(error)) from None


def _begin(message: bytes) -> tuple[Parser, int, int]:
    """Return a parser at the question, the header's flags, and the number of answers that it claims."""
    from dns.wire import Parser

    parser = Parser(message)
    _, flags, questions, answers, _, _ = parser.get_struct(_HEADER)
    if flags & _OPERATION or questions != 1:
        raise MessageError(f"it has {questions} questions, and the flags {flags:#06x}")
    return parser, flags, answers


def _question(message: bytes, parser: Parser) -> tuple[Question, Name]:
    from dns.name import from_wire_parser

    name = from_wire_parser(parser).canonicalize()
    kind, of_class = parser.get_struct("!HH")
    if of_class != _IN:
        raise MessageError(f"it asks about the class {of_class}")
    identifier = int.from_bytes(message[:2], "big")
    return Question(identifier, kind, name.to_text(omit_final_dot=True)), name


def _records(parser: Parser, number: int, *, is_cut: bool) -> list[_Record]:
    """Return the relevant ones of the answer's first _RECORDS_MAX records: a sane answer has no more."""
    from dns.exception import DNSException

    records = []
    for _ in range(min(number, _RECORDS_MAX)):
        try:
            record = _record(parser)
        except DNSException:
            if is_cut:
                break
            raise
        if record:
            records.append(record)
    return records


def _record(parser: Parser) -> _Record | None:
    from dns.name import from_wire_parser

    owner = from_wire_parser(parser)
    kind, of_class, _, size = parser.get_struct("!HHIH")
    with parser.restrict_to(size):
        if of_class != _IN or kind not in _READERS:
            parser.get_remaining()
            return None
        if kind == _CNAME:
            return _Record(owner, from_wire_parser(parser), ())
        return _Record(owner, None, tuple(_READERS[kind](parser)))


def _ipv4(parser: Parser) -> Iterator[bytes]:
    yield MAPPED + parser.get_bytes(4)


def _ipv6(parser: Parser) -> Iterator[bytes]:
    yield parser.get_bytes(16)


def _hints(parser: Parser) -> Iterator[bytes]:
    """Yield the addresses that a service's record contains so that clients needn't ask for them."""
    from dns.name import from_wire_parser

    parser.get_uint16()
    from_wire_parser(parser)
    while parser.remaining():
        key, size = parser.get_struct("!HH")
        with parser.restrict_to(size):
            if key not in _HINTS:
                parser.get_remaining()
            while parser.remaining():
                prefix, size = _HINTS[key]
                yield prefix + parser.get_bytes(size)


_READERS: dict[int, Callable[[Parser], Iterator[bytes]]] = {
    _A: _ipv4,
    _AAAA: _ipv6,
    _CNAME: lambda _: iter(()),
    _SVCB: _hints,
    _HTTPS: _hints,
}


def _addresses(name: Name, records: list[_Record]) -> Iterator[bytes]:
    """Yield the addresses of `name`, and of the names that its CNAMEs lead to."""
    targets = {record.owner: record.target for record in records if record.target is not None}
    names = {name}
    while (target := targets.get(name)) is not None and target not in names:
        names.add(target)
        name = target
    for record in records:
        if record.owner in names:
            yield from record.addresses
