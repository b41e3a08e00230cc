"""What it costs a step that it is held until its job is known.

What: how much longer the first connect of a step takes where `watch` enforces a policy, to an address that
every job may reach; how many first connects to an address that no job may reach went through; and how long a
step waits for the rules of its own section, alone and beside processes that an earlier step left running.

How: an agent in a network of its own makes step after step, each a job of its own that does nothing but
connect. The first figure compares these steps with as many before anything is watched: it is a difference of
medians, and of 99th percentiles.
"""

from __future__ import annotations

import errno
import json
import os
import shutil
import socket
import subprocess
import sys
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from statistics import median, quantiles
from typing import NamedTuple, Self

from benchmarks.figures import LIMITS, Figure
from benchmarks.watching import watching
from benchmarks.workshop import BenchmarkError, Workshop
from demo.namespaces import Namespace

_STEPS, _KNOWN_STEPS, _WARM_UP = 1000, 100, 20
_US, _MS = 1e3, 1e6
_PORT = 8080
_EVERYBODYS, _OWN, _DENIED = "192.0.2.1", "198.51.100.1", "203.0.113.1"
_POLICY = f"""\
version: 1
mode: enforce
allow: ["{_EVERYBODYS}:{_PORT}"]
trust_names: true
jobs:
  "group/more": {{allow: ["{_OWN}:{_PORT}"]}}
"""
_LONG = "$(yes -- --key=word | head -n 3000 | tr '\\n' ' ')"
_STORMS = {
    "alone": (),
    "beside forks": ("while :; do (:); done",) * 2,
    "beside long command lines": (f"while :; do /bin/true {_LONG}; done",) * 2,
    "beside loops": ("while :; do :; done",) * 2,
}
_AGENT = """
import json, subprocess, sys
left = []
for line in sys.stdin:
    variables, command, is_left_running = json.loads(line)
    if is_left_running:
        left.append(subprocess.Popen(command, env=variables))
        said = ""
    else:
        said = subprocess.run(command, env=variables, stdout=subprocess.PIPE, text=True).stdout
    print(json.dumps(said), flush=True)
for each in left:
    each.kill()
    each.wait()
"""


class _Connected(NamedTuple):
    """A step's answer: what load.c printed."""

    took_ns: int
    error: int
    """An errno, or 0."""


def measure(shop: Workshop) -> Iterator[Figure]:
    """Measure the latency, the connects that went through, and the wait for a step's own policy."""
    count = 20 if shop.is_quick else _STEPS
    policy = shop.folder / "steps.yaml"
    policy.write_text(_POLICY)
    with _network() as network:
        with _Agent(shop, network) as agent:
            plain = agent.connects("first", _EVERYBODYS, count)
        with (
            _Agent(shop, network) as agent,
            watching(shop, shop.folder / "steps", f"--policy={policy}", f"--agent={agent.name}"),
        ):
            agent.connects("first", _EVERYBODYS, _WARM_UP)
            held = agent.connects("first", _EVERYBODYS, count)
            denied = agent.connects("first", _DENIED, count)
        yield from _latency(plain, held)
        through = sum(one.error != errno.EPERM for one in denied)
        yield Figure(f"first connects of {count:,} steps that went through", through, "", limit=0)
        for name, storm in _STORMS.items():
            yield _known(shop, network, policy, name, storm)


def _latency(plain: Sequence[_Connected], held: Sequence[_Connected]) -> Iterator[Figure]:
    if any(one.error for one in (*plain, *held)):
        raise BenchmarkError("a step didn't get to what every job may reach")
    before, after = ([one.took_ns / _US for one in each] for each in (plain, held))
    note = f"{median(after):.0f} instead of {median(before):.0f} µs"
    yield Figure("a step's first connect, longer by", median(after) - median(before), "µs", note)
    most_before, most_after = (quantiles(each, n=100)[-1] for each in (before, after))
    note = f"{most_after:.0f} instead of {most_before:.0f} µs"
    limit_us = LIMITS.first_connect_us
    yield Figure(
        "a step's first connect, 99th percentile, longer by", most_after - most_before, "µs", note, limit_us
    )


