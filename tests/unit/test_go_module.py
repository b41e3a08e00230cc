"""A Go module is taken only if its files have the digest that is expected."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import pytest

from tools.release import go_module
from tools.release.checkout import ReleaseError

if TYPE_CHECKING:
    from pathlib import Path

MODULE = "m.example/m@v1.0.0"
FILES = {"a/b": b"one", "a.b": b"two", "a/c": b""}
DIGEST = "h1:GtiM/IOlJlNfVlmFXu1x635Nu652Xz1LxIFTjuTFvls="
"""By sha256sum and base64 alone."""


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    made = tmp_path / MODULE
    for name, data in FILES.items():
        (made / name).parent.mkdir(parents=True, exist_ok=True)
        (made / name).write_bytes(data)
    return made


def fetching(folder: Path, *, status: int = 0) -> Path:
    """What fetches nothing, and says of the folder what Go's cache says, right or not."""
    script = folder.parents[1] / "fetch"
    said = json.dumps({"Dir": str(folder), "Sum": DIGEST})
    script.write_text(f"#!/bin/sh\necho '{said}'\nexit {status}\n")
    script.chmod(0o755)
    return script


def test_the_digest_is_that_of_go(folder: Path) -> None:
    assert go_module.digest_of(folder, MODULE) == DIGEST
    assert go_module.fetched(fetching(folder), MODULE, DIGEST) == folder


@pytest.mark.parametrize("name", ["a/b", "a/planted"])
def test_files_that_were_changed_in_the_cache_are_refused(folder: Path, name: str) -> None:
    (folder / name).write_bytes(b"other")
    with pytest.raises(ReleaseError, match="has the digest h1:"):
        go_module.fetched(fetching(folder), MODULE, DIGEST)


def test_a_module_that_cannot_be_fetched_is_named(folder: Path) -> None:
    with pytest.raises(ReleaseError, match=f"{MODULE} wasn't fetched"):
        go_module.fetched(fetching(folder, status=1), MODULE, DIGEST)
