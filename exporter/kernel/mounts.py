"""Where cgroup v2 and bpffs are mounted, from mountinfo; bpffs is mounted when it isn't."""

from __future__ import annotations

import os
import re
import subprocess
from pathlib import Path
from typing import NamedTuple

from exporter.errors import KernelError

MOUNTINFO = Path("/proc/self/mountinfo")
BPFFS_HOME = Path("/sys/fs/bpf")
MOUNT_BPFFS = ["mount", "-t", "bpf", "-o", "mode=0700", "bpf", str(BPFFS_HOME)]

_ROOT_AND_PATH = slice(3, 5)
_ESCAPE = re.compile(r"\\([0-7]{3})")


class Mount(NamedTuple):
    """One line of mountinfo(5)."""

    root: str
    """Which directory of the file system is mounted: `/` for the whole."""
    path: Path
    kind: str


def mounts(text: str) -> list[Mount]:
    """Every mount in `text`, a mountinfo file; a line that isn't one is passed over."""
    found = []
    for line in text.split("\n"):  # other line breaks stand in paths as they are
        left, _, right = line.partition(" - ")
        fields = left.split(" ")
        where = [_unescape(field) for field in fields[_ROOT_AND_PATH]]
        if len(where) == 2 and right:  # noqa: PLR2004 - root and path
            root, path = where
            found.append(Mount(root, Path(path), right.split(" ")[0]))
    return found


def _read(mountinfo: Path) -> list[Mount]:
    try:
        text = mountinfo.read_bytes()
    except OSError as error:
        raise KernelError(
            f"cannot read {mountinfo}: {error.strerror}", hint="mount -t proc proc /proc"
        ) from None
    return mounts(os.fsdecode(text))  # any user can mount at a path that isn't UTF-8, by FUSE


def _unescape(field: str) -> str:
    return _ESCAPE.sub(lambda match: chr(int(match[1], 8)), field)


def cgroup2_root(mountinfo: Path = MOUNTINFO) -> Path:
    """Where the root of the cgroup v2 hierarchy is mounted, on hybrid hosts too.

    Raises KernelError when it isn't, or when only a part of the hierarchy is (as in a container).
    """
    found = [mount for mount in _read(mountinfo) if mount.kind == "cgroup2"]
    if not found:
        raise KernelError(
            "cgroup v2 is not mounted",
            hint="mkdir -p /sys/fs/cgroup/unified && mount -t cgroup2 none /sys/fs/cgroup/unified",
        )
    whole = [mount for mount in found if mount.root == "/"]
    if not whole:
        raise KernelError(
            f"{found[0].path} shows only a part of cgroup v2 ({found[0].root})",
            hint="run it on the host, or in a container with --cgroupns=host",
        )
    return whole[0].path


def find_bpffs(mountinfo: Path = MOUNTINFO) -> Path | None:
    """Where bpffs is mounted, /sys/fs/bpf before any other place; None when it isn't."""
    found = [mount.path for mount in _read(mountinfo) if mount.kind == "bpf"]
    return BPFFS_HOME if BPFFS_HOME in found else next(iter(found), None)


def ensure_bpffs(mountinfo: Path = MOUNTINFO) -> Path:
    """Where bpffs is mounted, after mounting it if need be. Raises KernelError when that fails."""
    found = find_bpffs(mountinfo)
    if found:
        return found
    result = subprocess.run(MOUNT_BPFFS, capture_output=True, text=True, check=False)  # noqa: S603 - fixed
    if result.returncode:
        raise KernelError(
            f"bpffs is not mounted, and mounting it failed: {result.stderr.strip()}",
            hint=f"as root: {' '.join(MOUNT_BPFFS)}",
        )
    return BPFFS_HOME
