"""The comparison: the same under each tool, again and again, each round in an order shuffled from seed 1.

The load and its peer are in networks of their own; a download is in this process's, since it needs the index.

Loops, builds and downloads are ratios to the same of the same round without any tool: the median, and the
quartiles in brackets. The control is that once more. A download's time is the CPU time of pip.

What there is of the tool alone has no control: its start, its resident set, and its CPU time in a flood. That
is the user and system time of the tool's own process; what the kernel does for it elsewhere, as programs in
the load's calls and audit's thread, isn't in it. They are medians with quartiles, too.

Of counts, there is the median, and the worst round in brackets; – is what a tool doesn't record by design.
A round that a tool failed in is left out of its own cell alone, which says so.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import partial
from typing import NamedTuple

from benchmarks.build import write_sources
from benchmarks.pip import command as pip_command
from benchmarks.rivals.place import PORT, Place
from benchmarks.rivals.rounds import Found, cell, count, in_rounds, middle, ratio
from benchmarks.rivals.tools import Tool, Watched
from benchmarks.workshop import BenchmarkError, Load, cpu_s, memory_mb

CONTROL = "control"
_NOBODY = Watched(None)
_ROUNDS, _LONG_ROUNDS, _COUNT_ROUNDS = 9, 5, 3
_FILES, _FLOOD, _BESIDE, _SHORT = 300, 1_000_000, 200, 2_000
_SETTLED_S = 2.0
_OMITTED = "–"


class Row(NamedTuple):
    """A line of the table: a text for each tool, and for CONTROL if there is one."""

    name: str
    cells: Mapping[str, str]


def present(place: Place, tools: Sequence[Tool]) -> tuple[dict[Tool, str], dict[str, str]]:
    """Start and end each tool once; return the versions of those that can, and why the others can't."""
    versions: dict[Tool, str] = {}
    missing: dict[str, str] = {}
    for tool in tools:
        try:
            version = tool.version()
            with _watched(place, tool), place.load("connect") as load:
                load.do(1)
        except BenchmarkError as error:
            missing[tool.name] = str(error)
        else:
            versions[tool] = version
    return versions, missing


