"""A kernel's packages, unpacked: what boots, its modules, its BTF, and the first file system that it sees."""

from __future__ import annotations

import lzma
import shutil
import subprocess
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from tools.kernels.archive import Index, Package
from tools.kernels.cpio import Entry, archived
from tools.kernels.folders import CACHE, digest, made_once
from tools.kernels.matrix import Stock
from tools.kernels.vmlinuz import btf_of

_HERE = Path(__file__).parent
_INIT = _HERE / "initrd-init.sh"
_MODULES = ("virtio_pci", "virtio_blk", "ext4", "9pnet_virtio", "9p")
"""What it takes to reach the root, and the folders of the host."""
_RECIPE = (_INIT, *(_HERE / name for name in ("unpacked.py", "cpio.py", "vmlinuz.py")))


@dataclass(frozen=True)
class Kernel:
    """One that can be booted."""

    stock: Stock
    folder: Path

    @property
    def release(self) -> str:
        """As `uname -r` says it."""
        return (self.folder / "release").read_text()

    @property
    def image(self) -> Path:
        """What boots."""
        return self.folder / "vmlinuz"

    @property
    def initrd(self) -> Path:
        """What it sees first."""
        return self.folder / "initrd"

    @property
    def modules(self) -> Path:
        """What is to be its /lib/modules."""
        return self.folder / "lib/modules"

    @property
    def btf(self) -> Path:
        """Its types; nothing is in there where it has none."""
        return self.folder / "btf"


def fetch(stock: Stock, busybox: Path) -> Kernel:
    """The newest of its series. Raises UnavailableError."""
    index = Index(stock.archive, stock.suites)
    index.update()
    packages = index.newest_kernel(stock.package)
    target = CACHE / f"{stock.name}-{digest(packages, busybox, *_RECIPE)}"
    with made_once(target) as folder:
        if folder:
            _make(folder, index, packages, busybox)
    for older in CACHE.glob(f"{stock.name}-{'[0-9a-f]' * 12}"):
        if older != target:
            shutil.rmtree(older, ignore_errors=True)
    return Kernel(stock, target)


def _make(folder: Path, index: Index, packages: Sequence[Package], busybox: Path) -> None:
    for deb in index.download(packages, folder / "debs"):
        subprocess.run(["dpkg-deb", "-x", deb, folder], check=True)
    shutil.rmtree(folder / "debs")
    if not (folder / "lib").exists():
        (folder / "lib").symlink_to("usr/lib")
    (modules,) = (folder / "lib/modules").iterdir()
    (folder / "release").write_text(modules.name)
    (image,) = (*folder.glob("boot/vmlinuz*"), *modules.glob("vmlinuz"))
    shutil.copyfile(image, folder / "vmlinuz")
    (folder / "btf").write_bytes(btf_of(image.read_bytes()))
    subprocess.run(["depmod", "-b", folder, modules.name], check=True)
    entries = _initrd(busybox, folder, modules.name)
    (folder / "initrd").write_bytes(archived(entries))


def _initrd(busybox: Path, folder: Path, release: str) -> Iterator[Entry]:
    for name in ("bin", "dev", "proc", "sys", "root", "modules"):
        yield Entry.folder(name)
    yield Entry.program("bin/busybox", busybox.read_bytes())
    yield Entry.program("init", _INIT.read_bytes())
    for number, path in enumerate(_needed(folder, release)):
        yield Entry.program(f"modules/{number:02}-{path.name.split('.')[0]}.ko", _unpacked(path))


def _needed(folder: Path, release: str) -> list[Path]:
    """Files of the modules and of what they need, in the order in which they go in."""
    command = ["modprobe", "--dirname", str(folder), "--set-version", release, "--show-depends", "--all"]
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
