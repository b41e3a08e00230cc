"""deploy/systemd/ci-egress.service, read as systemd reads it."""

from __future__ import annotations

from collections import defaultdict
from pathlib import Path

from tests.checkout import ROOT

UNIT = ROOT / "deploy/systemd/ci-egress.service"
SERVICE = Path("usr/lib/systemd/system/ci-egress.service")
"""Where the package has it."""

NUMBERS = {
    "CAP_DAC_READ_SEARCH": 2,
    "CAP_KILL": 5,
    "CAP_NET_ADMIN": 12,
    "CAP_SYS_PTRACE": 19,
    "CAP_SYS_ADMIN": 21,
    "CAP_SYS_NICE": 23,
    "CAP_PERFMON": 38,
    "CAP_BPF": 39,
}
"""include/uapi/linux/capability.h"""


def settings(text: str) -> dict[str, list[str]]:
    """The values of each setting of a unit, in order."""
    found: defaultdict[str, list[str]] = defaultdict(list)
    for line in text.splitlines():
        name, equals, value = line.partition("=")
        if equals and not line.startswith(("#", ";")):
            found[name].append(value)
    return dict(found)


def capabilities(text: str) -> set[str]:
    """Those of a unit's bounding set."""
    (value,) = settings(text)["CapabilityBoundingSet"]
    return set(value.split())


def capability_mask(text: str) -> int:
    """The same as the kernel shows them."""
    return sum(1 << NUMBERS[name] for name in capabilities(text))