def rows(place: Place, tools: Sequence[Tool]) -> Iterator[Row]:
    """Measure, a row after the other."""
    scale = 20 if place.shop.is_quick else 1
    for verb, acts in (("connect", 4_000), ("send", 6_000)):
        for where, network in (("loopback", ()), ("veth", (place.far.path,))):
            loop = partial(_loop, place, (verb, *network), acts // scale)
            yield _ratios(place, f"{verb}s, {where}", tools, _ROUNDS, loop)
    folder = place.shop.folder / "build"
    write_sources(folder, _FILES // scale)
    make = ("spawn", "make", "--silent", "--always-make", "-j2", f"--directory={folder}")
    yield _ratios(
        place, f"make -j2, {_FILES // scale} files", tools, _LONG_ROUNDS, partial(_once, place, make)
    )
    pip = ("cpu", *pip_command(place.shop))
    download = partial(_once, place, pip, is_outside=True)
    yield _ratios(place, "pip download, CPU time", tools, _LONG_ROUNDS, download)
    yield from _starts(place, tools)
    yield _floods(place, tools, _FLOOD // scale)
    yield _besides(place, tools, _BESIDE // scale)
    yield _shorts(place, tools, _SHORT // scale)


def _ratios(
    place: Place, name: str, tools: Sequence[Tool], rounds: int, measure: Callable[[Tool | None], float]
) -> Row:
    subjects = {"": None, CONTROL: None, **{tool.name: tool for tool in tools}}
    measured = in_rounds(
        name, list(subjects), place.shop.rounds(rounds), lambda each: measure(subjects[each])
    )
    without = measured.pop("")
    return Row(name, {each: ratio(series, without) for each, series in measured.items()})


@contextmanager
def _watched(place: Place, tool: Tool | None, *, is_outside: bool = False) -> Iterator[Watched]:
    """Let a tool watch, or nobody."""
    if tool is None:
        yield _NOBODY
        return
    with tool.watch(place, place.empty_folder(), is_outside=is_outside) as watched:
        yield watched


def _loop(place: Place, arguments: Sequence[str], acts: int, tool: Tool | None) -> float:
    with _watched(place, tool) as watched, place.load(*arguments, prefix=watched.prefix) as load:
        load.do(acts // 8)  # warms up
        return load.do(acts)


def _once(place: Place, arguments: Sequence[str], tool: Tool | None, *, is_outside: bool = False) -> float:
    with (
        _watched(place, tool, is_outside=is_outside) as watched,
        place.load(*arguments, prefix=watched.prefix, is_outside=is_outside) as load,
    ):
        return load.do(1)


def _starts(place: Place, tools: Sequence[Tool]) -> Iterator[Row]:
    name = "start, until the load runs"
    found = in_rounds(name, tools, place.shop.rounds(_ROUNDS), partial(_start, place))

    def took(series: Sequence[_Started]) -> str:
        return f"{middle([one.took_s for one in series], '.2f')} s"

    def resident(series: Sequence[_Started]) -> str:
        return f"{middle([one.resident_mb for one in series], '.0f')} MB"

    yield Row(name, {tool.name: cell(series, took) for tool, series in found.items()})
    yield Row("resident set", {tool.name: cell(series, resident) for tool, series in found.items()})


class _Started(NamedTuple):
    took_s: float
    resident_mb: float


def _start(place: Place, tool: Tool) -> _Started:
    began_ns = time.monotonic_ns()
    with _watched(place, tool) as watched, place.load("connect", prefix=watched.prefix) as load:
        return _Started((load.started_ns - began_ns) / 1e9, memory_mb(_pid(watched, load), "VmRSS"))


def _pid(watched: Watched, load: Load) -> int:
    return watched.pid or load.process.pid


class _Flooded(NamedTuple):
    cpu_s: float
    recorded: int


def _floods(place: Place, tools: Sequence[Tool], sends: int) -> Row:
    def write(tool: Tool, series: Sequence[_Flooded]) -> str:
        told = f"{count([one.recorded for one in series])} of {sends:,}"
        return f"{middle([one.cpu_s for one in series], '.2f')} s; {_unless(tool, 'send', told)}"

    name = "a flood: CPU time of the tool's process, and sends recorded"
    found = in_rounds(name, tools, place.shop.rounds(_COUNT_ROUNDS), partial(_flood, place, sends))
    return Row(name, _cells(found, write))


def _cells(
    found: Mapping[Tool, Sequence[Found | None]], write: Callable[[Tool, Sequence[Found]], str]
) -> Mapping[str, str]:
    return {tool.name: cell(series, partial(write, tool)) for tool, series in found.items()}


def _unless(tool: Tool, omitted: str, told: str) -> str:
    """Return `told`, or the sign for what the tool doesn't record by design."""
    return _OMITTED if omitted in tool.omits else told


def _flood(place: Place, sends: int, tool: Tool) -> _Flooded:
    with _watched(place, tool) as watched, place.load("send", place.far.path, prefix=watched.prefix) as load:
        pid = _pid(watched, load)
        before_s = cpu_s(pid)
        load.do(sends)
        time.sleep(_SETTLED_S)
        took_s = cpu_s(pid) - before_s
    return _Flooded(took_s, _recorded(place, tool, "send"))


def _besides(place: Place, tools: Sequence[Tool], connects: int) -> Row:
    name = "connects recorded beside a flood"
    found = in_rounds(name, tools, place.shop.rounds(_COUNT_ROUNDS), partial(_beside, place, connects))
    return Row(name, _cells(found, lambda _, series: f"{count(series)} of {connects:,}"))


def _beside(place: Place, connects: int, tool: Tool) -> int:
    with (
        _watched(place, tool) as watched,
        place.load("connect", place.far.path, prefix=watched.prefix, beside_flood=True) as load,
    ):
        load.do(connects)
        time.sleep(_SETTLED_S)
    return _recorded(place, tool, "connect")


def _recorded(place: Place, tool: Tool, verb: str) -> int:
    return sum(act.times for act in tool.recorded(place.folder) if (act.verb, act.port) == (verb, PORT))


class _Short(NamedTuple):
    recorded: int
    known: int
    """Those with their own argv, and with a parent."""


def _shorts(place: Place, tools: Sequence[Tool], processes: int) -> Row:
    def write(tool: Tool, series: Sequence[_Short]) -> str:
        known = _unless(tool, "argv", count([one.known for one in series]))
        recorded = count([one.recorded for one in series])
        return f"{recorded} of {processes:,}; {known} with argv and parent"

    name = "short processes recorded"
    found = in_rounds(name, tools, place.shop.rounds(_COUNT_ROUNDS), partial(_short, place, processes))
    return Row(name, _cells(found, write))


def _short(place: Place, processes: int, tool: Tool) -> _Short:
    with _watched(place, tool) as watched, place.load("hits", place.far.path, prefix=watched.prefix) as load:
        load.do(processes)
        time.sleep(_SETTLED_S)
    acts = [act for act in tool.recorded(place.folder) if (act.verb, act.port) == ("connect", PORT)]
    known = {act.arguments[-1] for act in acts if act.arguments[-2:-1] == ("hit",) and act.parent is not None}
    return _Short(len(acts), len(known))
