"""Which inode a file is, as the kernel's programs see it: the same in every mount namespace."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

from exporter.common.errors import KernelError
from exporter.kernel.mounts import devices

_MINOR_BITS = 20
"""The bits of a device's minor number in the kernel's dev_t."""
_NS = 1_000_000_000


class Inode(NamedTuple):
    """A file's identity, whatever its path, as it is compared at an exec."""

    device: int
    """The number of the file system's device, as in `super_block.s_dev`."""
    number: int
    ctime_ns: int
    """When the file was last changed in any way, in ns since the epoch: nobody can set that back."""

    @property
    def ctime(self) -> tuple[int, int]:
        """The time of the last change, in seconds and nanoseconds."""
        return divmod(self.ctime_ns, _NS)


def inode_at(path: Path, mountinfo: Path) -> Inode | None:
    """Identify the file at `path`, following links; None where there is none, or it can't be identified.

    Neither device nor number are taken from stat(2), which gives another device on Btrfs and overlayfs.
    `mountinfo` is the mountinfo of a process that has the file's mount.
    """
    try:
        with _opened(path) as descriptor:
            status = os.fstat(descriptor)
            shown = Path(f"/proc/self/fdinfo/{descriptor}").read_text()
        fields = dict(line.split(":", 1) for line in shown.splitlines() if ":" in line)
        device = devices(mountinfo).get(int(fields["mnt_id"]))
    except (OSError, KernelError):
        return None
    if device is None:
        return None
    kernel_device = os.major(device) << _MINOR_BITS | os.minor(device)
    return Inode(kernel_device, int(fields["ino"]), status.st_ctime_ns)


@contextmanager
def _opened(path: Path) -> Iterator[int]:
    """Open `path` without needing any right to read it."""
    descriptor = os.open(path, os.O_PATH | os.O_CLOEXEC)
    try:
        yield descriptor
    finally:
        os.close(descriptor)
