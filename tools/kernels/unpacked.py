"""A kernel's packages, unpacked: what boots, its modules, and its BTF."""

from __future__ import annotations

import shutil
import subprocess
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from tools.kernels.archive import Index, Package
from tools.kernels.folders import CACHE, digest, made_once
from tools.kernels.matrix import Stock
from tools.kernels.vmlinuz import btf_of

_HERE = Path(__file__).parent
_RECIPE = tuple(_HERE / name for name in ("unpacked.py", "vmlinuz.py"))


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
    def modules(self) -> Path:
        """What is to be its /lib/modules."""
        return self.folder / "lib/modules"

    @property
    def btf(self) -> Path:
        """Its types; nothing is in there where it has none."""
        return self.folder / "btf"


def fetch(stock: Stock) -> Kernel:
    """The newest of its series. Raises UnavailableError."""
    index = Index(stock.archive, stock.suites, stock.architecture)
    index.update()
    packages = index.newest_kernel(stock.package)
    target = CACHE / f"{stock.name}-{digest(packages, *_RECIPE)}"
    with made_once(target) as folder:
        if folder:
            _make(folder, index, packages)
    for older in CACHE.glob(f"{stock.name}-{'[0-9a-f]' * 12}"):
        if older != target:
            shutil.rmtree(older, ignore_errors=True)
    return Kernel(stock, target)


def _make(folder: Path, index: Index, packages: Sequence[Package]) -> None:
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
