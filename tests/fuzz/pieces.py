"""Environments: what the kernel sends in pieces is put together, or is a part of it that says so."""

from __future__ import annotations

from exporter.events import wire
from exporter.events.environments import WAITING_MAX, Environments, variables
from exporter.events.facts import Environment, ProcessKey
from tests.fuzz.draw import Draw

_PIECE = wire.ARGUMENTS_PIECE


def check(draw: Draw) -> None:
    """One block, with pieces lost in half the inputs, among those of others."""
    environments = Environments()
    size = draw.choice((0, 1, _PIECE - 1, _PIECE, _PIECE + 1, 3 * _PIECE, wire.ARGUMENTS_MAX, 50_000))
    block = draw.randbytes(size)
    key = ProcessKey(1, 1)
    loses = draw.chance(0.5)
    got = []
    for offset in range(0, min(size, wire.ARGUMENTS_MAX), _PIECE):
        if loses and draw.chance(0.3):
            continue
        piece = (
            b"" if loses and draw.chance(0.1) else block[offset : min(offset + _PIECE, wire.ARGUMENTS_MAX)]
        )
        got += _added(environments, key, size, offset, piece)
        for _ in range(draw.choice((0, 0, 1, 40))):  # others, of which no more comes
            stranger = ProcessKey(2 + draw.getrandbits(10), 1)
            _added(
                environments,
                stranger,
                draw.unsigned(32),
                draw.choice((0, _PIECE, draw.unsigned(32))),
                b"x" * _PIECE,
            )
    assert len(environments._waiting) <= WAITING_MAX
    for each in got:
        assert block.startswith(each.block)
        assert each.is_cut == (len(each.block) < size)
        assert variables(each.block).keys() <= {name for name in variables(each.block) if name}
    if not loses and size and len(environments._waiting) < WAITING_MAX:
        assert [each.block for each in got] == [block[: wire.ARGUMENTS_MAX]]


def _added(
    environments: Environments, key: ProcessKey, size: int, offset: int, piece: bytes
) -> list[Environment]:
    head = (wire.LAYOUT, wire.KIND_ENVIRONMENT, 5, key.started_ns, key.pid, 1)
    whole = environments.add(wire.EnvironmentRecord(*head, size, offset, len(piece), 0, 0, 0, 0), piece)
    return [] if whole is None else [whole]
