"""The Debian packages: all that ci-egress needs but the distribution's Python, in /opt/ci-egress.

There is one for each architecture, with a virtual environment for each Python of the distributions that it
is for, made where they are not installed: `lib/python3.11` and so on, of which /usr/bin/python3 uses its
own. A file that is the same for several is in the package once, as a hard link. dpkg knows every file, so
removing it leaves none.
"""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

from tools.release import bill, wheels
from tools.release.contents import Contents

ARCHITECTURES = {"x86_64": "amd64", "aarch64": "arm64"}
"""Debian's names, by the kernel's."""
PYTHONS = ("3.11", "3.12", "3.13", "3.14")
"""The Pythons of Debian 12, Ubuntu 24.04, Debian 13 and what comes after them."""
_HOME = Path("opt/ci-egress")
_SHARED = {
    "bash-completion/completions": "bash-completion/completions",
    "fish/vendor_completions.d": "fish/vendor_completions.d",
    "man/man1": "man/man1",
    "zsh/site-functions": "zsh/vendor-completions",
}
"""Folders below share/ of a wheel, each with Debian's own for the same files."""
_LIBRARY = ("is_watching.py", "loads.py", "same_programs.py")
_SCRIPTS = ("postinst", "prerm", "postrm")
_ENTRY = """\
#!/opt/ci-egress/bin/python3 -I
import sys

from exporter.__main__ import main

sys.exit(main())
"""
_VENV = "home = /usr/bin\ninclude-system-site-packages = false\nversion = 3\n"


def build(contents: Contents, output: Path, work: Path) -> None:
    """Build the packages in `output`, and the bill of all, in the empty folder `work`.

    Downloads wheels from the package index.
    """
    for machine in ARCHITECTURES:
        _build(contents, machine, output, work / machine)
    python = work / os.uname().machine / _HOME / "bin/python3"
    bill.write(contents, python, output / f"ci-egress-{contents.version}.cdx.json", work)


def _build(contents: Contents, machine: str, output: Path, root: Path) -> None:
    architecture = ARCHITECTURES[machine]
    _lay_environment(contents, machine, root / _HOME)
    _lay_files(contents.source / "deploy", root)
    _lay_control(contents, architecture, root)
    _settle(root, contents.made_s)
    package = output / f"ci-egress_{contents.version}_{architecture}.deb"
    options = ["--root-owner-group", "--uniform-compression", "-Zzstd", "-z12"]
    subprocess.run(  # noqa: S603 - of our own
        ["dpkg-deb", *options, "--build", root, package],  # noqa: S607
        env=os.environ | {"SOURCE_DATE_EPOCH": str(contents.made_s), "DPKG_DEB_THREADS_MAX": "1"},
        stdout=subprocess.DEVNULL,
        check=True,
    )


def python_range() -> str:
    """Return the package's dependency: under any other Python it would find none of its modules."""
    major, last = map(int, PYTHONS[-1].split("."))
    return f"python3 (>= {PYTHONS[0]}), python3 (<< {major}.{last + 1}~)"


def _lay_environment(contents: Contents, machine: str, home: Path) -> None:
    (home / "bin").mkdir(parents=True)
    (home / "pyvenv.cfg").write_text(_VENV, encoding="ascii")
    (home / "bin/python3").symlink_to("/usr/bin/python3")
    entry = home / "bin/ci-egress"
    entry.write_text(_ENTRY, encoding="ascii")
    entry.chmod(0o755)
    seen: dict[tuple[Path, bytes], Path] = {}
    for python in PYTHONS:
        packages = home / f"lib/python{python}/site-packages"
        wheels.install(contents.wheel, contents.requirements, python, machine, packages)
        _share(packages / "share", home.parents[1] / "usr/share")
        for path in _files(packages):
            _link_once(path, packages, seen)


def _share(given: Path, target: Path) -> None:
    """Put the manual and the shells' completions of a wheel where Debian has them, and nothing else."""
    for source, place in _SHARED.items():
        for path in sorted((given / source).glob("*ci-egress*")):
            _copy(path, target / place / path.name)
    shutil.rmtree(given)


def _link_once(path: Path, packages: Path, seen: dict[tuple[Path, bytes], Path]) -> None:
    """Replace a file by a hard link if another Python's environment has the same file at its place."""
    first = seen.setdefault((path.relative_to(packages), path.read_bytes()), path)
    if first != path:
        path.unlink()
        path.hardlink_to(first)


def _lay_files(deploy: Path, root: Path) -> None:
    """Lay out all files but the environment and DEBIAN/."""
    _copy(deploy / "systemd/ci-egress.service", root / "usr/lib/systemd/system/ci-egress.service")
    _copy(deploy / "debian/environment", root / "etc/ci-egress/environment", 0o600)
    for script in _LIBRARY:
        _copy(deploy / "debian" / script, root / _HOME / "lib/ci-egress" / script)
    license_text = root / "usr/share/doc/ci-egress/copyright"
    license_text.parent.mkdir(parents=True)
    texts = [deploy.parent / name for name in ("LICENSE", "bpf/LICENSE")]
    license_text.write_text("\n\n".join(path.read_text(encoding="utf-8") for path in texts), encoding="utf-8")
    command = root / "usr/bin/ci-egress"
    command.parent.mkdir(parents=True)
    command.symlink_to("/opt/ci-egress/bin/ci-egress")


def _lay_control(contents: Contents, architecture: str, root: Path) -> None:
    size_kib = sum(path.lstat().st_size for path in _files(root) if path.lstat().st_nlink == 1) >> 10
    folder = root / "DEBIAN"
    folder.mkdir()
    text = (contents.source / "deploy/debian/control").read_text(encoding="utf-8")
    for name, value in (
        ("VERSION", contents.version),
        ("ARCHITECTURE", architecture),
        ("SIZE", str(size_kib)),
        ("PYTHON", python_range()),
    ):
        text = text.replace(f"@{name}@", value)
    (folder / "control").write_text(text, encoding="utf-8")
    (folder / "conffiles").write_text("/etc/ci-egress/environment\n", encoding="ascii")
    for name in _SCRIPTS:
        _copy(contents.source / "deploy/debian" / name, folder / name, 0o755)


def _settle(root: Path, made_s: int) -> None:
    """Set the same times and modes, whoever builds the package."""
    for path in sorted(root.rglob("*"), reverse=True):
        if not path.is_symlink():
            is_open = path.is_dir() or os.access(path, os.X_OK)
            is_private = path.name == "environment" and path.parent.name == "ci-egress"
            path.chmod(0o600 if is_private else 0o755 if is_open else 0o644)
        os.utime(path, (made_s, made_s), follow_symlinks=False)
    root.chmod(0o755)
    os.utime(root, (made_s, made_s))


def _copy(source: Path, target: Path, mode: int = 0o644) -> None:
    target.parent.mkdir(parents=True, exist_ok=True)
    shutil.copyfile(source, target)
    target.chmod(mode)


def _files(folder: Path) -> Iterator[Path]:
    yield from sorted(path for path in folder.rglob("*") if path.is_file() and not path.is_symlink())
