"""What every panel must show of the fleet in demo_fleet.py, by dashboard and title."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from demo import names
from tests.launch import PYTHON_NAME
from tests.stack.demo_fleet import BEACON, HONEST, POISONED, SMOKE, Fleet

RECENT, ALL = (3, 4, 5), (1, 2, 3, 4, 5)
RELEASE, HOURLY = (3, 4), (5,)
TOTAL = 2 * HONEST + 2 * POISONED + SMOKE
GIT, METRICS, MIRROR, REGISTRY = (f"{name}.example" for name in ("git", "metrics", "mirror", "registry"))
_CARRIERS = (names.RESOLVER, METRICS, GIT, MIRROR, REGISTRY, BEACON)


@dataclass(frozen=True)
class Number:
    """What a stat shows; None is its `noValue`."""

    value: float | Callable[[Fleet], float] | None


@dataclass(frozen=True)
class Table:
    """All lines of a table, in any order: their values from left to right, from the column `after` on."""

    lines: Callable[[Fleet], list[tuple[Any, ...]]]
    after: int = 0


@dataclass(frozen=True)
class Curves:
    """What each curve adds up to, and the jobs whose traces the exemplars lead to."""

    sums: Callable[[Fleet], dict[str, float]]
    exemplars: tuple[int, ...] = ()


@dataclass(frozen=True)
class Durations:
    """Curves that have the destinations' names, and values within what a connect can take here."""

    legends: set[str]
    exemplars: tuple[int, ...]


@dataclass(frozen=True)
class Peaks:
    """The largest value of each curve."""

    largest: dict[str, float]


@dataclass(frozen=True)
class Traces:
    """The jobs whose traces a search finds."""

    jobs: tuple[int, ...]


Expected = Number | Table | Curves | Durations | Peaks | Traces


def lines(*listed: tuple[Any, ...], after: int = 0) -> Table:
    """Those whose values are known beforehand."""
    return Table(lambda _: list(listed), after)


def sent(*hosts: str, jobs: tuple[int, ...]) -> Callable[[Fleet], float]:
    """Bytes by the spans."""
    return lambda fleet: fleet.payload("sent", jobs, *hosts)


def received(*hosts: str, jobs: tuple[int, ...]) -> Callable[[Fleet], float]:
    """The same, the other way."""
    return lambda fleet: fleet.payload("received", jobs, *hosts)


def _both_ways(fleet: Fleet, jobs: tuple[int, ...], *hosts: str) -> tuple[float | None, float | None]:
    """None where nothing went that way, of which there is no series."""
    return fleet.payload("sent", jobs, *hosts) or None, fleet.payload("received", jobs, *hosts) or None


_AGAINST_POLICY = lines(
    ("hourly", "build", BEACON, "80", "tcp", "deny", 2),
    ("release", "build", BEACON, "80", "tcp", "audit", 2),
)

FLEET: dict[str, Expected] = {
    "Novel destinations": Number(2),
    "New by history": Number(1),  # `hourly` is new itself
    "Denied": Number(2),
    "Would be denied": Number(2),
    "Pipelines": Number(2),
    "Enforcing": Number(1),
    "Destinations": Number(6),
    "Unaccounted": Number(0),
    "Novel destinations by pipeline": _AGAINST_POLICY,
    "Denied, or would be": _AGAINST_POLICY,
    "New by history, by pipeline": lines(("release", BEACON, 2)),
    "Alerts": lines(
        ("CICDEgressNovelDestination", "critical", "hourly", BEACON, 1),
        ("CICDEgressNovelDestination", "critical", "release", BEACON, 1),
    ),
    "By pipeline": Table(
        lambda fleet: [
            ("hourly", 1, 2, None, 1, 6, POISONED, *_both_ways(fleet, HOURLY)),
            ("release", 1, None, 2, 0, 6, POISONED + SMOKE, *_both_ways(fleet, RELEASE)),
        ]
    ),
    "By destination": Table(
        lambda fleet: [
            (host, 2, attempts, *_both_ways(fleet, RECENT, host))
            for host, attempts in {
                names.RESOLVER: 11,
                METRICS: 2,
                GIT: 3,
                MIRROR: 2,
                REGISTRY: 2,
                BEACON: 4,
            }.items()
        ]
    ),
    "Attempts by verdict": Curves(lambda _: {"allow": TOTAL - 4, "audit": 2, "deny": 2}, ALL),
    "Attempts by pipeline": Curves(lambda _: {"hourly": POISONED, "release": 2 * HONEST + POISONED + SMOKE}),
}

