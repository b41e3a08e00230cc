"""The first file system of a kernel: busybox, and the modules that it needs to reach its root."""

from __future__ import annotations

import lzma
import subprocess
from collections.abc import Iterator
from pathlib import Path

from tools.kernels.cpio import Entry, archived
from tools.kernels.unpacked import Kernel

_INIT = Path(__file__).with_name("initrd-init.sh")
_MODULES = ("virtio_pci", "virtio_blk", "ext4", "9pnet_virtio", "9p")


def initrd(kernel: Kernel, busybox: Path) -> bytes:
    """Make the first file system: all that the kernel needs to reach its root, and folders of the host."""
    return archived(_entries(kernel, busybox))


def _entries(kernel: Kernel, busybox: Path) -> Iterator[Entry]:
    for name in ("bin", "dev", "proc", "sys", "root", "modules"):
        yield Entry.folder(name)
    yield Entry.program("bin/busybox", busybox.read_bytes())
    yield Entry.program("init", _INIT.read_bytes())
    for number, path in enumerate(_needed(kernel)):
        yield Entry.program(f"modules/{number:02}-{path.name.split('.')[0]}.ko", _unpacked(path))


def _needed(kernel: Kernel) -> list[Path]:
    """Return the files of the modules and of others that they need, in the order to insert them."""
    where = ["--dirname", str(kernel.folder), "--set-version", kernel.release]
    command = ["modprobe", *where, "--show-depends", "--all"]
    told = subprocess.run([*command, *_MODULES], capture_output=True, text=True, check=True).stdout
    words = (line.split() for line in told.splitlines())
    return list(dict.fromkeys(Path(path) for kind, path, *_ in words if kind == "insmod"))


def _unpacked(path: Path) -> bytes:
    data = path.read_bytes()
    match path.suffix:
        case ".xz":
            return lzma.decompress(data)
        case ".zst":
            return subprocess.run(["zstd", "-qdc", path], stdout=subprocess.PIPE, check=True).stdout
        case _:
            return data
