"""Generate exporter/kernel/programs/hooks.py from the lines in bpf/ that say where each program is attached.

`python -m tools.hooks` writes the file; with `--check` it only says whether it is up to date (exit 1 if not).
"""

from __future__ import annotations

import re
import sys
from collections.abc import Iterator
from typing import NamedTuple

from exporter.kernel.compilation.sources import bpf_directory, source_text
from exporter.kernel.programs.objects import AttachType, ProgramType
from tools.generated import ROOT, write_or_check

TARGET = ROOT / "exporter" / "kernel" / "programs" / "hooks.py"

_LINE = re.compile(
    r"^(?P<kind>HOOK(?:_IF_THERE)?(?:_UNLESS)?|TAIL_CALLED|HOOK_AND_TAIL_CALLED|RESERVE)"
    r'\("(?P<hook>[\w/]+)"(?:, (?P<map>\w+), (?P<place>\d+)|(?P<others>(?:, \w+)+))?\)'
    r"\nint (?P<program>\w+)\(",
    re.MULTILINE,
)
_AT_EXECS = "raw_tp/sched_process_exec"
_RAW_TRACEPOINT, _SECURITY_HOOK, _FUNCTION_EXIT = "raw_tp/", "lsm/", "fexit/"
_OF_NEWER_KERNELS = "_unix"
_KINDS = (
    *("ContextHook", "Continuation", "FunctionExit", "Hook", "Program", "Reserve", "SecurityHook"),
    "Tracepoint",
)
# libbpf's names of hooks: the types that the kernel has for them.
_TYPES = {
    "cgroup/connect4": (ProgramType.CGROUP_SOCK_ADDR, AttachType.INET4_CONNECT),
    "cgroup/connect6": (ProgramType.CGROUP_SOCK_ADDR, AttachType.INET6_CONNECT),
    "cgroup/sendmsg4": (ProgramType.CGROUP_SOCK_ADDR, AttachType.UDP4_SENDMSG),
    "cgroup/sendmsg6": (ProgramType.CGROUP_SOCK_ADDR, AttachType.UDP6_SENDMSG),
    "cgroup/connect_unix": (ProgramType.CGROUP_SOCK_ADDR, AttachType.UNIX_CONNECT),
    "cgroup/sendmsg_unix": (ProgramType.CGROUP_SOCK_ADDR, AttachType.UNIX_SENDMSG),
    "cgroup/sock_create": (ProgramType.CGROUP_SOCK, AttachType.INET_SOCK_CREATE),
    "cgroup/sock_release": (ProgramType.CGROUP_SOCK, AttachType.SOCK_RELEASE),
    "cgroup/post_bind4": (ProgramType.CGROUP_SOCK, AttachType.INET4_POST_BIND),
    "cgroup/post_bind6": (ProgramType.CGROUP_SOCK, AttachType.INET6_POST_BIND),
    "cgroup/setsockopt": (ProgramType.CGROUP_SOCKOPT, AttachType.SETSOCKOPT),
    "cgroup_skb/egress": (ProgramType.CGROUP_SKB, AttachType.INET_EGRESS),
    "cgroup_skb/ingress": (ProgramType.CGROUP_SKB, AttachType.INET_INGRESS),
    "sockops": (ProgramType.SOCK_OPS, AttachType.SOCK_OPS),
    "tc": (ProgramType.SCHED_CLS, None),
}


class Line(NamedTuple):
    """The line before a program that says where it is attached; bpf/maps.h defines its macros."""

    kind: str
    hook: str
    map: str | None
    place: str | None
    others: str | None
    program: str

    def rank(self) -> int:
        """Return the program's place: tracepoints first, and tail-called programs before their callers.

        Programs at an exec come before all: none may be missing when a process's first exec is compared.
        A program that others may stand in for comes last, when it is known whether they are attached.
        Raises SystemExit for a hook that its macro isn't made for.
        """
        is_tracepoint = self.hook.startswith(_RAW_TRACEPOINT)
        is_newer = self.hook.endswith(_OF_NEWER_KERNELS)
        may_lack = is_tracepoint or is_newer or self.hook.startswith((_SECURITY_HOOK, _FUNCTION_EXIT))
        may_stand_in = is_tracepoint or is_newer
        if (self.others and not may_stand_in) or ("IF_THERE" in self.kind and not may_lack):
            raise SystemExit(f"{self.program}: {self.kind} isn't for hooks like {self.hook}")
        if self.hook == _AT_EXECS:
            return -1
        if self.others:
            return 5
        if may_lack:
            return 0 if is_tracepoint else 2
        return {"TAIL_CALLED": 1, "HOOK": 2, "HOOK_AND_TAIL_CALLED": 3, "RESERVE": 4}[self.kind]

    def row(self) -> str:
        """Return the program as a line of Python for the loader's list."""
        if self.hook.startswith(_RAW_TRACEPOINT):
            more = (", is_optional=True" if "IF_THERE" in self.kind else "") + self._unless()
            return f'Tracepoint("{self.program}", "{self.hook.removeprefix(_RAW_TRACEPOINT)}"{more})'
        if self.hook.startswith(_SECURITY_HOOK):
            return f'SecurityHook("{self.program}", "{self.hook.removeprefix(_SECURITY_HOOK)}")'
        if self.hook.startswith(_FUNCTION_EXIT):
            return f'FunctionExit("{self.program}", "{self.hook.removeprefix(_FUNCTION_EXIT)}")'
        if self.hook.endswith(_OF_NEWER_KERNELS):
            return f'ContextHook("{self.program}", {self._types()}{self._unless()})'
        kind = {"TAIL_CALLED": "Continuation", "RESERVE": "Reserve"}.get(self.kind, "Hook")
        parts = [f'"{self.program}"', self._types()]
        parts += [f'"{self.map}"', str(self.place)] if self.map else []
        return f"{kind}({', '.join(parts)})"

    def _types(self) -> str:
        program_type, attach_type = _TYPES[self.hook]
        program = f"ProgramType.{program_type.name}"
        return program if attach_type is None else f"{program}, AttachType.{attach_type.name}"

    def _unless(self) -> str:
        if not self.others:
            return ""
        others = self.others.removeprefix(", ").replace(", ", " ")
        return f', unless="{others}"'


def lines() -> Iterator[Line]:
    """Yield each program of bpf/, in the order in which they are compiled."""
    return (Line(**found.groupdict()) for found in _LINE.finditer(source_text(bpf_directory())))


def render() -> str:
    """Return the text of exporter/kernel/programs/hooks.py."""
    rows = [f"    {line.row()}," for line in sorted(lines(), key=Line.rank)]
    return "\n".join(
        [
            '"""The programs and where they are attached: `make wire` generates this from bpf/*.bpf.c."""',
            "",
            "from __future__ import annotations",
            "",
            "from .kinds import (",
            *(f"    {kind}," for kind in _KINDS),
            ")",
            "from .objects import AttachType, ProgramType",
            "",
            "PROGRAMS: list[Program] = [",
            *rows,
            "]",
            '"""In the order in which they are attached."""',
            "",
        ]
    )


if __name__ == "__main__":
    sys.exit(write_or_check(TARGET, render(), "bpf/*.bpf.c"))
