"""A policy that takes over from another one: whose answers grant what, while that happens and behind it."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, NamedTuple

import pytest

from exporter.common.clock import boot_ns
from tests.kernel.dns_exchange import NAME, Asking, bracketed, policy
from tests.kernel.held_job import DENIED, SENT, HeldJob, compiled, connect, question, record, reply
from tests.kernel.lab import NETWORKS, PORT, Lab, Network
from tests.kernel.lookups import packed

if TYPE_CHECKING:
    from exporter.kernel.maps.policies import WrittenPolicy

pytestmark = pytest.mark.kernel

RESOLVER = "dns.example"


class Trust(NamedTuple):
    """What the policy that takes over says of the resolver."""

    rule: str
    """With the resolver's address in place of `{}`; empty: no rule lets it be asked."""
    reached: str
    """What comes of a connect to where its answers lead."""


TRUSTS = pytest.mark.parametrize(
    "trust",
    [
        Trust("udp://{}:53", SENT),
        Trust(f"udp://{RESOLVER}:53", SENT),
        Trust("udp://{}:54", DENIED),
        Trust("", DENIED),
    ],
    ids=["by-address", "by-name", "at-another-port", "none"],
)


def prepared(job: HeldJob, network: Network, trust: Trust) -> WrittenPolicy:
    """Have the job's next policy prepared: it has a rule for the name, and what it says of the resolver."""
    rules = [trust.rule.format(bracketed(network.evil))] if trust.rule else []
    allow = json.dumps([f"any://{bracketed(network.build)}", *rules, f"{NAME}:{PORT}"])
    scopes = job.kernel.tracer.scopes
    written = scopes.write(compiled(f"mode: enforce\nallow: {allow}\n"))
    scopes.prepare(job.scope, written.number, written.policy)
    if RESOLVER in trust.rule:
        known = {packed(network.evil): ({RESOLVER}, boot_ns())}
        scopes.carry_over(job.scope, 0, written.number, written.policy.named, known)
    return written


def take_over(job: HeldJob, written: WrittenPolicy) -> None:
    job.kernel.tracer.scopes.hold(job.scope, written.number, written.policy)


@NETWORKS
@TRUSTS
def test_while_a_policy_is_about_to_take_over_answers_grant_by_the_resolvers_of_each(
    job: HeldJob, lab: Lab, network: Network, asking: Asking, trust: Trust
) -> None:
    job.hold_to_text(policy(network, f"{NAME}:{PORT}"))
    following = prepared(job, network, trust)
    asking.ask(NAME, record(network.peer))
    assert connect(lab.build, network.peer, PORT) == SENT, "the one that is in force trusts it"
    take_over(job, following)
    assert connect(lab.build, network.peer, PORT) == trust.reached


@NETWORKS
@TRUSTS
def test_an_answer_that_comes_late_grants_by_the_policy_of_then(
    job: HeldJob, lab: Lab, network: Network, asking: Asking, trust: Trust
) -> None:
    """Also one to a question that is asked then, by a socket that was connected before."""
    job.hold_to_text(policy(network, f"{NAME}:{PORT}"))
    asking.client.connect(asking.resolver.getsockname())
    asking.client.send(question(NAME))
    asked, client = asking.resolver.recvfrom(4096)
    take_over(job, prepared(job, network, trust))
    asking.resolver.sendto(reply(asked, record(network.peer)), client)
    assert asking.client.recv(4096) == reply(asked, record(network.peer))
    assert connect(lab.build, network.peer, PORT) == trust.reached
    asking.client.send(question(NAME, txid=8))
    asked, client = asking.resolver.recvfrom(4096)
    asking.resolver.sendto(reply(asked, record(network.unreachable)), client)
    asking.client.recv(4096)
    reached = connect(lab.build, network.unreachable, PORT)
    assert (reached == DENIED) == (trust.reached == DENIED)
