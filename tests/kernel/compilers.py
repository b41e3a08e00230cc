"""The compilers that bpf/ is for: this machine's, and that of the other Debian."""

from __future__ import annotations

import os
import subprocess
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from exporter.kernel.compilation.compiling import SYSTEM_PYTHON, Compiler, compiled, system_compiler
from tests.checkout import ROOT

if TYPE_CHECKING:
    from exporter.kernel.compilation.bytecode import BytecodeObject

BCC_PACKAGES = ("python3-bpfcc", "libbpf1")
BPF = ROOT / "bpf"


@dataclass(frozen=True)
class Installed:
    """A BCC, and where it finds bpf/."""

    compiler: Compiler
    bpf: Path
    version: str
    """How BCC's version begins."""

    def compiled(self) -> BytecodeObject:
        """What it makes of bpf/ for this machine."""
        return compiled(self.compiler, os.uname().machine, self.bpf)


def of_trixie() -> Installed:
    """BCC 0.31 with LLVM 19, in a Debian 13 root on this kernel."""
    command = [str(ROOT / "tools/debian-root.sh"), "trixie", *BCC_PACKAGES]
    done = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True)
    enter = [str(ROOT / "tools/in-root.sh"), done.stdout.strip()]
    compiler = [*enter, SYSTEM_PYTHON, "-I", "/src/exporter/kernel/compilation/compiler.py"]
    return Installed(Compiler(compiler), Path("/src/bpf"), "0.31.")


def of_this_machine() -> Installed:
    """Its own."""
    return Installed(system_compiler(), BPF, "0.")


CONTRACT = ["bpf", "perfmon", "net_admin", "sys_admin", "sys_ptrace", "dac_read_search", "kill"]


def with_only(*capabilities: str) -> list[str]:
    """Root with these capabilities and no others, nor a way to get them."""
    kept = ",".join(["-all", *(f"+{name}" for name in capabilities)])
    return ["setpriv", f"--bounding-set={kept}", "--inh-caps=-all"]
