"""The end is asked for by a name: what else a job puts into the folder, or does to it, changes nothing."""

from __future__ import annotations

import os
import resource
import shutil
import time
from contextlib import contextmanager
from hashlib import sha256
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from exporter.common.errors import UsageError
from exporter.session.watch.end_folder import EndFolder, FolderLook, end_folder

if TYPE_CHECKING:
    from collections.abc import Iterator

SECRET = "5f" * 32
TOKEN = sha256(SECRET.encode()).hexdigest()
QUEUE = int(Path("/proc/sys/fs/inotify/max_queued_events").read_text())


@pytest.fixture
def asked(tmp_path: Path) -> Iterator[EndFolder]:
    """One that nobody has asked in yet."""
    with end_folder(tmp_path, sha256(TOKEN.encode()).digest()) as folder:
        assert folder
        assert folder.look() == FolderLook(is_end=False, is_forged=False)
        yield folder


def test_the_token_is_the_end_and_any_other_name_is_forged(tmp_path: Path, asked: EndFolder) -> None:
    (tmp_path / TOKEN[:-1]).touch()
    assert asked.look() == FolderLook(is_end=False, is_forged=True)
    (tmp_path / TOKEN).touch()
    assert asked.look() == FolderLook(is_end=True, is_forged=False)
    assert asked.look() == FolderLook(is_end=False, is_forged=False), "each is told once"


def test_who_has_the_secret_behind_it_may_have_the_job_go_on(tmp_path: Path, asked: EndFolder) -> None:
    (tmp_path / SECRET[:-1]).touch()
    assert asked.look() == FolderLook(is_end=False, is_forged=True)
    (tmp_path / SECRET).touch()
    assert asked.look() == FolderLook(is_end=True, is_forged=False, goes_on=True)


def test_a_name_that_was_there_first_and_one_that_is_moved_there_are_seen(tmp_path: Path) -> None:
    folder, elsewhere = tmp_path / "end", tmp_path / "elsewhere"
    folder.mkdir()
    (folder / "other").touch()
    elsewhere.touch()
    with end_folder(folder, sha256(TOKEN.encode()).digest()) as asked:
        assert asked
        assert asked.look() == FolderLook(is_end=False, is_forged=True)
        elsewhere.rename(folder / TOKEN)
        assert asked.look() == FolderLook(is_end=True, is_forged=False)


def test_nothing_is_opened_and_no_name_is_too_strange(tmp_path: Path, asked: EndFolder) -> None:
    os.mkfifo(tmp_path / "pipe")
    (tmp_path / "link").symlink_to(tmp_path / "nowhere")
    (tmp_path / os.fsdecode(b"\xff\n")).mkdir()
    assert asked.look() == FolderLook(is_end=False, is_forged=True)


def test_behind_a_flood_of_names_the_end_is_seen_at_once(tmp_path: Path, asked: EndFolder) -> None:
    """More than the kernel keeps, and than one look reads."""
    for number in range(QUEUE + 1):
        (tmp_path / str(number)).touch()
    assert asked.look() == FolderLook(is_end=False, is_forged=True)
    (tmp_path / TOKEN).touch()
    began_s = time.thread_time()  # of its own: a busy machine only adds to it
    while not asked.look().is_end:
        assert time.thread_time() - began_s < 0.5


def test_a_name_that_could_not_be_told_is_read(tmp_path: Path, asked: EndFolder) -> None:
    for number in range(QUEUE + 1):
        (tmp_path / str(number)).touch()
    (tmp_path / TOKEN).touch()  # the kernel had no room for it any more
    assert any(asked.look().is_end for _ in range(1000))


def test_without_a_free_descriptor_it_is_told_all_the_same(tmp_path: Path, asked: EndFolder) -> None:
    with no_descriptors():
        (tmp_path / TOKEN).mkdir()
        assert asked.look() == FolderLook(is_end=True, is_forged=False)


def test_where_names_cannot_be_told_they_are_read_as_soon_as_a_descriptor_is_free(tmp_path: Path) -> None:
    descriptor = os.open(tmp_path, os.O_RDONLY)
    try:
        with no_descriptors():
            asked = EndFolder(descriptor, sha256(TOKEN.encode()).digest())
            (tmp_path / TOKEN).mkdir()
            assert asked.look() == FolderLook(is_end=False, is_forged=False)
        assert asked.look() == FolderLook(is_end=True, is_forged=False)
    finally:
        os.close(descriptor)


@contextmanager
def no_descriptors() -> Iterator[None]:
    """None is free meanwhile."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (0, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


def test_a_folder_that_is_put_in_its_place_is_not_looked_into(tmp_path: Path, asked: EndFolder) -> None:
    shutil.rmtree(tmp_path)
    tmp_path.mkdir()
    (tmp_path / "forged").touch()
    assert asked.look() == FolderLook(is_end=False, is_forged=False)


def test_a_link_is_refused_at_the_start(tmp_path: Path) -> None:
    (tmp_path / "link").symlink_to(tmp_path)
    with pytest.raises(UsageError, match="--end-folder: cannot open"), end_folder(tmp_path / "link", b""):
        pass
