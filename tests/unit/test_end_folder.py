"""The end is asked for by a name: what else a job puts into the folder, or does to it, changes nothing."""

from __future__ import annotations

import os
import resource
import shutil
from hashlib import sha256
from typing import TYPE_CHECKING

import pytest

from exporter.cli.end_folder import EndFolder, Found, end_folder
from exporter.errors import UsageError

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

TOKEN = "5f" * 32


@pytest.fixture
def asked(tmp_path: Path) -> Iterator[EndFolder]:
    """One that nobody has asked in yet."""
    with end_folder(tmp_path, sha256(TOKEN.encode()).digest()) as folder:
        assert folder
        assert folder.look() == Found(is_end=False, is_forged=False)
        yield folder


def test_the_token_is_the_end_and_any_other_name_is_forged(tmp_path: Path, asked: EndFolder) -> None:
    (tmp_path / TOKEN[:-1]).touch()
    assert asked.look() == Found(is_end=False, is_forged=True)
    (tmp_path / TOKEN).touch()
    assert asked.look() == Found(is_end=True, is_forged=True)
    (tmp_path / TOKEN[:-1]).unlink()
    assert asked.look() == Found(is_end=True, is_forged=False)


def test_nothing_is_opened_and_no_name_is_too_strange(tmp_path: Path, asked: EndFolder) -> None:
    os.mkfifo(tmp_path / "pipe")
    (tmp_path / "link").symlink_to(tmp_path / "nowhere")
    (tmp_path / os.fsdecode(b"\xff\n")).mkdir()
    assert asked.look() == Found(is_end=False, is_forged=True)


def test_a_flood_of_names_is_looked_at_in_part(
    tmp_path: Path, asked: EndFolder, monkeypatch: pytest.MonkeyPatch
) -> None:
    for number in range(20):
        (tmp_path / str(number)).touch()
    monkeypatch.setattr("exporter.cli.end_folder._NAMES_MAX", 10)
    assert asked.look() == Found(is_end=False, is_forged=True)
    for path in tmp_path.iterdir():
        path.unlink()
    (tmp_path / TOKEN).touch()
    assert asked.look() == Found(is_end=True, is_forged=False)


def test_where_no_descriptor_is_free_nothing_is_asked(tmp_path: Path, asked: EndFolder) -> None:
    (tmp_path / TOKEN).touch()
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (asked.descriptor, hard))
    try:
        assert asked.look() == Found(is_end=False, is_forged=False)
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
    assert asked.look() == Found(is_end=True, is_forged=False)


def test_a_folder_that_is_put_in_its_place_is_not_looked_into(tmp_path: Path, asked: EndFolder) -> None:
    shutil.rmtree(tmp_path)
    tmp_path.mkdir()
    (tmp_path / "forged").touch()
    assert asked.look() == Found(is_end=False, is_forged=False)


def test_a_link_is_refused_at_the_start(tmp_path: Path) -> None:
    (tmp_path / "link").symlink_to(tmp_path)
    with pytest.raises(UsageError, match="--end-folder: cannot open"), end_folder(tmp_path / "link", b""):
        pass
