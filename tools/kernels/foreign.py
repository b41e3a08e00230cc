"""An image for another architecture, none of whose programs can run here.

Its packages are unpacked, and no script of theirs is run. What their scripts would set up is taken from the
root of the same suite that runs here: /etc, and links into /etc/alternatives. Python's modules are chosen for
it by this machine's pip.
"""

from __future__ import annotations

import shutil
import subprocess
import sys
import tomllib
from pathlib import Path

from tools.kernels.architectures import Architecture
from tools.kernels.archive import DEBIAN, Index
from tools.kernels.folders import CACHE, CHECKOUT, digest, made_once
from tools.kernels.roots import PACKAGES, Image, Root, recipe

_IMAGE = "root.ext4"
_LEFT_OUT = {"gcc", "libbpf1", "libc6-dev", "python3-bpfcc"}
"""Packages that compile: what would be compiled is made ahead."""
_PYTHON = {"trixie": "3.13"}
_GLIBC = ("2_28", "2_17", "2_34")
_TEST_PACKAGES = ("hypothesis", "pyelftools", "pytest", "pytest-timeout")
_ENTRY = """\
#!/venv/bin/python3
import sys

from exporter.__main__ import main

sys.exit(main())
"""


def foreign_image(like: Root, architecture: Architecture) -> Image:
    """Make the image of a root with the packages of `like`. Raises UnavailableError."""
    index = Index(DEBIAN, (like.suite,), architecture)
    index.update()
    packages = index.needed(sorted(set(PACKAGES) - _LEFT_OUT))
    name = f"root-{like.suite}-{architecture.debian}"
    target = CACHE / f"{name}-{digest(like.folder.name, packages, Path(__file__), *recipe())}"
    with made_once(target) as unfinished:
        if unfinished:
            _unpack(index.download(packages, unfinished / "debs"), unfinished / "root")
            shutil.rmtree(unfinished / "debs")
            _set_up(unfinished / "root", like.folder)
            _install(unfinished / "root", _PYTHON[like.suite], architecture)
            _pack(unfinished, like)
    for older in CACHE.glob(f"{name}-{'[0-9a-f]' * 12}"):
        if older != target:
            shutil.rmtree(older, ignore_errors=True)
    return Image(target / "root", target / _IMAGE)


def _unpack(debs: list[Path], root: Path) -> None:
    root.mkdir()
    for deb in sorted(
        debs, key=lambda path: not path.name.startswith("base-files_")
    ):  # it has /bin -> usr/bin
        subprocess.run(["dpkg-deb", "-x", deb, root], check=True)


def _set_up(root: Path, like: Path) -> None:
    subprocess.run(["cp", "--archive", "--remove-destination", f"{like}/etc/.", root / "etc"], check=True)
    (root / "etc/ld.so.cache").unlink(missing_ok=True)
    for folder in ("usr/bin", "usr/sbin"):
        for link in (like / folder).iterdir():
            if link.is_symlink() and str(link.readlink()).startswith("/etc/alternatives/"):
                (root / folder / link.name).unlink(missing_ok=True)
                (root / folder / link.name).symlink_to(link.readlink())
    shutil.copy(CHECKOUT / "tools/kernels/guest.sh", root / "usr/sbin/guest")
    (root / "usr/sbin/guest").chmod(0o755)
    for name in ("lib/modules", "results", "src"):
        (root / name).mkdir(parents=True, exist_ok=True)


def _install(root: Path, python: str, architecture: Architecture) -> None:
    """Make /venv there, in which the checkout is a package whose sources are at /src."""
    venv = root / "venv"
    site = venv / f"lib/python{python}/site-packages"
    site.mkdir(parents=True)
    (venv / "bin").mkdir()
    (venv / "pyvenv.cfg").write_text(
        f"home = /usr/bin\ninclude-system-site-packages = false\nversion = {python}\n"
    )
    for name in ("python", "python3"):
        (venv / "bin" / name).symlink_to("/usr/bin/python3")
    (venv / "bin/ci-egress").write_text(_ENTRY)
    (venv / "bin/ci-egress").chmod(0o755)
    (site / "checkout.pth").write_text("/src\n")
    project = tomllib.loads((CHECKOUT / "pyproject.toml").read_text())["project"]
    platforms = [f"--platform=manylinux_{glibc}_{architecture.wheels}" for glibc in _GLIBC]
    subprocess.run(
        [
            *(
                sys.executable,
                "-m",
                "pip",
                "--quiet",
                "--disable-pip-version-check",
                "install",
                "--no-compile",
            ),
            *("--only-binary=:all:", f"--python-version={python}", "--implementation=cp", *platforms),
            *(f"--target={site}", f"--constraint={CHECKOUT / 'constraints.txt'}"),
            *(*project["dependencies"], *_TEST_PACKAGES),
        ],
        check=True,
    )


_COMPILED = "mkdir /venv; tar -x -C /venv; python3 -m compileall -q /venv/lib >&2; tar -c -C /venv lib"


def _pack(unfinished: Path, like: Root) -> None:
    """Compile Python's modules, by the same Python of another architecture, and make the file system."""
    root = unfinished / "root"
    plain = subprocess.Popen(["tar", "-c", "-C", root / "venv", "lib"], stdout=subprocess.PIPE)
    command = like.command("sh", "-ec", _COMPILED)
    with plain, subprocess.Popen(command, stdin=plain.stdout, stdout=subprocess.PIPE) as compiled:
        subprocess.run(["tar", "-x", "-C", root / "venv"], stdin=compiled.stdout, check=True)
    if plain.returncode or compiled.returncode:
        raise subprocess.CalledProcessError(plain.returncode or compiled.returncode, command)
    mke2fs = ("mke2fs", "-q", "-t", "ext4", "-O", "^has_journal", "-L", "root", "-d")
    subprocess.run([*mke2fs, root, unfinished / _IMAGE, "3G"], check=True)
