"""Which files a name or a path in `lineage` is: links followed, and only what is root's alone to change."""

from __future__ import annotations

import os
import shutil
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from exporter.common.errors import FileError
from exporter.policy.executables import find, require_executables

from .files import rules

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="makes files that are root's")

NOBODY = 65534


def program(path: Path) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    return Path(shutil.copy2(Path(sys.executable).resolve(), path))


def test_a_name_is_the_executables_of_that_name_in_the_directories(tmp_path: Path) -> None:
    first, second = program(tmp_path / "a/git"), program(tmp_path / "b/git")
    program(tmp_path / "b/node")
    found = find("git", [tmp_path / "a", tmp_path / "b", tmp_path / "none"])
    assert (found.files, found.unfit) == ((first, second), ())


def test_a_path_is_the_file_there(tmp_path: Path) -> None:
    path = program(tmp_path / "a/git")
    assert find(str(path), [tmp_path / "b"]).files == (path,)


def test_links_are_followed_and_what_they_lead_to_counts_once(tmp_path: Path) -> None:
    real = program(tmp_path / "lib/git-2")
    (tmp_path / "bin").mkdir()
    (tmp_path / "bin/git").symlink_to("alternative")
    (tmp_path / "bin/alternative").symlink_to("../lib/../lib/git-2")
    (tmp_path / "sbin").symlink_to(tmp_path / "bin")
    assert find("git", [tmp_path / "bin", tmp_path / "sbin"]).files == (real,)


@pytest.mark.parametrize("executable", ["git", "/no/such/git", "/etc/passwd/git"])
def test_what_is_not_there_is_neither_a_file_nor_unfit(tmp_path: Path, executable: str) -> None:
    found = find(executable, [tmp_path])
    assert (found.files, found.unfit) == ((), ())


def test_a_link_that_leads_nowhere_is_not_there(tmp_path: Path) -> None:
    (tmp_path / "git").symlink_to(tmp_path / "gone")
    assert find("git", [tmp_path]).unfit == ()


def test_links_in_a_circle_are_unfit(tmp_path: Path) -> None:
    (tmp_path / "git").symlink_to("git")
    (unfit,) = find("git", [tmp_path]).unfit
    assert unfit.why == "is a link that leads nowhere"


def test_what_others_can_change_is_unfit_wherever_on_the_way(tmp_path: Path) -> None:
    program(tmp_path / "safe/git")
    (tmp_path / "link").symlink_to(tmp_path / "safe")
    changed: dict[str, Callable[[Path], object]] = {
        "safe/git": lambda path: path.chmod(0o775),
        "safe": lambda path: path.chmod(0o757),
        "link": lambda path: os.chown(path, NOBODY, -1, follow_symlinks=False),
        "": lambda path: os.chown(path, NOBODY, -1),
    }
    assert find("git", [tmp_path / "link"]).files == (tmp_path / "safe/git",)
    for step, change in changed.items():
        status = (tmp_path / step).lstat()
        change(tmp_path / step)
        (unfit,) = find("git", [tmp_path / "link"]).unfit
        assert unfit.path == tmp_path / "link/git"
        assert unfit.why.startswith(f"isn't root's alone to change: `{tmp_path / step}`, ")
        os.chown(tmp_path / step, status.st_uid, status.st_gid, follow_symlinks=False)
        if step != "link":
            (tmp_path / step).chmod(status.st_mode & 0o7777)
    assert find("git", [tmp_path / "link"]).files == (tmp_path / "safe/git",)


def test_in_a_sticky_directory_what_is_roots_stays_roots(tmp_path: Path) -> None:
    shared = tmp_path / "shared"
    mine, others = program(shared / "git"), program(shared / "node")
    shared.chmod(0o1777)
    os.chown(others, NOBODY, -1)
    assert find("git", [shared]).files == (mine,)
    assert find("node", [shared]).files == ()


@pytest.mark.parametrize("kind", ["script", "text", "folder", "unexecutable", "pipe"])
def test_what_the_kernel_does_not_run_itself_is_unfit(tmp_path: Path, kind: str) -> None:
    path = tmp_path / "npm"
    if kind == "folder":
        path.mkdir()
    elif kind == "pipe":
        os.mkfifo(path, 0o755)
        path.chmod(0o755)
    elif kind == "unexecutable":
        program(path).chmod(0o644)
    else:
        path.write_text("#!/usr/bin/node\n" if kind == "script" else "echo\n")
        path.chmod(0o755)
    (unfit,) = find("npm", [tmp_path]).unfit
    is_text = kind in ("script", "text")
    assert unfit.why.startswith("is a script" if is_text else "is no file that can be executed")


def test_rules_are_told_by_their_place(tmp_path: Path) -> None:
    program(tmp_path / "git")
    program(tmp_path / "node").chmod(0o777)
    policy = rules(
        allow="""
            a.example
            {host: a.example, ports: [22], lineage: [git, node]}
            {host: b.example, lineage: [git]}
        """,
        deny="{host: a.example, lineage: [node]}",
    )
    with pytest.raises(FileError) as raised:
        require_executables(policy.rules, [tmp_path])
    told = (
        f"`{tmp_path}/node` in `lineage` isn't root's alone to change: `{tmp_path}/node`, its mode is 0777; "
        f"`chown root` and `chmod go-w` `{tmp_path}/node`, or name another executable"
    )
    assert raised.value.lines == (f"policy.yaml:4:5: {told}", f"policy.yaml:7:5: {told}")


def test_what_is_absent_or_beside_another_is_only_warned_of(tmp_path: Path) -> None:
    program(tmp_path / "a/git")
    program(tmp_path / "b/git").chmod(0o757)
    lineage = "{host: a.example, lineage: [git, hg, /opt/hg]}"
    told = require_executables(rules(allow=lineage).rules, [tmp_path / "a", tmp_path / "b"])
    assert told == [
        f"policy.yaml:3:5: `{tmp_path}/b/git` in `lineage` isn't root's alone to change: `{tmp_path}/b/git`, "
        f"its mode is 0757; `chown root` and `chmod go-w` `{tmp_path}/b/git`, or name another executable; "
        "it doesn't count as `git`",
        "policy.yaml:3: there is no `hg` on this machine, in none of the system's directories: no chain has "
        "it",
        "policy.yaml:3: there is no `/opt/hg` on this machine: no chain has it",
    ]
    assert require_executables(rules(allow="a.example").rules) == []
