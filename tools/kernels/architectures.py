"""The architectures whose kernels are tried, and the machine that qemu emulates for each."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Architecture:
    """An architecture, by the names that it has in different places."""

    machine: str
    """As uname(2) has it."""
    debian: str
    """As Debian's packages have it; Ubuntu's, too."""
    wheels: str
    """As the wheels' platform tags have it."""
    compiler: str
    """The C compiler for it, on an x86-64."""
    emulator: tuple[str, ...]
    """Qemu's command, up to the machine and its processor; it boots without firmware of its own."""
    console: str
    """The kernel's name of the serial port."""


X86_64 = Architecture(
    machine="x86_64",
    debian="amd64",
    wheels="x86_64",
    compiler="gcc",
    # The processor that distributions build for. Features of newer ones cost more in emulation than they
    # save: five levels of page tables, checks of accesses to user memory, and copies byte by byte, which
    # kernel and libc use as the quick way where ERMS says so.
    emulator=("qemu-system-x86_64", "-M", "q35", "-cpu", "kvm64,+rdrand"),
    console="ttyS0",
)
ARM64 = Architecture(
    machine="aarch64",
    debian="arm64",
    wheels="aarch64",
    compiler="aarch64-linux-gnu-gcc",
    # It knows pages of 16 KiB, but no pointer authentication, whose signatures cost most in emulation.
    emulator=("qemu-system-aarch64", "-M", "virt", "-cpu", "neoverse-n1"),
    console="ttyAMA0",
)
