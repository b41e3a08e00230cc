"""The results of a kernel's tests, feature by feature."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

FEATURES = {
    "offsets": "Members of kernel structs found in its BTF",
    "verifier": "Every program taken by the verifier, from either compiler",
    "doctor": "`doctor` misses nothing; it attaches and detaches them",
    "connects": "Connects, IPv4 and IPv6",
    "udp": "UDP, IPv4 and IPv6",
    "lineage": "Lineage",
    "account": "The account adds up",
    "denial": "Denial with EPERM; nothing arrives",
    "names": "Names open addresses, others stay closed",
    "watch": "`watch`: jobs side by side, each under its own policy",
    "adoption": "`watch --adopt` after a SIGKILL",
    "frames": "Frames of packet sockets stopped",
    "sends": "Packet sockets refused where they send, whatever their network",
    "creation": "Packet, XDP and vsock sockets refused when an enforced job makes them",
    "memory": "Other processes' memory: reaching for it is told, and refused to enforced jobs",
    "sockets": "Connects to others' Unix sockets: told, and refused where a policy denies them",
    "tampering": "Tampering told, by hooks for these acts alone where the kernel has them",
    "demo": "The demo",
    "refusal": "A kernel that is too old is refused, with status 91",
}
"""Rows of the table; each test that carries `everywhere` names one."""
ON_A_KERNEL_TOO_OLD: tuple[str, ...] = ("refusal",)
ON_OTHERS = tuple(feature for feature in FEATURES if feature not in ON_A_KERNEL_TOO_OLD)
"""The features of all other kernels. All stock ones take programs at their security hooks: one that took none
would fail here."""
AT_SECURITY_HOOKS = frozenset({"sends", "creation", "memory", "sockets"})
"""Of these, the features of kernels that take programs there."""
WITHOUT_BOOT = ("offsets",)


@dataclass(frozen=True)
class Check:
    """One thing that was tried on a kernel."""

    feature: str
    name: str
    ok: bool
    why: str = ""
    """Why it isn't ok."""


@dataclass(frozen=True)
class Outcome:
    """The results of one kernel."""

    name: str
    release: str
    """The kernel's release; empty where it isn't known."""
    checks: tuple[Check, ...] = ()
    not_run: str = ""
    """Why nothing was tried; empty where something was."""
    compilers: tuple[str, ...] = ()
    seconds: Mapping[str, float] = field(default_factory=dict)
    """The seconds that each stage took."""

    @property
    def failed(self) -> list[Check]:
        """The checks that aren't ok."""
        return [check for check in self.checks if not check.ok]

    def cell(self, feature: str) -> str:
        """Return the text for `feature` in the table."""
        found = [check.ok for check in self.checks if check.feature == feature]
        if not found:
            return "not run"
        return "yes" if all(found) else f"no ({found.count(False)} of {len(found)} failed)"

    def as_json(self) -> dict[str, Any]:
        """Return the outcome as fields, for the page."""
        cells = {feature: self.cell(feature) for feature in FEATURES}
        return {
            "name": self.name,
            "release": self.release,
            "day": datetime.now(UTC).date().isoformat(),
            "compilers": list(self.compilers),
            "not_run": self.not_run,
            "seconds": round(sum(self.seconds.values())),
            "features": cells,
        }


def checks_in(junit: Path) -> Iterator[Check]:
    """Yield the checks in the file that pytest wrote; a test that was skipped isn't ok."""
    for case in ElementTree.parse(junit).getroot().iter("testcase"):  # noqa: S314 - our own pytest's
        features = [each.get("value") for each in case.iter("property") if each.get("name") == "feature"]
        bad = next((each for kind in ("failure", "error", "skipped") for each in case.iter(kind)), None)
        why = "" if bad is None else "\n".join(filter(None, [bad.get("message"), bad.text]))
        for feature in features or ["(none)"]:
            yield Check(str(feature), str(case.get("name")), bad is None, why)


def unseen(checks: Iterable[Check], expected: Iterable[str]) -> Iterator[Check]:
    """Yield a failure for each feature without a check: what isn't tried isn't known to work."""
    seen = {check.feature for check in checks}
    for feature in expected:
        if feature not in seen:
            yield Check(feature, feature, ok=False, why="nothing of it was tried")
