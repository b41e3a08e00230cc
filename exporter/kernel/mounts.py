"""Find where cgroup v2 and bpffs are mounted, from mountinfo; mount bpffs if it isn't."""

from __future__ import annotations

import os
import re
import subprocess
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import NamedTuple

from exporter.common.errors import KernelError

MOUNTINFO = Path("/proc/self/mountinfo")
BPFFS_HOME = Path("/sys/fs/bpf")
ON_THE_HOST = (
    "run it on the host, or in a container with --cgroupns=host, or with the host's /sys/fs/cgroup mounted"
)
MOUNT_BPFFS = ["mount", "-t", "bpf", "-o", "mode=0700", "bpf", str(BPFFS_HOME)]

_DEVICE, _ROOT_AND_PATH = slice(2, 3), slice(3, 5)
_NUMBERS = re.compile(r"(\d+):(\d+)")
# The inode of the hierarchy's root, the first number that fs/kernfs/dir.c gives.
_TOP_INODE = 1
_ESCAPE = re.compile(r"\\([0-7]{3})")


class Mount(NamedTuple):
    """One line of mountinfo(5)."""

    root: str
    """Which directory of the file system is mounted: `/` for the whole."""
    path: Path
    kind: str
    device: int = 0
    """The file system's device, as made by `os.makedev`; `st_dev` may be another one (Btrfs, overlayfs)."""
    number: int = 0
    """The mount's id."""


def mounts(text: str) -> list[Mount]:
    """Parse every mount in `text`, a mountinfo file; lines that are no mounts are skipped."""
    found = []
    for line in text.split("\n"):  # the kernel escapes no other line break in a path
        left, _, right = line.partition(" - ")
        fields = left.split(" ")
        where = [_unescape(field) for field in fields[_ROOT_AND_PATH]]
        if len(where) == 2 and right:  # noqa: PLR2004 - root and path
            root, path = where
            kind, number = right.split(" ")[0], int(fields[0]) if fields[0].isdecimal() else 0
            found.append(Mount(root, Path(path), kind, _device(*fields[_DEVICE]), number))
    return found


def _device(text: str) -> int:
    numbers = _NUMBERS.fullmatch(text)
    return os.makedev(int(numbers[1]), int(numbers[2])) if numbers else 0


def is_visible(mount: Mount) -> bool:
    """Whether the mount's path leads to it: another mount may cover it."""
    try:
        return mount.path.stat().st_dev == mount.device
    except OSError:
        return False


def is_whole(mount: Mount) -> bool:
    """Whether a mount shows all of cgroup v2.

    On the host, such a mount has the root `/`. In a cgroup namespace it has a way up as its root (`/..`), and
    `/` is the namespace's own part. So only the inode at the mount's path shows whether it is the whole.
    """
    if not set(mount.root.split("/")) <= {"", ".."}:
        return False
    try:
        return mount.path.stat().st_ino == _TOP_INODE
    except OSError:
        return False


def _on_top(found: Iterable[Mount]) -> list[Mount]:
    """Keep only the last mount at each path, which covers the others."""
    return list({mount.path: mount for mount in found}.values())


def mounts_in(mountinfo: Path = MOUNTINFO) -> list[Mount]:
    """Return every mount in a mountinfo file. Raises OSError."""
    # Any user can mount at a path that isn't UTF-8, by FUSE.
    return mounts(os.fsdecode(mountinfo.read_bytes()))


def _read(mountinfo: Path) -> list[Mount]:
    try:
        return mounts_in(mountinfo)
    except OSError as error:
        raise KernelError(
            f"cannot read {mountinfo}: {error.strerror}", hint="mount -t proc proc /proc"
        ) from None


def devices(mountinfo: Path = MOUNTINFO) -> dict[int, int]:
    """Return each mount's device, as in `Mount.device`, by the mount's id. Raises KernelError."""
    return {mount.number: mount.device for mount in _read(mountinfo)}


def _unescape(field: str) -> str:
    return _ESCAPE.sub(lambda match: chr(int(match[1], 8)), field)


def cgroup2_root(mountinfo: Path = MOUNTINFO, is_visible: Callable[[Mount], bool] = is_visible) -> Path:
    """Find where the root of the cgroup v2 hierarchy is mounted, on hybrid hosts too.

    Where only the own part of this cgroup namespace is mounted, returns its mount. Raises KernelError when
    cgroup v2 isn't mounted, when only another part of it is (as in a container), and when another mount
    covers it.
    """
    mounted = [mount for mount in _read(mountinfo) if mount.kind == "cgroup2"]
    found = [mount for mount in _on_top(mounted) if is_visible(mount)]
    if mounted and not found:
        path = mounted[0].path
        raise KernelError(
            f"cgroup v2 is mounted at {path}, but another mount covers it",
            hint="mkdir -p /run/cgroup2 && mount -t cgroup2 none /run/cgroup2",
        )
    if not found:
        raise KernelError(
            "cgroup v2 is not mounted",
            hint="mkdir -p /sys/fs/cgroup/unified && mount -t cgroup2 none /sys/fs/cgroup/unified",
        )
    whole = [mount for mount in found if is_whole(mount)] or [mount for mount in found if mount.root == "/"]
    if not whole:
        raise KernelError(
            f"{found[0].path} shows only a part of cgroup v2 ({found[0].root})",
            hint=ON_THE_HOST,
        )
    return whole[0].path


def sees_all_cgroups(mountinfo: Path = MOUNTINFO) -> bool:
    """Whether all of cgroup v2 is mounted, in whatever cgroup namespace. Raises KernelError."""
    return is_whole(Mount("/", cgroup2_root(mountinfo), "cgroup2"))


def find_bpffs(mountinfo: Path = MOUNTINFO, is_visible: Callable[[Mount], bool] = is_visible) -> Path | None:
    """Find where bpffs is mounted, preferably at /sys/fs/bpf; None when it isn't, or is covered."""
    found = [mount.path for mount in _read(mountinfo) if mount.kind == "bpf" and is_visible(mount)]
    return BPFFS_HOME if BPFFS_HOME in found else next(iter(found), None)


def ensure_bpffs(mountinfo: Path = MOUNTINFO) -> Path:
    """Return where bpffs is mounted, and mount it if need be. Raises KernelError when that fails."""
    found = find_bpffs(mountinfo)
    if found:
        return found
    try:
        subprocess.run(MOUNT_BPFFS, capture_output=True, text=True, check=True)  # noqa: S603 - fixed
    except (OSError, subprocess.CalledProcessError) as error:
        said = error.strerror if isinstance(error, OSError) else error.stderr.strip()
        raise KernelError(
            f"bpffs is not mounted, and mounting it failed: {said}", hint=f"as root: {' '.join(MOUNT_BPFFS)}"
        ) from None
    return BPFFS_HOME
