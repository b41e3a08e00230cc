"""Other versions of the package: the one that was built, changed."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING

from exporter.kernel.compilation.sources import sources_digest
from tests.checkout import ROOT
from tests.turns import turn_left

if TYPE_CHECKING:
    from collections.abc import Callable

REFUSED = "on_connect4"
"""The program that the kernel doesn't take."""
_PROGRAMS = "opt/ci-egress/lib/*/site-packages/exporter/_bpf"
_compiled = dict[str, dict[str, bytes]]()
"""Objects by name, by the digest of their sources: half a minute of work."""
_HEAD = f"int {REFUSED}(struct bpf_sock_addr *ctx)\n{{\n"


def with_the_same_programs(_: Path) -> None:
    """Nothing that the kernel could notice."""


def with_other_programs(root: Path) -> None:
    """Ones that do the same, and aren't the same text."""
    for folder in root.glob(_PROGRAMS):
        header = folder / "maps.h"
        header.write_text(header.read_text() + "/* another version */\n")
        _compile(folder)


def with_refused_programs(root: Path) -> None:
    """They compile, and no kernel takes one of them: it writes where a program may only read."""
    for folder in root.glob(_PROGRAMS):
        source = folder / "socket.bpf.c"
        text = source.read_text()
        assert text.count(_HEAD) == 1
        source.unlink()  # it may be the file of several Pythons
        source.write_text(text.replace(_HEAD, f"{_HEAD}\tctx->user_family = 0;\n"))
        _compile(folder)


def compile_ahead(package: Path) -> None:
    """Compile the programs of these versions: that takes a minute, and no other test has to wait for it."""
    with turn_left(), TemporaryDirectory() as here:
        for change in (with_other_programs, with_refused_programs):
            repacked(package, Path(here, change.__name__), "0", change)


def _compile(bpf: Path) -> None:
    """Make the objects anew that belong to the sources there, by the code of that version."""
    digest = sources_digest(bpf)
    if digest not in _compiled:
        _compiled[digest] = _objects(bpf)
    for name, made in _compiled[digest].items():
        (bpf / "objects" / name).unlink()  # as above
        (bpf / "objects" / name).write_bytes(made)


def _objects(bpf: Path) -> dict[str, bytes]:
    with TemporaryDirectory() as here:  # below /proc/PID/root, no file would find the others
        shutil.copytree(bpf.parent, Path(here, "exporter"))
        modules = os.pathsep.join([here, str(ROOT)])
        command = [sys.executable, "-m", "tools.objects"]
        subprocess.run(command, env=os.environ | {"PYTHONPATH": modules}, cwd=here, check=True)
        return {path.name: path.read_bytes() for path in Path(here, "exporter/_bpf/objects").iterdir()}


def without_a_question(root: Path) -> None:
    """Its own script doesn't ask, as it is replaced, whether the next one's programs load."""
    (root / "DEBIAN/postrm").write_text("#!/bin/sh\nexit 0\n")


def repacked(package: Path, folder: Path, version: str, change: Callable[[Path], None]) -> Path:
    """The package as another version of it.

    `change` gets the folder that has all of its files, and its scripts in DEBIAN.
    """
    subprocess.run(["dpkg-deb", "--raw-extract", package, folder], check=True)
    control = folder / "DEBIAN/control"
    control.write_text(re.sub(r"(?m)^Version: .*", f"Version: {version}", control.read_text()))
    change(folder)
    made = folder.with_name(f"ci-egress_{version}_all.deb")
    subprocess.run(["dpkg-deb", "-Znone", "--build", folder, made], check=True, capture_output=True)
    return made
