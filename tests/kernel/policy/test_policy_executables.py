"""Which files count as the executables of `lineage`: the ones that only root can change, as they were."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from exporter.common.errors import KernelError
from tests.kernel.kernel_side import KernelSide
from tests.kernel.lab import PORT, V4, Lab
from tests.kernel.lineage_policies import ALLOWED, DENIED, outcome, policy

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from tests.kernel.conftest import Programs

pytestmark = pytest.mark.kernel


@pytest.fixture
def tool(tmp_path: Path) -> Path:
    """An executable that is only root's to change, and of no directory of the system's."""
    return Path(shutil.copy2("/usr/bin/env", tmp_path / "tool"))


IN_MEMORY = """
import os, sys
file = os.memfd_create("timeout")
os.write(file, open("/usr/bin/timeout", "rb").read())
os.execve(file, ["timeout", *sys.argv[1:]], os.environ)
"""
BOUND = 'mount --bind "$1" /usr/bin/timeout && shift && exec /usr/bin/timeout "$@"'
OVERLAID = """
mkdir up work && cp "$1" up/timeout && shift &&
mount -t overlay -o lowerdir=/usr/bin,upperdir=up,workdir=work,userxattr none /usr/bin &&
exec /usr/bin/timeout "$@"
"""


@pytest.mark.parametrize("imitation", ["copy", "memory", "bind", "overlay", "name", "script", "loader"])
def test_what_only_looks_like_it_is_not_it(
    lab: Lab, programs: Programs, kernel: KernelSide, tmp_path: Path, imitation: str
) -> None:
    copy = Path(shutil.copy2("/usr/bin/timeout", tmp_path / "timeout"))
    script = tmp_path / "bin" / "timeout"
    script.parent.mkdir()
    script.write_text('#!/bin/sh\nshift\n"$@"\n')
    script.chmod(0o755)
    in_namespaces = ["unshare", "-Urm", "sh", "-ec"]
    commands = {
        "copy": [str(copy), "60"],
        "memory": [sys.executable, "-c", IN_MEMORY, "60"],
        "bind": [*in_namespaces, BOUND, "sh", str(copy), "60"],
        "overlay": ["env", "-C", str(tmp_path), *in_namespaces, OVERLAID, "sh", str(copy), "60"],
        "name": ["bash", "-c", 'exec -a /usr/bin/timeout "$@"', "bash", "env"],
        "script": [str(script), "60"],
        "loader": [str(next(Path("/").glob("lib*/ld-linux*.so.*"))), "/usr/bin/timeout", "60"],
    }
    command = [*commands[imitation], *programs.act("connect", V4.evil, PORT)]
    with lab.watch() as watch:
        told = outcome(kernel, lab, command, policy("timeout", "/usr/bin/timeout"))
    assert told == ("EPERM\n", {DENIED})
    assert watch.arrivals.packets_to(V4.evil) == 0


@pytest.mark.parametrize("way", ["symbolic", "hard", "bind", "descriptor"])
def test_the_file_itself_counts_whatever_it_is_called(
    lab: Lab, programs: Programs, kernel: KernelSide, tool: Path, way: str
) -> None:
    other = tool.with_name("another")
    if way == "symbolic":
        other.symlink_to(tool)
    elif way == "hard":
        other.hardlink_to(tool)
    else:
        other.touch()
    bound = 'mount --bind "$1" "$2" && shift && exec "$@"'
    execute = "import os, sys; os.execve(os.open(sys.argv[1], os.O_PATH), sys.argv[1:], os.environ)"
    before = {
        "bind": ["unshare", "-Urm", "sh", "-ec", bound, "sh", str(tool), str(other)],
        "descriptor": [sys.executable, "-c", execute, str(tool)],
    }.get(way, [str(other)])
    command = [*before, *programs.act("connect", V4.evil, PORT)]
    assert outcome(kernel, lab, command, policy(tool)) == ("ok\n", {ALLOWED})


def rewrite(tool: Path) -> None:
    with tool.open("r+b") as file:
        file.write(file.read(4))


def replace(tool: Path) -> None:
    Path(shutil.copy2(tool, tool.with_name("new"))).rename(tool)


def put_back_in_time(tool: Path) -> None:
    before = tool.stat()
    rewrite(tool)
    os.utime(tool, ns=(before.st_atime_ns, before.st_mtime_ns))


def link(tool: Path) -> None:
    tool.with_name("linked").hardlink_to(tool)


@pytest.mark.parametrize("change", [rewrite, replace, put_back_in_time, link])
def test_an_executable_that_is_changed_counts_no_more_until_it_is_looked_at_again(
    lab: Lab, programs: Programs, kernel: KernelSide, tool: Path, change: Callable[[Path], None]
) -> None:
    command = [str(tool), *programs.act("connect", V4.evil, PORT)]
    compiled = policy(tool)
    assert outcome(kernel, lab, command, compiled)[0] == "ok\n"
    change(tool)
    assert outcome(kernel, lab, command, compiled) == ("EPERM\n", {DENIED}), (
        "also under the next job's policy"
    )
    kernel.tracer.scopes.look_again()
    assert outcome(kernel, lab, command, compiled)[0] == "ok\n"


def test_a_look_that_fails_forgets_nothing_that_the_next_one_has_to_remove(
    kernel: KernelSide, tool: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    scopes, files = kernel.tracer.scopes, kernel.tracer.maps["exe_bits"]
    scopes.look_again()  # an earlier test's file may have had this one's inode number
    before = set(files)
    scopes.write(policy(tool))
    (named,) = set(files) - before
    with monkeypatch.context() as patch:
        patch.setattr("exporter.kernel.maps.executables.inode_at", lambda *_: None)
        with pytest.raises(KernelError, match="cannot tell which file"):
            scopes.look_again()
    tool.unlink()
    scopes.look_again()
    assert named not in set(files)


@contextmanager
def overlay(folder: Path) -> Iterator[Path]:
    """The two folders `lower`, on the folder's file system, and `upper`, on another, as one."""
    other, merged = folder / "other", folder / "merged"
    for made in (other, merged, folder / "lower"):
        made.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", "mode=755", "none", other], check=True)
    try:
        (other / "upper").mkdir()
        (other / "work").mkdir()
        options = f"lowerdir={folder}/lower,upperdir={other}/upper,workdir={other}/work"
        subprocess.run(["mount", "-t", "overlay", "-o", options, "none", merged], check=True)
        try:
            yield merged
        finally:
            subprocess.run(["umount", merged], check=True)
    finally:
        subprocess.run(["umount", other], check=True)


@pytest.mark.parametrize("layer", ["lower", "other/upper"])
def test_on_overlayfs_it_is_the_same(
    lab: Lab, programs: Programs, kernel: KernelSide, tmp_path: Path, layer: str
) -> None:
    """The device that stat(2) tells there isn't the kernel's."""
    with overlay(tmp_path) as merged:
        shutil.copy2("/usr/bin/env", tmp_path / layer / "tool")
        assert (merged / "tool").stat().st_dev != merged.stat().st_dev
        command = [str(merged / "tool"), *programs.act("connect", V4.evil, PORT)]
        assert outcome(kernel, lab, command, policy(merged / "tool")) == ("ok\n", {ALLOWED})
        rewrite(merged / "tool")
        assert outcome(kernel, lab, command, policy(merged / "tool")) == ("EPERM\n", {DENIED})