def _known(shop: Workshop, network: Namespace, policy: Path, name: str, storm: Sequence[str]) -> Figure:
    count = 5 if shop.is_quick else _KNOWN_STEPS
    folder = shop.folder / name.replace(" ", "-")
    with (
        _Agent(shop, network) as agent,
        watching(shop, folder, f"--policy={policy}", f"--agent={agent.name}"),
    ):
        for each in storm:
            agent.leave_running(["sh", "-c", each])
        waited = agent.connects("until", _OWN, count, project="group/more")
    if waited[-1].error:
        raise BenchmarkError(f"a step was still held after ten seconds, {name}")
    took_ms = sorted(one.took_ns / _MS for one in waited)
    note = f"99th percentile {quantiles(took_ms, n=100)[-1]:.1f}, at most {took_ms[-1]:.1f}"
    return Figure(f"until a step's own policy holds, {name}", median(took_ms), "ms", note)


@contextmanager
def _network() -> Iterator[Namespace]:
    """Make a network in which the three addresses answer."""
    with Namespace() as network, ExitStack() as stack:
        network.configure_links(
            "link set lo up", *(f"addr add {each}/32 dev lo" for each in (_EVERYBODYS, _OWN, _DENIED))
        )
        for address in (_EVERYBODYS, _OWN, _DENIED):
            stack.enter_context(network.call(_listen, address).result())
        yield network


def _listen(address: str) -> socket.socket:
    """Listen at `address`. Nobody accepts: the backlog has room for all connects."""
    return socket.create_server((address, _PORT), backlog=1 << 16)


class _Agent:
    """A process that makes steps, as CI agents do; its executable has a name of its own."""

    def __init__(self, shop: Workshop, network: Namespace) -> None:
        self.name = f"agent-of-{os.getpid()}"
        self._number = 0
        self._load = shop.plain()[0]
        executable = shop.folder / self.name
        if not executable.exists():
            shutil.copy(Path(sys.executable).resolve(), executable)
        self._command = network.command([str(executable), "-c", _AGENT])

    def __enter__(self) -> Self:
        pipe = subprocess.PIPE
        self._process = subprocess.Popen(self._command, stdin=pipe, stdout=pipe, text=True)
        return self

    def __exit__(self, *_: object) -> None:
        """End it, and the steps that it left running."""
        self._process.communicate()

    def connects(self, kind: str, address: str, count: int, project: str = "group/plain") -> list[_Connected]:
        """Run `count` steps one after the other, each a job of its own; return what their load.c printed.

        The first step that waits in vain is the last one.
        """
        command = [self._load, kind, address, str(_PORT)]
        told: list[_Connected] = []
        while len(told) < count and not (kind == "until" and told and told[-1].error):
            said = self._ask(command, project, is_left_running=False)
            told.append(_Connected(*map(int, said.split())))
        return told

    def leave_running(self, command: list[str]) -> None:
        """Start a step that goes on until the agent ends."""
        self._ask(command, "group/plain", is_left_running=True)

    def _ask(self, command: list[str], project: str, *, is_left_running: bool) -> str:
        self._number += 1
        variables = {
            "PATH": os.environ.get("PATH", os.defpath),
            "GITLAB_CI": "true",
            "CI_SERVER_URL": "https://gitlab.example",
            "CI_PROJECT_PATH": project,
            "CI_PIPELINE_ID": str(self._number),
            "CI_JOB_ID": str(self._number),
            "CI_JOB_NAME": "build",
        }
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.write(json.dumps([variables, command, is_left_running]) + "\n")
        self._process.stdin.flush()
        answer: str = json.loads(self._process.stdout.readline())
        return answer
