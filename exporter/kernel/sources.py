"""The text that is compiled: bpf/ as one file, with the layout that user space expects asserted in it."""

from __future__ import annotations

import hashlib
from functools import lru_cache
from pathlib import Path

from exporter import wire
from exporter.errors import KernelError

# BCC rewrites map access only in its main text, so what uses maps is concatenated; egress.h is included.
_FILES = (
    *("maps.h", "process.bpf.c", "executable.bpf.c", "agent.bpf.c", "exec.bpf.c"),
    *("slots.bpf.c", "meter.bpf.c", "acts.bpf.c", "kept.bpf.c", "message.bpf.c"),
    *("header.bpf.c", "share.bpf.c", "listener.bpf.c", "policy.bpf.c", "peers.bpf.c"),
    *("resolver.bpf.c", "answer.bpf.c"),
    *("grant.bpf.c", "lookup.bpf.c", "question.bpf.c", "dns.bpf.c"),
    *("socket.bpf.c", "flow.bpf.c", "packet.bpf.c"),
    *("calls.h", "tamper.bpf.c", "failure.bpf.c", "join.bpf.c", "frame.bpf.c"),
)


def bpf_directory() -> Path:
    """Find bpf/: inside the installed package, or beside it in a checkout. Raises KernelError."""
    package = Path(__file__).resolve().parent.parent
    for folder in (package / "_bpf", package.parent / "bpf"):
        if (folder / "egress.h").is_file():
            return folder
    raise KernelError(f"bpf/ is missing beside {package}", hint="install ci-egress-exporter again")


def source_text(folder: Path) -> str:
    """Return one C text, in which messages of compiler and verifier still name file and line of each part."""
    parts = [f'#line 1 "{name}"\n{(folder / name).read_text()}' for name in _FILES]
    return "\n".join([*parts, '#line 1 "exporter/wire.py"', *layout_assertions(), ""])


@lru_cache(maxsize=1)
def edition() -> int:
    """Return 32 bits that tell these programs from those of other versions, even with the same records."""
    folder = bpf_directory()
    text = (folder / "egress.h").read_text() + source_text(folder)
    return int.from_bytes(hashlib.sha256(text.encode()).digest()[:4])


def compiler_flags(folder: Path, offsets: dict[str, int]) -> list[str]:
    """Return flags that define the kernel's offsets (bytes) and the layout's edition as constants."""
    constants = [f"-D{name}={value}" for name, value in offsets.items()]
    return [
        f"-I{folder}",
        f"-DLAYOUT={wire.LAYOUT:#x}",
        *constants,
        "-Werror=implicit-function-declaration",
        "-Wno-unused-function",
    ]


def layout_assertions() -> list[str]:
    """Return static assertions of every size and offset that exporter/wire.py was generated with."""
    lines = []
    for name, (size, offsets) in wire.OFFSETS.items():
        lines.append(f'_Static_assert(sizeof(struct {name}) == {size}, "run `make wire`");')
        for member, offset in offsets.items():
            where = f"__builtin_offsetof(struct {name}, {member})"
            lines.append(f'_Static_assert({where} == {offset}, "run `make wire`");')
    return lines
