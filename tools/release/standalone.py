"""The single file: a script that unpacks ci-egress and a Python of its own at its first start, and runs it.

It is for machines whose own Python is missing, or older than 3.11. The Python is that of
python-build-standalone, which runs with any glibc from 2.17 on.
"""

from __future__ import annotations

import gzip
import hashlib
import io
import json
import os
import re
import shutil
import subprocess
import tarfile
from pathlib import Path

from tools.release import bill, go_module, wheels
from tools.release.contents import Contents

MACHINES = {"x86_64": "linux-amd64", "aarch64": "linux-arm64"}
"""The architectures, by the kernel's names, each with Go's name, which is that of a folder of the module."""
_MODULE = "github.com/kluctl/go-embed-python@v0.0.0-3.14.6-20260610-1"
"""The Go module that has python-build-standalone's builds."""
_DIGEST = "h1:oGUS7++Wm3LgxUfD6AmJgKbKQD2wdQFO9PzyJv6T+E4="
"""Go's digest of it."""
_DATA = Path("python/internal/data")
_UNUSED = (
    *("config-*", "ensurepip", "idlelib", "pydoc_data", "site-packages", "tkinter", "turtle*", "venv"),
    *("lib-dynload/_dbm.*", "lib-dynload/_test*", "lib-dynload/_tkinter.*"),
)
"""Below the folder of Python's library: what no command of ci-egress imports."""
_SAY_LINKED = """
import compression.zstd, curses, decimal, json, platform, pyexpat, sqlite3, ssl, zlib

print(
    json.dumps(
        {
            "cpython": platform.python_version(),
            "expat": ".".join(map(str, pyexpat.version_info)),
            "libmpdec": decimal.__libmpdec_version__,
            "ncurses": "{0.major}.{0.minor}".format(curses.ncurses_version),
            "openssl": ssl.OPENSSL_VERSION.split()[1],
            "sqlite": sqlite3.sqlite_version,
            "zlib": zlib.ZLIB_RUNTIME_VERSION,
            "zstd": compression.zstd.zstd_version,
        }
    )
)
"""
"""What the Python's file contains, for scanners of the bill."""
UNSAID = {"bzip2": "1.0.8", "libedit": "", "libffi": "", "libuuid": "", "xz": "5.8.1"}
"""Software there that no module asks for its version, with the version where the file contains it."""
_HEAD = Path("deploy/standalone/head.sh")
_ENTRY = """\
import sys

from exporter.__main__ import main

del sys.argv[0]  # behind it is what the file was called as
sys.exit(main())
"""


def build(contents: Contents, output: Path, work: Path) -> None:
    """Build a file for each of MACHINES in `output`, and the bill of both, in `work`, which is made.

    Fetches the Python from the Go module proxy, and wheels from the package index.
    """
    module = go_module.fetched(contents.source / "tools/standalone-python.sh", _MODULE, _DIGEST)
    for machine, folder in MACHINES.items():
        _lay_out(contents, module / _DATA / folder, machine, work / machine)
    python = work / os.uname().machine / "bin/python3"
    for machine in MACHINES:
        _compile(work / machine, python)
        _write(contents, machine, work / machine, output)
    said = subprocess.check_output([python, "-I", "-c", _SAY_LINKED])  # noqa: S603 - of our own
    name = f"ci-egress-{contents.version}-standalone.cdx.json"
    bill.write(contents, python, output / name, work, linked=UNSAID | json.loads(said))


def _lay_out(contents: Contents, python: Path, machine: str, root: Path) -> None:
    """Put Python and the packages below `root`."""
    _unpack_python(python, root)
    (library,) = (root / "lib").glob("python3.*")
    for pattern in _UNUSED:
        for path in library.glob(pattern):
            shutil.rmtree(path) if path.is_dir() else path.unlink()
    packages = library / "site-packages"
    version = library.name.removeprefix("python")
    wheels.install(contents.wheel, contents.requirements, version, machine, packages)
    shutil.rmtree(packages / "share")
    (root / "bin/ci-egress").write_text(_ENTRY, encoding="ascii")


def _unpack_python(given: Path, root: Path) -> None:
    """Copy the interpreter and its library, as the module's list of files says."""
    for file in json.loads((given / "files.json").read_text())["files"]:
        name = file["name"]
        target = root / name
        if not re.match(r"bin/python3(\.\d+)?$|lib/python3\.\d+/", name):
            continue
        target.parent.mkdir(parents=True, exist_ok=True)
        if link := file.get("symlink"):
            target.symlink_to(link)
        elif (packed := given / f"{name}.gz").exists():
            target.write_bytes(gzip.decompress(packed.read_bytes()))
        elif (given / name).is_file():
            shutil.copyfile(given / name, target)
        if target.is_file() and not target.is_symlink():
            target.chmod(0o755 if name.startswith("bin/") else 0o644)


def _compile(root: Path, python: Path) -> None:
    """Compile all modules by a Python of that version: a start has nowhere to keep what it compiles.

    The files name their sources as if `root` were the root, so they are the same wherever they are made.
    `-B`: bytecode of its own imports would contain their sources' times.
    """
    options = ["-q", "-j", "0", "--invalidation-mode", "unchecked-hash", f"-s{root}", "-p/", f"{root}/lib"]
    subprocess.run([python, "-IB", "-m", "compileall", *options], check=True)  # noqa: S603 - of our own


def _write(contents: Contents, machine: str, root: Path, output: Path) -> None:
    """Write the script with the archive of `root` behind it."""
    archive = gzip.compress(_archive(root, contents.made_s), mtime=0)
    name = f"{contents.version}-{hashlib.sha256(archive).hexdigest()[:32]}"
    head = (contents.source / _HEAD).read_text(encoding="ascii")
    for word, value in (("VERSION", contents.version), ("MACHINE", machine), ("NAME", name)):
        head = head.replace(f"@{word}@", value)
    # The number is as wide as its place, so that it doesn't move what it counts.
    place = "@OFFSET@"
    head = head.replace(place, f"{len(head) + 1:<{len(place)}}")
    made = output / f"ci-egress-{contents.version}-{machine}"
    made.write_bytes(head.encode("ascii") + archive)
    made.chmod(0o755)


def _archive(root: Path, made_s: int) -> bytes:
    """Return the tar file of a folder: the same bytes whoever makes it."""

    def plain(entry: tarfile.TarInfo) -> tarfile.TarInfo:
        entry.uid = entry.gid = 0
        entry.uname = entry.gname = ""
        entry.mtime = made_s
        entry.mode = 0o755 if entry.isdir() or entry.mode & 0o100 else 0o644
        return entry

    written = io.BytesIO()
    with tarfile.open(fileobj=written, mode="w") as tar:
        tar.add(root, ".", filter=plain)
    return written.getvalue()
