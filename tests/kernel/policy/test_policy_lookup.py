"""The kernel's lookup decides as its model does, for any policy: the verdict and the rule."""

from __future__ import annotations

import subprocess
import sys
from collections import defaultdict
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from itertools import count

import pytest
from hypothesis import given, settings

import tests.examples  # noqa: F401
from exporter.events import wire
from exporter.events.facts import RULE_OF_NAMES, Acted, Verdict
from exporter.kernel.bpf import U32
from exporter.kernel.maps.procs import proc_of
from exporter.kernel.maps.verdicts import MAPS, Peer, Process, Verdicts
from exporter.kernel.maps.verdicts import PolicyAnswer as Found
from exporter.kernel.pins import open_map
from exporter.pipeline.procfs import key_of_child
from exporter.policy.compile import compile_policy
from exporter.policy.decide import EgressRequest
from exporter.policy.entries import EntryVerdict as PolicyAnswer
from exporter.policy.model import Address, JobPolicy
from tests.kernel.kernel_side import KernelSide, kernel_side
from tests.kernel.lab import Lab
from tests.unit.policy.kernel_model import Kernel, Told, held_mask, packed
from tests.unit.policy.strategies import ADDRESSES, answers, chains, policies

pytestmark = pytest.mark.kernel

ACTOR = """
import os, socket, sys
for line in sys.stdin:
    if os.fork() == 0:
        for protocol, address, port in (act.split() for act in line.split(",")):
            family = socket.AF_INET6 if ":" in address else socket.AF_INET
            kind = socket.SOCK_DGRAM if protocol == "17" else socket.SOCK_STREAM
            with socket.socket(family, kind | socket.SOCK_NONBLOCK, int(protocol)) as acting:
                try:
                    if kind == socket.SOCK_DGRAM:
                        acting.sendto(b"x", (address, int(port)))
                    else:
                        acting.connect((address, int(port)))
                except OSError:
                    pass
        os._exit(0)
    os.wait()
    print("done", flush=True)
"""
"""A process for each line: told apart with everything it connects to, whatever was before."""
ACTS = [
    EgressRequest(address, protocol, port)
    for address in ADDRESSES
    for protocol in (6, 17, 262)
    for port in (443, 53, 8080)
]


class Actor:
    """A process of a job that acts when it is told to."""

    def __init__(self, child: subprocess.Popen[str], kernel: KernelSide) -> None:
        self._child = child
        self._process = key_of_child(child.pid)
        self._kernel = kernel
        self._scopes = count(1)

    def act(self, policy: JobPolicy, chain: list[str], answered: list[tuple[str, Address]]) -> None:
        """Do all of ACTS under `policy`, with `chain` above it, after `answered`; as the model does?"""
        compiled, scope = compile_policy(policy), next(self._scopes)
        model = Kernel(compiled)
        for name, address in answered:
            model.answer(name, address)
        held = held_mask(compiled, chain)
        tracer = self._kernel.tracer
        written = tracer.scopes.write(compiled)
        tracer.scopes.hold(scope, written.number, written.policy, seeds(answered))
        tracer.processes.follow(self._process, scope)
        mask, procs = held_mask(written.policy, chain), tracer.maps["procs"]
        entry = proc_of(procs, self._process)
        assert entry is not None
        # As after the execs of its chain.
        procs.update(U32.pack(self._process.pid), wire.PROC_VALUE.pack(*entry._replace(held=mask)))
        assert self._child.stdin is not None
        assert self._child.stdout is not None
        acts = ",".join(f"{act.protocol} {act.address} {act.port}" for act in ACTS)
        self._child.stdin.write(f"{acts}\n")
        self._child.stdin.flush()
        assert self._child.stdout.readline() == "done\n"
        events = [e for e in self._kernel.drain() if isinstance(e, Acted) and e.scope == scope]
        told = [(event.peer, event.peer_port, event.verdict, event.rule) for event in events]
        decided = [model.decide(act, held) for act in ACTS]
        assert told == [expected(act, each) for act, each in zip(ACTS, decided, strict=True)]
        assert self._found_out(scope, mask) == [
            Found(each.verdict, RULE_OF_NAMES if each.is_by_name else each.rule) for each in decided
        ]

    def _found_out(self, scope: int, mask: int) -> list[Found | None]:
        """What user space makes of the same maps."""
        instance = self._kernel.tracer.directory
        with ExitStack() as stack:
            verdicts = Verdicts({name: stack.enter_context(open_map(instance, name)) for name in MAPS})
            peers = [Peer(packed(act.address), act.port, act.protocol) for act in ACTS if act.address]
            return [verdicts.decide(scope, peer, Process(mask)) for peer in peers]


def seeds(answered: list[tuple[str, Address]]) -> list[tuple[bytes, list[str]]]:
    """The names of each address."""
    names: defaultdict[bytes, list[str]] = defaultdict(list)
    for name, address in answered:
        names[packed(address)].append(name)
    return list(names.items())


def expected(act: EgressRequest, decided: Told) -> tuple[bytes, int, Verdict, int]:
    """In audit mode, which all drawn policies have."""
    assert act.address is not None
    verdict = Verdict.ALLOW if decided.verdict is PolicyAnswer.ALLOW else Verdict.AUDIT
    rule = RULE_OF_NAMES if decided.is_by_name else decided.rule
    return packed(act.address), act.port, verdict, rule


@contextmanager
def acting(lab: Lab, kernel: KernelSide) -> Iterator[Actor]:
    pipe = subprocess.PIPE
    command = lab.command([sys.executable, "-c", ACTOR])
    with subprocess.Popen(command, stdin=pipe, stdout=pipe, text=True) as child:
        yield Actor(child, kernel)


@pytest.fixture(scope="module")
def actor(lab: Lab) -> Iterator[Actor]:
    with kernel_side() as kernel, acting(lab, kernel) as made:
        yield made


@settings(max_examples=100, deadline=None)
@given(policies(), chains, answers)
def test_an_address_gets_the_verdict_and_the_rule_of_the_model(
    actor: Actor, policy: JobPolicy, chain: list[str], answered: list[tuple[str, Address]]
) -> None:
    actor.act(policy, chain, answered)
