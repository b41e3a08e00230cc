"""What stays possible where tracing isn't, by what is missing."""

from __future__ import annotations

from pathlib import Path

import pytest

from exporter.kernel.elsewhere import FROM_THE_HOST, IN_GVISOR, ON_ANOTHER_MACHINE, remaining_way

LINUX = "Linux version 6.1.0-50-amd64 (debian-kernel@lists.debian.org) #1 SMP Debian 6.1.170-1\n"
GVISORS = [
    "Linux version 4.4.0 #1 SMP Sun Jan 10 15:06:54 PST 2016\n",
    "Linux version 4.19.0-gvisor #1 SMP Sun Jan 10 15:06:54 PST 2016\n",
]


@pytest.fixture
def version(tmp_path: Path) -> Path:
    """The file of a kernel that is a Linux."""
    path = tmp_path / "version"
    path.write_text(LINUX)
    return path


@pytest.mark.parametrize(
    ("missing", "said"),
    [
        ([], ""),
        (["capabilities"], ""),
        (["capabilities", "pid namespace"], FROM_THE_HOST),
        (["kernel"], ON_ANOTHER_MACHINE),
        (["BTF", "pid namespace"], ON_ANOTHER_MACHINE),  # a container has its host's kernel
        (["machine"], ON_ANOTHER_MACHINE),
    ],
)
def test_the_way_is_the_one_that_what_is_missing_leaves(version: Path, missing: list[str], said: str) -> None:
    assert remaining_way(missing, version) == said


@pytest.mark.parametrize("text", GVISORS)
def test_in_gvisor_there_is_none_and_the_reason_is_said(version: Path, text: str) -> None:
    version.write_text(text)
    assert remaining_way(["kernel", "BTF"], version) == IN_GVISOR


def test_a_kernel_that_does_not_say_what_it_is_is_taken_for_linux(tmp_path: Path) -> None:
    assert remaining_way(["kernel"], tmp_path / "none") == ON_ANOTHER_MACHINE
