"""Rules with `lineage`, and jobs under them."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from exporter.events.facts import Acted, Verdict
from exporter.policy.compile import Compiled, compile_policy
from tests.unit.policy.files import rules

from .kernel_side import KernelSide
from .lab import RUN_LIMIT_S, V4, Lab, Network

if TYPE_CHECKING:
    from collections.abc import Sequence

TIMEOUT = ["timeout", "60"]
"""An executable of the system that runs what follows; COMMAND is then in its chain."""
ALLOWED, DENIED, WOULD_DENY = (Verdict.ALLOW, 1), (Verdict.DENY, 0), (Verdict.AUDIT, 0)


def policy(*lineage: str | Path, network: Network = V4, mode: str = "enforce") -> Compiled:
    """`evil` is allowed to what has all of `lineage` in its chain."""
    named = ", ".join(map(str, lineage))
    allow = f'{{host: "{network.evil}", protocol: any, lineage: [{named}]}}'
    return compile_policy(rules(allow=allow, more=f"mode: {mode}\n"))


def outcome(
    kernel: KernelSide, lab: Lab, command: Sequence[str], compiled: Compiled
) -> tuple[str, set[tuple[Verdict, int]]]:
    """What COMMAND says, as a job under a policy, and how all acts of the job were decided."""
    with kernel.beginning(lab, command, compiled) as (child, _):
        stdout, stderr = child.communicate("\n", timeout=RUN_LIMIT_S)
    assert stderr == ""
    acts = [event for event in kernel.drain() if isinstance(event, Acted) and event.scope == kernel.scope]
    return stdout, {(event.verdict, event.rule) for event in acts}
