"""The single file, on a machine without any Python; and the glibc that it needs."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import tarfile
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING

import pytest

from tools.release.standalone import MACHINES, UNSAID

from .machine import debian_root, machine
from .releases import VERSION

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from .machine import Machine
    from .releases import Built

pytestmark = [pytest.mark.kernel, pytest.mark.timeout(1200)]  # a root may have to be made

FILE = "/usr/local/bin/ci-egress"
SHELF = "var/lib/ci-egress-standalone"
ACT = ["bash", "-c", "exec 3>/dev/tcp/192.0.2.1/443"]
GLIBC = re.compile(r"\bGLIBC_(\d+)\.(\d+)")
TOLD = "attempts 1 = exported 1 + aggregated 0 + dropped 0 + pending 0"


ADDED = ("OLDPWD=", "PWD=", "SHLVL=", "TRACEPARENT=", "_=")
"""Variables that a shell or ci-egress may add."""


@pytest.fixture(scope="module")
def runner(built: Built) -> Iterator[Machine]:
    """A Debian with the file."""
    with machine(debian_root("bookworm", "git", "make")) as made:
        assert made.run("sh", "-c", "command -v python3", status=None).returncode != 0
        shutil.copy(built.standalone, made.root / FILE[1:])
        yield made


@pytest.fixture
def fresh(runner: Machine) -> Machine:
    """The same, where it has never been started."""
    shutil.rmtree(runner.root / SHELF, ignore_errors=True)
    return runner


def unpacked(runner: Machine) -> list[str]:
    return sorted(path.name for path in (runner.root / SHELF).iterdir())


@pytest.mark.parametrize("architecture", MACHINES)
def test_it_needs_a_glibc_of_2012_and_has_the_versions_that_are_billed(
    built: Built, tmp_path: Path, architecture: str
) -> None:
    head, archive = built.standalone_for(architecture).read_bytes().split(b'"$@"\n', 1)
    assert head.startswith(b"#!/bin/sh\n")
    subprocess.run(["tar", "-xzf", "-", "-C", tmp_path], input=archive, check=True)
    files = [tmp_path / "bin/python3", *tmp_path.rglob("*.so")]
    assert any(path.name.startswith("cygrpc.") for path in files)
    said = subprocess.check_output(["readelf", "--version-info", *files], text=True)
    assert max((int(major), int(minor)) for major, minor in GLIBC.findall(said)) == (2, 17)
    python = (tmp_path / "bin/python3").read_bytes()
    for version in filter(None, UNSAID.values()):
        assert re.search(rf"\x00{re.escape(version)}[\x00,]".encode(), python)


def test_it_traces_and_denies_at_its_first_start(fresh: Machine) -> None:
    seen = fresh.run(FILE, "run", "--enforce", "--allowed-endpoints", "a.example", "--", *ACT, status=1)
    assert "/dev/tcp/192.0.2.1/443: Operation not permitted" in seen.stderr
    assert seen.stderr.splitlines()[-1] == TOLD
    assert fresh.run(FILE, "--version").stdout == f"ci-egress {VERSION}\n"
    assert json.loads(fresh.run(FILE, "doctor", "--json").stdout)["ok"]


def test_another_start_unpacks_nothing_anew(fresh: Machine) -> None:
    fresh.run(FILE, "--version")
    (name,) = unpacked(fresh)
    before = (fresh.root / SHELF / name).stat()
    fresh.run(FILE, "--version")
    assert unpacked(fresh) == [name]
    assert (fresh.root / SHELF / name).stat() == before


def test_first_starts_at_once_unpack_one_folder(fresh: Machine) -> None:
    with ThreadPoolExecutor(4) as pool:
        said = {done.stdout for done in pool.map(lambda _: fresh.run(FILE, "--version"), range(4))}
    assert len(said) == 1
    assert len(unpacked(fresh)) == 1


def test_the_command_has_the_environment_and_the_mask_of_its_caller(fresh: Machine) -> None:
    names = ("home", "machine", "name", "own", "part", "shelf", "user")
    given = ["PATH=/bin:/nowhere", *(f"{name}=the caller's" for name in names)]
    shell = ["sh", "-c", 'umask 027; exec env -i "$@"', "sh", *given]
    said = fresh.run(*shell, FILE, "run", "--", "sh", "-c", "umask; exec env").stdout
    mask, *environment = said.splitlines()
    assert mask == "0027"
    assert sorted(each for each in environment if not each.startswith(ADDED)) == sorted(given)


def test_a_report_is_the_users_where_there_is_no_python(fresh: Machine) -> None:
    fresh.run("install", "--directory", "--owner=daemon", "/home/daemon")
    sudo = ["env", "SUDO_UID=1", "SUDO_GID=1", "SUDO_USER=daemon"]
    said = fresh.run(*sudo, FILE, "run", "--report", "/home/daemon/report.html", "--", "true").stderr
    assert "can't be written" not in said
    assert (fresh.root / "home/daemon/report.html").stat().st_uid == 1


def test_variables_of_a_job_run_nothing_at_the_first_start(fresh: Machine) -> None:
    hostile = [
        "TAR_OPTIONS=--to-command=touch\\ /root/owned",
        "GZIP=--help",
        "PYTHONINSPECT=1",
        "CDPATH=/root",
    ]
    assert fresh.run("env", *hostile, FILE, "--version").stdout == f"ci-egress {VERSION}\n"
    assert not (fresh.root / "root/owned").exists()


def test_a_file_that_is_cut_off_says_so(fresh: Machine) -> None:
    whole = (fresh.root / FILE[1:]).read_bytes()
    part = fresh.root / "root/part"
    part.write_bytes(whole[: len(whole) // 2])
    part.chmod(0o755)
    said = fresh.run("/root/part", "--version", status=91).stderr
    assert "or this file is damaged, then get it again" in said
    assert unpacked(fresh) == []


def test_a_file_that_is_replaced_while_it_unpacks_is_refused(fresh: Machine) -> None:
    head, _ = (fresh.root / FILE[1:]).read_bytes().split(b'"$@"\n', 1)
    part = fresh.root / "root/part"
    with part.open("wb") as file:
        file.write(head + b'"$@"\n')
        with tarfile.open(fileobj=file, mode="w:gz") as tar:
            tar.add(__file__, "bin/python3")
    part.chmod(0o755)
    assert "was replaced meanwhile" in fresh.run("/root/part", "--version", status=91).stderr
    assert unpacked(fresh) == []


def test_another_architectures_file_says_so_and_unpacks_nothing(fresh: Machine, built: Built) -> None:
    here = os.uname().machine
    (other,) = set(MACHINES) - {here}
    shutil.copy(built.standalone_for(other), fresh.root / "root/other")
    said = fresh.run("/root/other", "--version", status=91).stderr
    assert said == f"ci-egress: this file is for {other}, and this machine is {here}\n"
    assert not (fresh.root / SHELF).exists()


def test_what_killed_first_starts_left_is_removed(fresh: Machine) -> None:
    fresh.run("mkdir", "-p", f"/{SHELF}/.part.killed/bin", f"/{SHELF}/.part.running")
    fresh.run("touch", "--date=2 days ago", f"/{SHELF}/.part.killed")
    fresh.run(FILE, "--version")
    left, _ = unpacked(fresh)
    assert left == ".part.running"


def test_what_another_user_could_write_is_not_run(fresh: Machine) -> None:
    shelf = fresh.root / SHELF
    shelf.mkdir()
    fresh.run("chown", "nobody", f"/{SHELF}")
    said = fresh.run(FILE, "--version", status=91).stderr
    assert said == f"ci-egress: /{SHELF} is another user's; remove it\n"
    fresh.run("chown", "root", f"/{SHELF}")
    fresh.run(FILE, "--version")
    for mode, folder in (("g+w", SHELF), ("o+w", f"{SHELF}/{unpacked(fresh)[0]}")):
        fresh.run("chmod", mode, f"/{folder}")
        said = fresh.run(FILE, "--version", status=91).stderr
        assert said == f"ci-egress: other users may write to /{folder}; remove it\n"
        fresh.run("chmod", "755", f"/{folder}")


def test_where_nothing_may_be_executed_it_says_so(fresh: Machine) -> None:
    (fresh.root / SHELF).mkdir()
    fresh.run("mount", "-t", "tmpfs", "-o", "noexec,mode=755", "none", f"/{SHELF}")
    try:
        said = fresh.run(FILE, "--version", status=91).stderr
        assert f"either /{SHELF} is mounted noexec, or this machine's glibc is older than 2.17" in said
        assert unpacked(fresh) == []
    finally:
        fresh.run("umount", f"/{SHELF}")


def test_users_have_folders_of_their_own(fresh: Machine) -> None:
    user = ["setpriv", "--reuid=nobody", "--clear-groups", "env", "HOME=/tmp"]
    said = fresh.run(*user, FILE, "--version").stdout
    assert said.startswith("ci-egress ")
    assert not (fresh.root / SHELF).exists()
    assert (fresh.root / "tmp/.cache/ci-egress").is_dir()
