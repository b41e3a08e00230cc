"""Documents are written by a Python that runs with the user's rights, and that no job could have replaced."""

from __future__ import annotations

import os
import sys
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING

import pytest

from exporter.kernel import requirements
from exporter.kernel.compilation.compiling import SYSTEM_PYTHON
from exporter.session import user_files
from exporter.session.user_files import HandingError, replace
from exporter.session.users import command_user

if TYPE_CHECKING:
    from collections.abc import Iterator

    from exporter.session.users import CommandUser

pytestmark = pytest.mark.skipif(
    os.geteuid() != 0 or not requirements.has_effective(requirements.CAP_SETUID, requirements.CAP_SETGID),
    reason="only root writes as another user",
)


@pytest.fixture
def user() -> CommandUser:
    made = command_user("daemon", {}, euid=0)
    assert made is not None
    return made


@pytest.fixture
def page(user: CommandUser) -> Iterator[Path]:
    """In a folder of the user's, that the way to `tmp_path` is closed to."""
    with TemporaryDirectory(dir="/tmp") as folder:
        os.chown(folder, user.uid, user.gid)
        yield Path(folder) / "report.html"


@pytest.mark.parametrize("system", [SYSTEM_PYTHON, "/nowhere/python3"])
def test_it_is_the_users_also_where_the_system_has_no_python(
    page: Path, user: CommandUser, system: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(user_files, "SYSTEM_PYTHON", system)
    replace(page, b"page", user)
    assert (page.read_bytes(), page.stat().st_uid) == (b"page", user.uid)


def test_a_python_that_its_user_could_replace_does_not_run(
    page: Path, user: CommandUser, monkeypatch: pytest.MonkeyPatch
) -> None:
    planted = page.with_name("python3")
    planted.write_text(f"#!/bin/sh\necho ran > {page}\n")
    planted.chmod(0o755)
    monkeypatch.setattr(user_files, "SYSTEM_PYTHON", "/nowhere/python3")
    monkeypatch.setattr(sys, "executable", str(planted))
    with pytest.raises(HandingError, match="there is no /nowhere/python3 to write it as its user"):
        replace(page, b"page", user)
    assert not page.exists()
