"""tests/unit mirrors exporter/: by a module one finds its test, and by a test its module."""

from __future__ import annotations

import re
from fnmatch import fnmatchcase
from pathlib import PurePath

import pytest

from tests.checkout import ROOT, tracked

MODULES = {PurePath(path).relative_to("exporter") for path in tracked(ROOT, "exporter/*.py")}
TESTS = {PurePath(path).relative_to("tests/unit") for path in tracked(ROOT, "tests/unit/*test_*.py")}
IN_ROOMS = sorted(path for path in TESTS if path.parent.name)


def used(path: PurePath) -> set[str]:
    """Return the modules of exporter/ that a test names, or a helper that it names."""
    text = (ROOT / path).read_text(encoding="utf-8")
    helpers = (
        PurePath(*module.split("."))
        for module in re.findall(r"^from (tests\.unit[.\w]*)", text, re.MULTILINE)
    )
    found = (used(file) for helper in helpers if (ROOT / (file := helper.with_suffix(".py"))).is_file())
    return set(re.findall(r"\bexporter[.\w]*", text)).union(*found)


def test_pytest_passes_over_no_folder(pytestconfig: pytest.Config) -> None:
    """As it does with folders called `build` or `dist`: what these hold is tested no more, unsaid."""
    names = {name for path in tracked(ROOT, "tests/*.py") for name in PurePath(path).parent.parts}
    passed_over = pytestconfig.getini("norecursedirs")
    assert {name for name in names if any(fnmatchcase(name, pattern) for pattern in passed_over)} == set()


def test_folders_are_rooms() -> None:
    assert {path.parent for path in IN_ROOMS} <= {path.parent for path in MODULES}


@pytest.mark.parametrize("path", IN_ROOMS, ids=str)
def test_a_test_uses_the_room_in_whose_folder_it_is(path: PurePath) -> None:
    room = ".".join(("exporter", *path.parent.parts))
    assert any(f"{module}.".startswith(f"{room}.") for module in used("tests/unit" / path))


@pytest.mark.parametrize("path", IN_ROOMS, ids=str)
def test_a_test_with_the_name_of_a_module_is_in_the_folder_of_that_module(path: PurePath) -> None:
    name = path.name.removeprefix("test_")
    called_so = {module.parent for module in MODULES if name in (module.name, f"{module.parent.name}.py")}
    assert not called_so or path.parent in called_so


def test_no_test_imports_from_another() -> None:
    """But those of pages, which hold the tables of errors there against what tests have of them."""
    modules = [PurePath(path) for path in tracked(ROOT, "tests/*.py") if not path.startswith("tests/docs/")]
    importing = re.compile(r"^ *from (?:[.\w]*\.test_\w+ import|[.\w]+ import test_)", re.MULTILINE)
    found = {path for path in modules if importing.search((ROOT / path).read_text(encoding="utf-8"))}
    assert found == {PurePath("tests/integration/test_otlp_outage.py")}, (
        "it runs a part of itself as a process"
    )
