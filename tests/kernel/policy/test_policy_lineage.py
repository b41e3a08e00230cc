"""Rules with `lineage`: what has the executable in its chain is allowed, and nothing else."""

from __future__ import annotations

from ipaddress import ip_address
from typing import TYPE_CHECKING

import pytest

from exporter.common.errors import KernelError
from exporter.events.facts import RULE_OF_NAMES, Acted, Verdict
from exporter.pipeline.ruling import terms_of
from exporter.policy.compile import compile_policy
from exporter.policy.entries import EXECUTABLES_MAX
from tests.kernel.kernel_side import KernelSide, kernel_side
from tests.kernel.lab import NETWORKS, PORT, RUN_LIMIT_S, V4, Lab, Network
from tests.kernel.lineage_policies import ALLOWED, DENIED, TIMEOUT, WOULD_DENY, outcome, policy
from tests.unit.policy.files import rules
from tests.unit.policy.kernel_model import packed

if TYPE_CHECKING:
    from tests.kernel.conftest import Programs

pytestmark = pytest.mark.kernel


@NETWORKS
@pytest.mark.parametrize("verb", ["connect", "udp-sendto"])
def test_what_has_the_executable_in_its_chain_is_allowed(
    lab: Lab, programs: Programs, kernel: KernelSide, network: Network, verb: str
) -> None:
    act = programs.act(verb, network.evil, PORT)
    with lab.watch() as watch:
        told = outcome(kernel, lab, [*TIMEOUT, *act], policy("timeout", network=network))
    assert told == ("ok\n", {ALLOWED})
    assert watch.arrivals.packets_to(network.evil) > 0


@NETWORKS
@pytest.mark.parametrize("verb", ["connect", "udp-sendto"])
def test_what_lacks_it_is_denied(
    lab: Lab, programs: Programs, kernel: KernelSide, network: Network, verb: str
) -> None:
    act = programs.act(verb, network.evil, PORT)
    with lab.watch() as watch:
        told = outcome(kernel, lab, ["env", *act], policy("timeout", network=network))
    assert told == ("EPERM\n", {DENIED})
    assert watch.arrivals.packets_to(network.evil) == 0


@NETWORKS
def test_audit_tells_the_two_apart(
    lab: Lab, programs: Programs, kernel: KernelSide, network: Network
) -> None:
    act = programs.act("connect", network.evil, PORT)
    compiled = policy("timeout", network=network, mode="audit")
    assert outcome(kernel, lab, [*TIMEOUT, *act], compiled) == ("ok\n", {ALLOWED})
    assert outcome(kernel, lab, ["env", *act], compiled) == ("ok\n", {WOULD_DENY})


@pytest.mark.parametrize("shape", ["double-fork", "setsid-fork", "clone-parent", "vfork", "thread-exec"])
def test_what_it_leaves_to_others_still_has_it_in_its_chain(
    lab: Lab, programs: Programs, kernel: KernelSide, shape: str
) -> None:
    command = programs.lineage(shape, *programs.act("connect", V4.evil, PORT))
    assert outcome(kernel, lab, [*TIMEOUT, *command], policy("timeout")) == ("ok\n", {ALLOWED})
    assert outcome(kernel, lab, command, policy("timeout")) == ("EPERM\n", {DENIED})


def test_an_executable_before_it_in_the_same_process_is_in_the_chain(
    lab: Lab, programs: Programs, kernel: KernelSide
) -> None:
    command = ["env", "--", *programs.act("connect", V4.evil, PORT)]
    assert outcome(kernel, lab, command, policy("env")) == ("ok\n", {ALLOWED})


def test_a_sibling_is_not_in_the_chain(lab: Lab, programs: Programs, kernel: KernelSide) -> None:
    command = ["sh", "-c", 'timeout 60 true; "$@"', "sh", *programs.act("connect", V4.evil, PORT)]
    assert outcome(kernel, lab, command, policy("timeout")) == ("EPERM\n", {DENIED})


@pytest.mark.parametrize(
    ("lineage", "expected"),
    [
        (["timeout", "env"], "ok\n"),
        (["/usr/bin/timeout", "/usr/bin/env", "timeout"], "ok\n"),
        (["timeout", "/usr/bin/nice"], "EPERM\n"),
        (["no-such-program", "timeout"], "EPERM\n"),
        (["/usr/sbin/timeout"], "EPERM\n"),
    ],
)
def test_all_of_a_lineage_must_be_there(
    lab: Lab, programs: Programs, kernel: KernelSide, lineage: list[str], expected: str
) -> None:
    command = ["env", *TIMEOUT, *programs.act("connect", V4.evil, PORT)]
    stdout, _ = outcome(kernel, lab, command, policy(*lineage))
    assert stdout == expected


