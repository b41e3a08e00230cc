"""The images that the kernels boot with: a Debian, with the packages of Python that the tests need."""

from __future__ import annotations

import shutil
import subprocess
import tomllib
from dataclasses import dataclass
from pathlib import Path

from tools.kernels.folders import CACHE, CHECKOUT, digest, made_once

PACKAGES = (
    *("python3", "python3-venv", "python3-bpfcc", "libbpf1"),
    *(
        "bpftool",
        "busybox-static",
        "ca-certificates",
        "curl",
        "e2fsprogs",
        "gcc",
        "iproute2",
        "kmod",
        "libc6-dev",
    ),
    *("make", "procps", "sudo"),
)
"""Packages that `make setup` installs, that the tests call, and that make image, programs and initrd."""
_HERE = Path(__file__).parent
_PYPROJECT = CHECKOUT / "pyproject.toml"
_READ_BY_PIP = ("build-system", "project")
"""The tables of pyproject.toml that pip reads; the others are for tools that aren't in the image."""
_IMAGE, _VENV = "root.ext4", "venv.tar"


@dataclass(frozen=True)
class Image:
    """A Debian that a machine boots with."""

    folder: Path
    """The root that is in it."""
    file: Path
    """A file system with the root, and with .venv."""

    @property
    def busybox(self) -> Path:
        """The program busybox, which needs no other file."""
        return self.folder / "bin/busybox"


@dataclass(frozen=True)
class Root:
    """A Debian root whose programs run here."""

    suite: str
    folder: Path
    """The root as debian-root.sh made it; its BCC is one of the compilers."""
    image: Image
    venv: Path
    """.venv alone, as a tar file."""

    def command(self, *command: str) -> list[str]:
        """Return a command line that runs `command` in it, on this kernel, with the checkout at /src."""
        return in_root(self.folder, *command)

    def llvm(self) -> str:
        """Return the LLVM that its BCC is linked with, as `LLVM 19`."""
        database = f"--admindir={self.folder}/var/lib/dpkg"
        query = ["dpkg-query", database, "--show", "--showformat=${Package} "]
        done = subprocess.run([*query, "libllvm*"], capture_output=True, text=True, check=True)
        (package,) = done.stdout.split()
        return f"LLVM {package.removeprefix('libllvm').removesuffix('t64')}"


def in_root(folder: Path, *command: str, kept: Path | None = None) -> list[str]:
    """Return a command line that runs `command` by in-root.sh; written files are lost, or go to `kept`."""
    keeping = ["--keep", str(kept)] if kept else []
    return [str(CHECKOUT / "tools/in-root.sh"), *keeping, str(folder), *command]


def recipe(pyproject: Path = _PYPROJECT) -> tuple[object, ...]:
    """Return all that the image is made from, except the root: a change of it makes another image."""
    project = tomllib.loads(pyproject.read_text())
    scripts = (_HERE / name for name in ("image.sh", "guest.sh"))
    return *scripts, CHECKOUT / "constraints.txt", *(project[table] for table in _READ_BY_PIP)


def make_root(suite: str) -> Root:
    """Make a root and its image, which takes some minutes the first time."""
    script = CHECKOUT / "tools/debian-root.sh"
    done = subprocess.run([script, suite, *PACKAGES], stdout=subprocess.PIPE, text=True, check=True)
    folder = Path(done.stdout.strip())
    target = CACHE / f"root-{suite}-{digest(folder.name, *recipe())}"
    with made_once(target) as unfinished:
        if unfinished:
            _make_image(folder, unfinished)
    for older in CACHE.glob(f"root-{suite}-{'[0-9a-f]' * 12}"):
        if older != target:
            shutil.rmtree(older, ignore_errors=True)
    return Root(suite, folder, Image(folder, target / _IMAGE), target / _VENV)


def _make_image(root: Path, unfinished: Path) -> None:
    written = unfinished / "written"
    written.mkdir()
    command = in_root(root, "/src/tools/kernels/image.sh", f"/image/{_IMAGE}", kept=written)
    subprocess.run(command, check=True)
    for name in (_IMAGE, _VENV):
        (written / "upper/image" / name).rename(unfinished / name)
    shutil.rmtree(written)
