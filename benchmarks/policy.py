"""What it takes to have a policy in force: from its file to entries of the kernel's maps.

What: the time until 10,000 rules are read and checked, and until they are entries of maps: at a start, and at
each change of the file, for which nothing waits but that change.

How: rules as a large organisation may have them: names on a few sets of ports, wildcards, networks within
networks, some denied, some for a lineage. The median of some rounds. Needs no root.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from statistics import median

from benchmarks.figures import LIMITS, Figure
from benchmarks.workshop import Workshop
from exporter.jobs.claims import named
from exporter.policy.compile import compile_policy
from exporter.policy.parse import parse_policy
from exporter.policy.sections import effective

_ROUNDS = 9
_RULES = 10_000
_FORMS = (
    '"*.zone-{zone}.example"',
    "10.{high}.{low}.0/24:{port}",
    "10.{high}.{low}.7:{port}",
    '"[2001:db8:{n:x}::/48]:443"',
    "{{host: host-{n}.example, ports: [443], lineage: [{executable}]}}",
    "host-{n}.example:*",
    *["host-{n}.zone-{zone}.example:443"] * 4,
)
"""The forms of ten rules, one each; further rules repeat them."""


def measure(shop: Workshop) -> Iterator[Figure]:
    """Yield the time of reading, then of compiling."""
    rounds = shop.rounds(_ROUNDS)
    data = policy_text(_RULES).encode()
    policy = parse_policy(data, "policy.yaml")
    yield _figure("reading", rounds, lambda: parse_policy(data, "policy.yaml"))
    job = effective(policy, named("release", "build"))
    compiled = compile_policy(job)
    note = (
        f"{len(compiled.addresses):,} entries for addresses, {len(compiled.names):,} for names, "
        f"{len(compiled.ports)} for their ports"
    )
    yield _figure("compiling", rounds, lambda: compile_policy(job)).with_note(note)


def policy_text(rules: int) -> str:
    """Return a policy with so many rules."""
    return "\n".join(
        ["version: 1", "allow:", *map(_allowed, range(rules - 1)), "deny: [169.254.169.254]", ""]
    )


def _allowed(number: int) -> str:
    high, low = divmod(number, 256)
    executable = ("git", "npm", "pip", "cargo")[number // 10 % 4]
    fields = {"n": number, "zone": number // 10 * 10, "high": high, "low": low, "executable": executable}
    return "  - " + _FORMS[number % 10].format(**fields, port=5432 + number % 30)


def _figure(what: str, rounds: int, act: Callable[[], object]) -> Figure:
    times_s = [_time_s(act) for _ in range(rounds)]
    note = f"{min(times_s):.3f} to {max(times_s):.3f} s in {rounds}"
    return Figure(f"policy, {what} {_RULES:,} rules", median(times_s), "s", note, LIMITS.policy_s)


def _time_s(act: Callable[[], object]) -> float:
    began_s = time.perf_counter()
    act()
    return time.perf_counter() - began_s