def test_a_deny_for_a_lineage_hits_that_alone(lab: Lab, programs: Programs, kernel: KernelSide) -> None:
    denied = f"{{host: {V4.evil}, lineage: [timeout]}}"
    compiled = compile_policy(rules(allow=f"any://{V4.evil}", deny=denied, more="mode: enforce\n"))
    act = programs.act("connect", V4.evil, PORT)
    assert outcome(kernel, lab, act, compiled) == ("ok\n", {ALLOWED})
    assert outcome(kernel, lab, [*TIMEOUT, *act], compiled) == ("EPERM\n", {(Verdict.DENY, 2)})


def test_a_name_is_allowed_to_a_lineage(lab: Lab, programs: Programs, kernel: KernelSide) -> None:
    """Which rule that was is known from the mask that comes with the act."""
    allow = f"""
        {{host: registry.example, ports: [{PORT}], lineage: [no-such-program]}}
        {{host: "*.example", ports: [{PORT}], lineage: [timeout]}}
    """
    written = kernel.tracer.scopes.write(compile_policy(rules(allow=allow, more="mode: enforce\n")))
    compiled = written.policy
    act, peer, told = programs.act("connect", V4.evil, PORT), packed(ip_address(V4.evil)), []
    for command in (act, [*TIMEOUT, *act]):
        with kernel.beginning(lab, command) as (child, _):
            kernel.hold(kernel.scope, compiled, [(peer, ["registry.example"])])
            stdout = child.communicate("\n", timeout=RUN_LIMIT_S)[0]
        acts = [e for e in kernel.drain() if isinstance(e, Acted) and e.scope == kernel.scope]
        rule = terms_of(compiled, "policy.yaml").rule_for(acts[0], ["registry.example"])
        told.append((stdout, acts[0].verdict, acts[0].rule, rule))
    assert told == [
        ("EPERM\n", Verdict.DENY, 0, RULE_OF_NAMES),
        ("ok\n", Verdict.ALLOW, RULE_OF_NAMES, 2),
    ]


def test_another_policy_takes_nothing_from_what_a_process_has_in_its_chain(
    lab: Lab, programs: Programs, kernel: KernelSide
) -> None:
    """Its bits have other numbers there, and it comes while the job runs."""
    act = programs.act("udp-sendto", V4.evil, PORT)
    twice = ["timeout", "60", "sh", "-c", '"$@"; read -r _; "$@"', "sh", *act]
    others = "\n".join(f"{{host: 192.0.2.{n}, lineage: [{name}]}}" for n, name in enumerate(("nice", "env")))
    allow = f"{others}\n{{host: {V4.evil}, protocol: udp, ports: [{PORT}], lineage: [timeout]}}"
    next_policy = compile_policy(rules(allow=allow, more="mode: enforce\n"))
    first = f"{{host: {V4.evil}, protocol: udp, ports: [{PORT}], lineage: [timeout]}}"
    with kernel.beginning(lab, twice, compile_policy(rules(allow=first, more="mode: enforce\n"))) as (
        child,
        _,
    ):
        assert child.stdin is not None
        assert child.stdout is not None
        child.stdin.write("\n")
        child.stdin.flush()
        assert child.stdout.readline() == "ok\n"
        assert next_policy.executables["timeout"] == 2
        kernel.hold(kernel.scope, next_policy)
        assert child.communicate("\n", timeout=RUN_LIMIT_S)[0] == "ok\n"


def test_more_executables_than_there_are_bits_are_refused_whatever_policies_have_them(
    lab: Lab, programs: Programs
) -> None:
    command = [*TIMEOUT, *programs.act("connect", V4.evil, PORT)]
    with kernel_side() as kernel:
        kernel.hold(kernel.scope, policy(*(f"tool-{n}" for n in range(EXECUTABLES_MAX - 1))))
        assert outcome(kernel, lab, command, policy("tool-1", "timeout")) == ("EPERM\n", {DENIED})
        assert outcome(kernel, lab, command, policy("timeout")) == ("ok\n", {ALLOWED})
        with pytest.raises(KernelError, match="more than 64 executables in `lineage`, over all policies"):
            kernel.hold(kernel.scope, policy("one-more"))
        assert outcome(kernel, lab, command, policy("timeout")) == ("ok\n", {ALLOWED})
