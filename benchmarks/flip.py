"""How soon enforcement takes effect once it is turned on.

What: the time from where `ci-egress enforce on` begins to change a job's mode to the end of the first send
that fails for it, under a policy of 10,000 rules. It doesn't depend on how many there are: one entry is
written.

How: a process of a job sends datagrams until one is denied, in a network namespace without a route, so that
none leaves; both sides look at the monotonic clock. The median of some rounds.
"""

from __future__ import annotations

import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager

from benchmarks.compare import middle
from benchmarks.figures import LIMITS, Figure
from benchmarks.workshop import BenchmarkError, Workshop, hold_to
from exporter.events.facts import ProcessKey
from exporter.jobs.claims import named
from exporter.kernel.instances.control import InstanceJob, instances, jobs_of, matching, switch
from exporter.kernel.instances.loading import loading
from exporter.kernel.maps.registry import JobMode, Registered
from exporter.pipeline.procfs import started_ns
from exporter.policy.compile import compile_policy
from exporter.policy.parse import parse_policy
from exporter.policy.sections import effective

_ROUNDS, _RULES, _SCOPE = 25, 10_000, 1
_MS = 1e6
_BEFORE_S = 0.01
"""Seconds in which the process begins to send."""
_SENDING = """
import socket, sys, time
for _ in sys.stdin:
    print("begins", flush=True)
    is_denied = False
    while not is_denied:
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sending:
            try:
                sending.sendto(b"", ("203.0.113.1", 9))
            except PermissionError:
                is_denied = True
            except OSError:
                pass
    print(time.monotonic_ns(), flush=True)
"""


def measure(shop: Workshop) -> Iterator[Figure]:
    """Yield one figure."""
    rules = "".join(f'  - "10.{number >> 8}.{number & 255}.0/24"\n' for number in range(_RULES))
    policy = parse_policy(f"version: 1\nallow:\n{rules}".encode(), "policy.yaml")
    compiled = compile_policy(effective(policy, named("release", "build")))
    with loading() as kernel, _sending() as child:
        tracer = kernel.ready()
        started = started_ns(child.pid)
        if started is None:
            raise BenchmarkError("the process that sends is gone")
        tracer.register(_SCOPE, Registered("release", "build", 1, 1, _RULES, JobMode.AUDIT))
        hold_to(tracer, _SCOPE, compiled)
        tracer.processes.follow(ProcessKey(child.pid, started), _SCOPE)
        (job,) = jobs_of(matching(instances(), tracer.name))
        times_ms = [_flip_ms(child, job) for _ in range(shop.rounds(_ROUNDS))]
    yield middle(f"turning enforcement on, {_RULES:,} rules", times_ms, "ms", limit=LIMITS.flip_ms)


def _flip_ms(child: subprocess.Popen[str], job: InstanceJob) -> float:
    switch(job, JobMode.AUDIT, by=0)
    assert child.stdin is not None
    assert child.stdout is not None
    child.stdin.write("\n")
    child.stdin.flush()
    child.stdout.readline()
    time.sleep(_BEFORE_S)
    began_ns = time.monotonic_ns()
    switch(job, JobMode.ENFORCE, by=0)
    return (int(child.stdout.readline()) - began_ns) / _MS


@contextmanager
def _sending() -> Iterator[subprocess.Popen[str]]:
    pipe = subprocess.PIPE
    command = ["unshare", "--net", sys.executable, "-c", _SENDING]
    with subprocess.Popen(command, stdin=pipe, stdout=pipe, text=True) as child:
        yield child
        child.communicate()
