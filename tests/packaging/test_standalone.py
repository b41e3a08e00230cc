"""The single file, on a machine without any Python, whose glibc is older than that of RHEL 9."""

from __future__ import annotations

import json
import os
import shutil
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING

import pytest

from .machine import debian_root, machine
from .releases import VERSION

if TYPE_CHECKING:
    from collections.abc import Iterator

    from .machine import Machine
    from .releases import Built

pytestmark = [pytest.mark.kernel, pytest.mark.timeout(1200)]  # a root may have to be made

FILE = "/usr/local/bin/ci-egress"
SHELF = "var/cache/ci-egress"
ACT = ["bash", "-c", "exec 3>/dev/tcp/192.0.2.1/443"]
TOLD = "attempts 1 = exported 1 + aggregated 0 + dropped 0 + pending 0"


@pytest.fixture(scope="module")
def runner(built: Built) -> Iterator[Machine]:
    """A Debian 11 with the file."""
    with machine(debian_root("bullseye")) as made:
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


def test_the_command_has_the_path_and_the_mask_of_its_caller(fresh: Machine) -> None:
    command = ["sh", "-c", 'echo "$PATH"; umask']
    shell = ["sh", "-c", 'umask 027; PATH=/bin:/nowhere exec "$@"', "sh"]
    assert fresh.run(*shell, FILE, "run", "--", *command).stdout == "/bin:/nowhere\n0027\n"


def test_a_file_that_is_cut_off_says_so(fresh: Machine) -> None:
    whole = (fresh.root / FILE[1:]).read_bytes()
    part = fresh.root / "root/part"
    part.write_bytes(whole[: len(whole) // 2])
    part.chmod(0o755)
    said = fresh.run("/root/part", "--version", status=91).stderr
    assert "or this file is damaged, then get it again" in said
    assert unpacked(fresh) == []


def test_what_another_user_could_write_is_not_run(fresh: Machine) -> None:
    shelf = fresh.root / SHELF
    shelf.mkdir()
    fresh.run("chown", "nobody", f"/{SHELF}")
    said = fresh.run(FILE, "--version", status=91).stderr
    assert said == f"ci-egress: /{SHELF} is another user's; remove it\n"


def test_where_nothing_may_be_executed_it_says_so(fresh: Machine) -> None:
    (fresh.root / SHELF).mkdir()
    fresh.run("mount", "-t", "tmpfs", "-o", "noexec", "none", f"/{SHELF}")
    try:
        said = fresh.run(FILE, "--version", status=91).stderr
        assert f"either /{SHELF} is mounted noexec, or this isn't a {os.uname().machine} with glibc" in said
        assert unpacked(fresh) == []
    finally:
        fresh.run("umount", f"/{SHELF}")


def test_users_have_folders_of_their_own(fresh: Machine) -> None:
    user = ["setpriv", "--reuid=nobody", "--clear-groups", "env", "HOME=/tmp"]
    said = fresh.run(*user, FILE, "--version").stdout
    assert said.startswith("ci-egress ")
    assert not (fresh.root / SHELF).exists()
    assert (fresh.root / "tmp/.cache/ci-egress").is_dir()