PIPELINE: dict[str, Expected] = {
    "Novel destinations": Number(1),
    "Denied": Number(0),
    "Would be denied": Number(2),
    "Mode": Number(0),
    "Jobs now": Number(0),
    "Attempts": Number(POISONED + SMOKE),
    "Sent": Number(sent(jobs=RELEASE)),
    "Received": Number(received(jobs=RELEASE)),
    "Novel destinations by task": lines(("build", BEACON, "80", "tcp", "audit", 2)),
    "Denied, or would be": lines(("build", BEACON, "80", "tcp", "audit", 2)),
    "New by history": lines(
        ("release", "build", BEACON, 2),
        ("release", "smoke", GIT, 1),
        ("release", "smoke", names.RESOLVER, 1),
    ),
    "Destinations": lines(
        ("build", names.RESOLVER, "53", "udp", "allow", "false", 5),
        ("build", BEACON, "80", "tcp", "audit", "true", 2),
        ("build", GIT, "80", "tcp", "allow", "false", 1),
        ("build", METRICS, "8125", "udp", "allow", "false", 1),
        ("build", MIRROR, "80", "tcp", "allow", "false", 1),
        ("build", REGISTRY, "80", "tcp", "allow", "false", 1),
        ("smoke", names.RESOLVER, "53", "udp", "allow", "false", 1),
        ("smoke", GIT, "81", "tcp", "allow", "false", 1),
    ),
    "Payload by destination": Table(
        lambda fleet: [(host, *_both_ways(fleet, RELEASE, host)) for host in _CARRIERS]
    ),
    "Chains of programs": lines(
        ("curl", GIT, 1),
        ("curl", names.RESOLVER, 1),
        ("dash>curl", GIT, 1),
        ("dash>curl", MIRROR, 1),
        ("dash>curl", names.RESOLVER, 2),
        (f"dash>{PYTHON_NAME}", REGISTRY, 1),
        (f"dash>{PYTHON_NAME}", names.RESOLVER, 2),
        (f"dash>{PYTHON_NAME}>{PYTHON_NAME}", METRICS, 1),
        (f"dash>{PYTHON_NAME}>dash>dash>curl", names.RESOLVER, 1),
        (f"dash>{PYTHON_NAME}>dash>dash>curl", BEACON, 1),
        (f"dash>{PYTHON_NAME}>dash>dash>dash>curl", BEACON, 1),
    ),
    "Attempts by destination": Curves(
        lambda _: {names.RESOLVER: 14, BEACON: 2, GIT: 4, METRICS: 3, MIRROR: 3, REGISTRY: 3}, (1, 2, 3, 4)
    ),
    "Time to connect, 95th percentile": Durations({BEACON, GIT, MIRROR, REGISTRY}, (1, 2, 3, 4)),
    "Sent by destination": Curves(
        lambda fleet: {host: fleet.payload("sent", (1, 2, 3, 4), host) for host in _CARRIERS}
    ),
    "Traces": Traces((3, 4)),
    "Traces with something novel": Traces((3,)),
    "Traces with a denial": Traces(()),
    "Traces with something that would be denied": Traces((3,)),
}

DESTINATION: dict[str, Expected] = {
    "Pipelines": Number(2),
    "Attempts": Number(4),
    "Novel attempts": Number(4),
    "Denied": Number(2),
    "Would be denied": Number(2),
    "Failed connects": Number(0),
    "Sent": Number(sent(BEACON, jobs=RECENT)),
    "Received": Number(received(BEACON, jobs=RECENT)),
    "Pipelines and tasks": lines(
        ("hourly", "build", "80", "tcp", "deny", "true", 2),
        ("release", "build", "80", "tcp", "audit", "true", 2),
    ),
    "New by history": lines(("release", 2)),
    "Programs": lines(
        *(
            ("curl", f"dash>{PYTHON_NAME}>dash>{chain}>curl", pipeline, 1)
            for chain in ("dash", "dash>dash")
            for pipeline in ("hourly", "release")
        )
    ),
    "Traces": Traces((3, 5)),
    "Traces where it is novel": Traces((3, 5)),
    "Attempts by pipeline": Curves(lambda _: {"hourly": 2, "release": 2}, (3, 5)),
    "Connects by outcome": Curves(lambda _: {"established": 2}),
    "Time to connect": Durations({"median", "95th percentile"}, (3,)),
    "Payload": Curves(
        lambda fleet: {way: fleet.payload(way, RECENT, BEACON) for way in ("sent", "received")}
    ),
}

EXPORTER: dict[str, Expected] = {
    "Unaccounted": Number(0),
    "Attempts": Number(TOTAL),
    "Exported": Number(TOTAL),
    "Aggregated": Number(0),
    "Dropped": Number(0),
    "Pending": Number(0),
    "Unattributed": Number(0),
    "Account of each exporter": lines(
        *(
            ("runner-7.example", 0, attempts, attempts, 0, 0, 0)
            for attempts in (HONEST, HONEST, POISONED, SMOKE, POISONED)
        ),
        after=2,
    ),
    "Exporters": Number(5),
    "Dropped, by stage and reason": lines(),
    "Unattributed, by reason": lines(),
    "Enforcement by pipeline": lines(("hourly", 1), ("release", 0)),
    "Destinations beyond the limit": lines(),
    "What became of the attempts": Curves(lambda _: {"exported": TOTAL, "aggregated": 0}),
    "Pending by stage": Peaks({"ring": 0, "queue": 0, "spool": 0}),
    "Unattributed by reason": Curves(lambda _: {}),
    "Exporters over time": Peaks({"exporters": 5}),
}

EXPECTED: Mapping[str, dict[str, Expected]] = {
    "ci-egress-fleet": FLEET,
    "ci-egress-pipeline": PIPELINE,
    "ci-egress-destination": DESTINATION,
    "ci-egress-exporter": EXPORTER,
}
