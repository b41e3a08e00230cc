"""What it costs to take the secrets out of a command line.

What: CPU time for the arguments of one exec, from the kernel's block to redacted text: of ordinary command
lines, of ones with secrets, and of the longest argv that the kernel hands over (32 KiB), made to be slow. The
time is spent when somebody looks at the arguments, once an exec, never once a span.

How: the command lines of tests/data, one after the other, in rounds; the rules are warm. The hostile ones
repeat what the patterns look for; the figure is the slowest of them. Needs no root.
"""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from statistics import mean, median, quantiles

from benchmarks.figures import LIMITS, Figure
from benchmarks.workshop import Workshop
from exporter.events import wire
from exporter.events.arguments import Arguments, arguments_block
from tests.unit.redact.corpus import ordinary_lines, secret_lines

_ROUNDS = 9
_HOSTILE = (
    *("a=", " a", " -", " N", ' "', "x://a:@", "a://a:b@c/", "eyJ-", " sh -c '", "token='", "auth('a','"),
    *(" curl -u", " vault login", " --token=x"),
)


def measure(shop: Workshop) -> Iterator[Figure]:
    """Yield figures for the two kinds of command lines, then for the hostile ones."""
    rounds = shop.rounds(_ROUNDS)
    ordinary = [arguments_block(line) for line in ordinary_lines()]
    secret = [arguments_block(line.arguments) for line in secret_lines()]
    yield _figure("redaction, an ordinary command line", ordinary, rounds)
    yield _figure("redaction, one with secrets", secret, rounds)
    yield _hostile(rounds)


def _figure(name: str, blocks: Sequence[bytes], rounds: int) -> Figure:
    """Return the mean over the lines of the median over the rounds."""
    each_us = [median(_cpu_us(block) for _ in range(rounds)) for block in blocks]
    percentiles = quantiles(each_us, n=100, method="inclusive")
    note = f"{len(blocks):,} lines; 99 in 100 take at most {percentiles[-1]:.0f} µs"
    return Figure(name, mean(each_us), "µs", note, LIMITS.redaction_us)


def _hostile(rounds: int) -> Figure:
    times_ms = {
        piece: median(_cpu_us(_filled(piece, wire.ARGUMENTS_MAX)) for _ in range(rounds)) / 1000
        for piece in _HOSTILE
    }
    slowest = max(times_ms, key=lambda piece: times_ms[piece])
    quarter_us = median(_cpu_us(_filled(slowest, wire.ARGUMENTS_MAX // 4)) for _ in range(rounds))
    growth = times_ms[slowest] * 1000 / quarter_us
    note = f"{slowest!r} again and again; a quarter of it takes 1/{growth:.1f} of that"
    return Figure("redaction, the slowest argv of 32 KiB", times_ms[slowest], "ms", note)


def _filled(piece: str, size: int) -> bytes:
    return (piece * size)[:size].replace(" ", "\0").encode()


def _cpu_us(block: bytes) -> float:
    began_ns = time.process_time_ns()
    _ = Arguments(block).shown
    return (time.process_time_ns() - began_ns) / 1000
