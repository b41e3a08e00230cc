"""`make test-kernels` counts what was tried, and takes nothing that wasn't for good."""

from __future__ import annotations

import re
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from tests.checkout import ROOT
from tools.kernels.cpio import Entry, archived
from tools.kernels.folders import digest
from tools.kernels.matrix import KERNELS
from tools.kernels.page import page
from tools.kernels.results import FEATURES, WITHOUT_BOOT, Check, Outcome, checks_in, unseen
from tools.kernels.roots import recipe
from tools.kernels.vmlinuz import NoBtfError, btf_of

if TYPE_CHECKING:
    from collections.abc import Iterator

TESTS = ROOT / "tests"
JUNIT = """\
<testsuites><testsuite>
<testcase name="good"><properties><property name="feature" value="names"/></properties></testcase>
<testcase name="bad"><properties><property name="feature" value="names"/></properties>
<failure message="EPERM">where</failure></testcase>
<testcase name="broken"><properties><property name="feature" value="watch"/></properties>
<error message="E"/></testcase>
<testcase name="left"><properties><property name="feature" value="demo"/></properties>
<skipped message="no"/></testcase>
</testsuite></testsuites>
"""


def test_what_failed_what_broke_and_what_was_left_out_is_not_ok(tmp_path: Path) -> None:
    junit = tmp_path / "tests.xml"
    junit.write_text(JUNIT)
    assert list(checks_in(junit)) == [
        Check("names", "good", ok=True),
        Check("names", "bad", ok=False, why="EPERM\nwhere"),
        Check("watch", "broken", ok=False, why="E"),
        Check("demo", "left", ok=False, why="no"),
    ]


def test_a_feature_of_which_nothing_was_tried_fails() -> None:
    seen = [Check("names", "a", ok=True)]
    assert [(check.feature, check.ok) for check in unseen(seen, ["names", "demo"])] == [("demo", False)]


def test_a_cell_is_yes_when_all_of_it_passed() -> None:
    checks = (Check("names", "a", ok=True), Check("watch", "a", ok=True), Check("watch", "b", ok=False))
    outcome = Outcome("debian-12", "6.1", checks)
    assert [outcome.cell(name) for name in ("names", "watch", "demo")] == [
        "yes",
        "no (1 of 2 failed)",
        "not run",
    ]


def test_the_page_tells_how_long_each_kernel_took_where_that_was_noted() -> None:
    timed = Outcome("debian-12", "6.1", seconds={"ahead": 3.4, "boot": 100.2}).as_json()
    untimed = Outcome("debian-13", "6.12").as_json()
    del untimed["seconds"]
    missing = Outcome("ubuntu-24.04", "", not_run="no archive").as_json()
    assert "| Seconds it took | 104 | not noted | not run |" in page([timed, untimed, missing])


def test_the_page_can_be_made_of_every_kernel_and_the_extra_ones_are_no_failure_when_missing() -> None:
    assert page([Outcome(stock.name, "1").as_json() for stock in KERNELS])
    assert not any(stock.is_extra and stock.is_required for stock in KERNELS)


PROJECT = """\
[build-system]
requires = ["hatchling"]
[project]
dependencies = ["click"]
[tool.ruff]
line-length = 1
"""


@pytest.mark.parametrize(("change", "is_another"), [("click", True), ("hatchling", True), ("ruff", False)])
def test_an_image_is_another_one_only_with_what_is_in_it(
    tmp_path: Path, change: str, *, is_another: bool
) -> None:
    project = tmp_path / "pyproject.toml"
    project.write_text(PROJECT)
    before = digest(*recipe(project))
    project.write_text(PROJECT.replace(change, f"{change}-x"))
    assert (digest(*recipe(project)) != before) == is_another


def test_each_feature_has_tests_and_each_such_test_has_a_feature() -> None:
    mark = re.compile(r'mark\.everywhere\(feature="(\w+)"\)')
    named = {name for path in TESTS.rglob("test_*.py") for name in mark.findall(path.read_text())}
    assert named == set(FEATURES) - set(WITHOUT_BOOT)


def test_an_archive_has_each_file_where_its_header_says() -> None:
    entries = [Entry.folder("bin"), Entry.program("bin/a", b"#!x"), Entry.program("init", b"12345")]
    assert list(files_in(archived(entries))) == [
        ("bin", 0o040755, b""),
        ("bin/a", 0o100755, b"#!x"),
        ("init", 0o100755, b"12345"),
        ("TRAILER!!!", 0, b""),
    ]


def files_in(data: bytes) -> Iterator[tuple[str, int, bytes]]:
    """Name, mode and contents, as the kernel reads them: contents begin at multiples of four bytes."""
    at = 0
    while at < len(data):
        assert data[at : at + 6] == b"070701"
        fields = [int(data[at + 6 + 8 * n : at + 14 + 8 * n], 16) for n in range(13)]
        mode, size, name_size = fields[1], fields[6], fields[11]
        begins = at + (110 + name_size + 3) // 4 * 4
        yield data[at + 110 : at + 109 + name_size].decode(), mode, data[begins : begins + size]
        at = begins + (size + 3) // 4 * 4


@pytest.mark.parametrize("image", [b"", b"\x7fELF" + bytes(1000)], ids=["empty", "another"])
def test_what_is_no_bzimage_is_told(image: bytes) -> None:
    with pytest.raises(NoBtfError, match="no bzImage"):
        btf_of(image)
