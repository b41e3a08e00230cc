"""What a job left behind, read back."""

from __future__ import annotations

import shlex
from typing import TYPE_CHECKING

from tests.kernel.lab import PORT, V4
from tests.kernel.tracing import CLIENT, Span, spans

if TYPE_CHECKING:
    from pathlib import Path

    from tests.kernel.conftest import Programs
    from tests.kernel.lab import Lab

PEER = f"connect {V4.peer}:{PORT}"
EVIL = "203.0.113.79"
"""Nobody else's: there is no way to it."""
ALL_BUT_EVIL = f'version: 1\nallow: ["any://0.0.0.0/0", "any://[::/0]"]\ndeny: ["{EVIL}"]\n'
"""A policy that denies strangers nothing."""


def act(lab: Lab, programs: Programs, address: str = V4.peer) -> str:
    """A shell command that connects in the lab; it ends with the errno."""
    return shlex.join(str(word) for word in lab.command(programs.act("connect", address, PORT)))


def text_of(summary: str) -> str:
    """A summary without what lets long words break."""
    return summary.replace("<wbr>", "")


def egress(folder: Path) -> list[Span]:
    """What was done to the peer by spans anywhere below `folder`, in order; strangers may be among it.

    Of a whole machine they may also have looked up a name for it, so it is known by its address.
    """
    found = [span for path in folder.rglob("traces*.jsonl") for span in spans(path)]
    acts = (span for span in found if span.kind == CLIENT)
    wanted = (span for span in acts if span.attributes.get("network.peer.address") == V4.peer)
    return sorted(wanted, key=lambda span: span.started_ns)
