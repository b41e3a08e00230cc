"""The text that is compiled: bpf/ as one file, with the layout that user space expects asserted in it."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Mapping
from functools import lru_cache
from pathlib import Path

from exporter.common.errors import KernelError
from exporter.events import wire
from exporter.kernel.requirements import MACHINES

_INCLUDE = re.compile(r'^#include "([\w.]+)"$|^#pragma once$', re.MULTILINE)
_LAYOUT = "egress.h"
"""The one file that is really included: it has no maps."""


def bpf_directory() -> Path:
    """Find bpf/: inside the installed package, or beside it in a checkout. Raises KernelError."""
    package = Path(__file__).resolve().parents[2]
    for folder in (package / "_bpf", package.parent / "bpf"):
        if (folder / "egress.h").is_file():
            return folder
    raise KernelError(f"bpf/ is missing beside {package}", hint="install ci-egress-exporter again")


def source_text(folder: Path) -> str:
    """Return the files of bpf/ as one C text; by its `#line`s, messages name a file and a line of bpf/.

    BCC rewrites the access to maps only in its main text, not in included files. So the text has each file
    once, after all the files that it includes.
    """
    parts: dict[str, str] = {}
    for path in sorted(folder.glob("*.bpf.c")):
        _add(path.name, folder, parts)
    return "\n".join([*parts.values(), '#line 1 "exporter/events/wire.py"', *layout_assertions(), ""])


def _add(name: str, folder: Path, parts: dict[str, str]) -> None:
    """Put the files that `name` includes, and then `name` itself, behind the `parts` that are there."""
    if name in parts or name == _LAYOUT:
        return
    text = (folder / name).read_text()
    for included in filter(None, _INCLUDE.findall(text)):
        _add(included, folder, parts)
    parts[name] = f'#line 1 "{name}"\n{_INCLUDE.sub(_kept, text)}'


def _kept(line: re.Match[str]) -> str:
    """Return the line if it includes egress.h; an empty one in place of `#pragma once` or another include."""
    return line[0] if line[1] == _LAYOUT else ""


@lru_cache(maxsize=1)
def edition() -> int:
    """Return 32 bits that differ for each version of the programs, even if their records are the same."""
    folder = bpf_directory()
    text = (folder / "egress.h").read_text() + source_text(folder)
    return int.from_bytes(hashlib.sha256(text.encode()).digest()[:4])


def sources_digest(folder: Path) -> str:
    """Hash all that a compile reads: equal if its result is, wherever the folder is."""
    digest = hashlib.sha256(f"{source_text(folder)}\0{wire.LAYOUT}".encode())
    for header in (folder / _LAYOUT, *sorted((folder / "include").rglob("*.h"))):
        digest.update(f"\0{header.relative_to(folder)}\0".encode())
        digest.update(header.read_bytes())
    return digest.hexdigest()


def compiler_flags(folder: Path, offsets: Mapping[str, int], machine: str) -> list[str]:
    """Return flags that define the offsets (bytes) and the layout's edition, for one of MACHINES.

    Only how system calls are recognised differs between these.
    """
    constants = [f"-D{name}={value}" for name, value in offsets.items()]
    return [
        f"-I{folder}",
        *(f"-U__{each}__" for each in MACHINES),
        f"-D__{machine}__",
        f"-DLAYOUT={wire.LAYOUT:#x}",
        *constants,
        "-Werror=implicit-function-declaration",
        "-Wno-unused-function",
    ]


def layout_assertions() -> list[str]:
    """Return static assertions of every size and offset that exporter/events/wire.py was generated with."""
    lines = []
    for name, (size, offsets) in wire.OFFSETS.items():
        lines.append(f'_Static_assert(sizeof(struct {name}) == {size}, "run `make wire`");')
        for member, offset in offsets.items():
            where = f"__builtin_offsetof(struct {name}, {member})"
            lines.append(f'_Static_assert({where} == {offset}, "run `make wire`");')
    return lines
