"""Runs targets over inputs. An input is a number: with the seed it says all, so each can be repeated."""

from __future__ import annotations

import logging
import multiprocessing
import signal
import time
import traceback
from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass, field
from types import FrameType
from typing import NamedTuple, NoReturn

from tests.fuzz.draw import Draw

Check = Callable[[Draw], None]
"""Makes one input, feeds it, and raises when something doesn't hold."""

INPUT_MAX_S = 5.0
"""CPU time in which an input must be done: what takes a thousand times as long as the usual one hangs."""
_CHUNK = 4000


class Target(NamedTuple):
    """Something to be fuzzed."""

    name: str
    check: Check
    weight: int
    """Its part of the inputs, among the others'."""


class TooSlowError(BaseException):
    """An input isn't done in INPUT_MAX_S. No `except Exception` of the code under test swallows it."""


class Crash(NamedTuple):
    """An input for which something didn't hold."""

    target: str
    seed: int
    number: int
    place: str
    """Kind and line of what was raised: crashes that share it are taken for the same one."""
    told: str
    """The traceback."""

    @property
    def repeat(self) -> str:
        """The command that does it again."""
        return f"python -m tests.fuzz {self.target} --seed {self.seed} --first {self.number} --inputs 1"


@dataclass
class Report:
    """What came of a target."""

    name: str
    inputs: int = 0
    took_s: float = 0.0
    slowest_s: float = 0.0
    """CPU time of the slowest input."""
    slowest: int = -1
    """Its number."""
    crashes: int = 0
    has_hung: bool = False
    """Whether it ended early, by an input that took too long: what hangs once does so often."""
    found: dict[str, Crash] = field(default_factory=dict)
    """The first crash at each place."""

    def add(self, other: Report) -> None:
        """Count what another part of the inputs gave."""
        self.inputs += other.inputs
        self.crashes += other.crashes
        self.has_hung |= other.has_hung
        if other.slowest_s > self.slowest_s:
            self.slowest_s, self.slowest = other.slowest_s, other.slowest
        for place, crash in other.found.items():
            self.found.setdefault(place, crash)


class _Part(NamedTuple):
    target: Target
    seed: int
    numbers: range


def processes(number: int) -> ProcessPoolExecutor:
    """So many to run on: fresh ones, that share nothing with this one."""
    return ProcessPoolExecutor(number, multiprocessing.get_context("spawn"), initializer=silence)


def silence() -> None:
    """Don't let the SDK log what it thinks of each TRACESTATE."""
    logging.getLogger("opentelemetry").setLevel(logging.CRITICAL)


def run(target: Target, *, seed: int, first: int, inputs: int, pool: ProcessPoolExecutor | None) -> Report:
    """Feed `inputs` inputs from number `first` on, on the processes of `pool` or here."""
    end = first + inputs
    parts = [_Part(target, seed, range(at, min(at + _CHUNK, end))) for at in range(first, end, _CHUNK)]
    whole = Report(target.name)
    began_s = time.monotonic()
    reports = pool.map(_run_part, parts) if pool else map(_run_part, parts)
    for report in reports:
        whole.add(report)
        if whole.has_hung:
            break
    whole.took_s = time.monotonic() - began_s
    return whole


def shares(targets: list[Target], inputs: int) -> Iterator[tuple[Target, int]]:
    """How many of `inputs` each target gets, by weight; none gets less than one."""
    whole = sum(target.weight for target in targets)
    for target in targets:
        yield target, max(inputs * target.weight // whole, 1)


def _run_part(part: _Part) -> Report:
    report = Report(part.target.name)
    before = signal.signal(signal.SIGVTALRM, _too_slow)
    try:
        for number in part.numbers:
            _run_one(part, number, report)
            if report.has_hung:
                break
    finally:
        signal.setitimer(signal.ITIMER_VIRTUAL, 0)
        signal.signal(signal.SIGVTALRM, before)
    return report


def _run_one(part: _Part, number: int, report: Report) -> None:
    draw = Draw(f"{part.seed} {part.target.name} {number}")
    signal.setitimer(signal.ITIMER_VIRTUAL, INPUT_MAX_S)
    began_s = time.process_time()
    try:
        part.target.check(draw)
    except (Exception, TooSlowError) as error:  # noqa: BLE001 - whatever it is, it is what we look for
        report.crashes += 1
        report.has_hung = isinstance(error, TooSlowError)
        crash = Crash(part.target.name, part.seed, number, _place(error), _told(error))
        report.found.setdefault(crash.place, crash)
    took_s = time.process_time() - began_s
    report.inputs += 1
    if took_s > report.slowest_s:
        report.slowest_s, report.slowest = took_s, number


def _place(error: BaseException) -> str:
    frame = traceback.extract_tb(error.__traceback__)[-1]
    return f"{type(error).__name__} at {frame.filename}:{frame.lineno}"


def _told(error: BaseException) -> str:
    return "".join(traceback.format_exception(error))


def _too_slow(_signal: int, _frame: FrameType | None) -> NoReturn:
    raise TooSlowError(f"not done after {INPUT_MAX_S} s of CPU time")
