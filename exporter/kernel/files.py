"""Which inode a file is, as the kernel's programs see it and no mount namespace changes it."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

from exporter.errors import KernelError
from exporter.kernel.mounts import devices

_MINOR_BITS = 20
"""Of a dev_t in the kernel."""
_NS = 1_000_000_000


class Inode(NamedTuple):
    """A file, whatever its path; what of it is compared at an exec."""

    device: int
    """As `super_block.s_dev` has it."""
    number: int
    ctime_ns: int
    """When it was last changed in any way: nobody can set that to what it was."""

    @property
    def ctime(self) -> tuple[int, int]:
        """In seconds and nanoseconds."""
        return divmod(self.ctime_ns, _NS)


def inode_at(path: Path, mountinfo: Path) -> Inode | None:
    """The file at `path`, through links; None where there is none that can be told.

    Neither device nor number are what stat(2) says: on Btrfs and overlayfs that is another device.
    `mountinfo` is that of a process which has the file's mount.
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
    """Without any right to read it."""
    descriptor = os.open(path, os.O_PATH | os.O_CLOEXEC)
    try:
        yield descriptor
    finally:
        os.close(descriptor)
