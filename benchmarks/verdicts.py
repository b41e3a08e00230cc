"""What a policy costs in the kernel, by the kernel's own count.

What: nanoseconds of a connect's program under policies of 1,000 and 10,000 rules, in audit and enforced, and
the delay of a DNS answer whose addresses a rule for its name grants.

How: a job under each policy; batches of connects, one job after the other, round by round, so that a machine
that gets slower meanwhile does so for all of them. A difference is taken within each round; the figure is its
median. Connects are to the loopback, which the widest of three lookups allows: nothing is found sooner. The
answers come from a resolver in a network of its own.
"""

from __future__ import annotations

import os
import socket
import struct
import subprocess
import sys
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from statistics import median
from typing import NamedTuple

from benchmarks.compare import middle
from benchmarks.figures import LIMITS, Figure
from benchmarks.kernel import key_of, tracing
from benchmarks.meter import Program, metering
from benchmarks.policy import policy_text
from benchmarks.workshop import BenchmarkError, Workshop, hold_to
from demo.namespaces import Namespace
from exporter.jobs.claims import named
from exporter.kernel.tracer import Tracer
from exporter.policy.compile import Compiled, compile_policy
from exporter.policy.parse import parse_policy
from exporter.policy.sections import effective

_ROUNDS = 15
_CONNECTS, _ANSWERS = 2_000, 300
_RESOLVER = """
import socket
with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as server:
    server.bind(("127.0.0.53", 53))
    print("ready", flush=True)
    while True:
        asked, client = server.recvfrom(4096)
        address = b"\\xc0\\x0c\\0\\1\\0\\1\\0\\0\\0\\x3c\\0\\4\\xc0\\0\\2"
        addresses = b"".join(address + bytes([number]) for number in range(4))
        server.sendto(asked[:2] + b"\\x81\\x80\\0\\1\\0\\4\\0\\0\\0\\0" + asked[12:] + addresses, client)
"""


class _Case(NamedTuple):
    rules: int
    mode: str

    @property
    def name(self) -> str:
        return f"{self.rules:,} rules, {self.mode}" if self.rules else "no policy"


_CASES = tuple(_Case(rules, mode) for rules in (1_000, 10_000) for mode in ("audit", "enforce"))
_NONE = _Case(0, "")


def measure(shop: Workshop) -> Iterator[Figure]:
    """Yield figures for connects, for their differences, then for answers."""
    with metering(), tracing() as (tracer, programs):
        times_ns = _connects(shop, tracer, programs["on_connect4"])
        for case, each in times_ns.items():
            yield middle(f"policy, connect, {case.name}", each, "ns")
        for rules in (1_000, 10_000):
            enforcing, auditing = (times_ns[_Case(rules, mode)] for mode in ("enforce", "audit"))
            name = f"policy, enforcing {rules:,} rules rather than auditing"
            yield _difference(name, enforcing, auditing, LIMITS.enforcing_ns)
        many, few = (times_ns[_Case(rules, "enforce")] for rules in (10_000, 1_000))
        yield _difference("policy, 10,000 rules rather than 1,000", many, few, LIMITS.more_rules_ns)
        yield from _answers(shop, tracer, programs["on_answer"])


def _connects(shop: Workshop, tracer: Tracer, program: Program) -> Mapping[_Case, list[float]]:
    """Return the nanoseconds of a connect, by case and round."""
    times_ns: dict[_Case, list[float]] = {case: [] for case in (_NONE, *_CASES)}
    with ExitStack() as stack:
        loads = {case: stack.enter_context(shop.load("connect")) for case in times_ns}
        for scope, (case, load) in enumerate(loads.items(), 1):
            if case.rules:
                hold_to(tracer, scope, _policy(case))
            tracer.processes.follow(key_of(load.process.pid), scope)
            load.do(_CONNECTS)  # warms up
        for _ in range(shop.rounds(_ROUNDS)):
            for case, load in loads.items():
                before = program.runs()
                load.do(_CONNECTS)
                runs = program.runs().since(before)
                times_ns[case].append(runs.time_ns / runs.times)
    return times_ns


def _policy(case: _Case) -> Compiled:
    text = policy_text(case.rules).replace("version: 1", f"version: 1\nmode: {case.mode}", 1)
    return compile_policy(effective(parse_policy(text.encode(), "policy.yaml"), named("release", "build")))


def _difference(name: str, ones: list[float], others: list[float], limit: float) -> Figure:
    differences = [one - other for one, other in zip(ones, others, strict=True)]
    note = f"{min(differences):.0f} to {max(differences):.0f} ns in {len(differences)}"
    return Figure(name, median(differences), "ns", note, limit)


def _answers(shop: Workshop, tracer: Tracer, program: Program) -> Iterator[Figure]:
    """Measure answers. The program also runs when a question arrives at the resolver, but ends at once."""
    with Namespace() as network:
        network.configure_links("link set lo up")
        with (
            _resolver(network),
            network.call(socket.socket, socket.AF_INET, socket.SOCK_DGRAM).result() as asking,
        ):
            for scope, what in ((100, "no policy"), (101, "a rule for its name, 10,000 rules")):
                if scope == 101:
                    hold_to(tracer, scope, _policy(_Case(10_000, "enforce")))
                tracer.processes.follow(key_of(os.getpid()), scope)
                _ask(asking)
                times_us = []
                for _ in range(shop.rounds(_ROUNDS)):
                    before = program.runs()
                    _ask(asking)
                    times_us.append(program.runs().since(before).time_ns / _ANSWERS / 1e3)
                limit = LIMITS.answer_us if scope == 101 else None
                yield middle(f"policy, a DNS answer of four addresses, {what}", times_us, "µs", limit=limit)


@contextmanager
def _resolver(network: Namespace) -> Iterator[None]:
    command = network.command([sys.executable, "-c", _RESOLVER])
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as server:
        try:
            if server.stdout is None or server.stdout.readline() != "ready\n":
                raise BenchmarkError("the resolver doesn't begin")
            yield
        finally:
            server.kill()


def _ask(asking: socket.socket) -> None:
    asking.settimeout(5)
    for number in range(_ANSWERS):
        name = f"host-{number * 10 + 5}".encode()
        question = struct.pack("!HHHHHH", number, 0x100, 1, 0, 0, 0)
        question += bytes([len(name)]) + name + b"\x07example\0\0\1\0\1"
        asking.sendto(question, ("127.0.0.53", 53))
        asking.recv(4096)
