"""Make bpf/ readable for an editor, and check that each of its files includes what it uses.

`python -m tools.editor` writes bpf/compile_flags.txt, which clangd reads; `--check` compiles each file alone
with gcc (exit 1 where one doesn't include all that it names).
"""

from __future__ import annotations

import subprocess
import sys

from exporter.kernel.compilation.compiling import PLACEHOLDERS
from exporter.kernel.compilation.sources import bpf_directory, compiler_flags
from exporter.kernel.requirements import MACHINES

_FOLDER = bpf_directory()
# bpf/editor.h stands in for BCC; the pragmas are clang's.
_FLAGS = [
    "-xc",
    "-std=gnu11",
    "-Wall",
    "-Wno-unknown-pragmas",
    "-Wno-pointer-sign",
    f"-include{_FOLDER}/editor.h",
]


def flags() -> list[str]:
    """Return the compiler's flags; the offsets of the kernel's members don't matter here."""
    return [*_FLAGS, *compiler_flags(_FOLDER, dict.fromkeys(PLACEHOLDERS, 0), MACHINES[0])]


def check() -> int:
    """Check the syntax of each file with gcc; return the exit status."""
    status = 0
    for path in sorted((*_FOLDER.glob("*.bpf.c"), *_FOLDER.glob("*.h"))):
        text = f'#include "{path}"\n'  # a main file needs no `#pragma once`
        command = ["gcc", *flags(), "-Werror", "-fsyntax-only", "-"]
        status |= subprocess.run(command, input=text, text=True).returncode  # noqa: PLW1510, S603
    return status


def main() -> int:
    """Check or write; return the exit status."""
    if "--check" in sys.argv[1:]:
        return check()
    (_FOLDER / "compile_flags.txt").write_text("\n".join(flags()) + "\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
