"""Which inode a file is: told for what is there, and for nothing else."""

from __future__ import annotations

from pathlib import Path

import pytest

from exporter.kernel.maps import executables
from exporter.kernel.maps.executables import inode_at


def test_a_file_is_the_same_under_all_of_its_names(tmp_path: Path) -> None:
    file = tmp_path / "file"
    file.touch(mode=0)
    (tmp_path / "soft").symlink_to(file)
    (tmp_path / "hard").hardlink_to(file)
    found = {inode_at(tmp_path / name) for name in ("file", "soft", "hard")}
    assert len(found) == 1
    assert {inode.ctime_ns for inode in found if inode} == {file.stat().st_ctime_ns}


def test_another_file_of_that_content_is_another(tmp_path: Path) -> None:
    for name in ("file", "other"):
        (tmp_path / name).touch()
    assert inode_at(tmp_path / "file") != inode_at(tmp_path / "other")


def test_what_cannot_be_told_is_no_inode(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert inode_at(tmp_path / "gone") is None
    mountinfo = tmp_path / "mountinfo"
    monkeypatch.setattr(executables, "MOUNTINFO", mountinfo)
    assert inode_at(tmp_path) is None
    mountinfo.touch()
    assert inode_at(tmp_path) is None
