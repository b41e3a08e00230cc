"""docs/architecture.md draws and lists all there is, in the order in which the code may import."""

from __future__ import annotations

import re
import tomllib
from functools import cache
from itertools import pairwise

from tests.checkout import ROOT
from tests.docs import tree
from tests.docs.pages import DOCS, fences

PAGE = DOCS / "architecture.md"
CONTRIBUTING = ROOT / "CONTRIBUTING.md"
_ROOM = re.compile(r"\b(\w+)/(?=  |$)", re.MULTILINE)
"""The room below whose name others stand, in the right half of the picture."""
_MODULE = re.compile(r"[\w/]+\.py\b")


@cache
def picture() -> str:
    return fences(PAGE)[0][1]


@cache
def layers() -> list[list[str]]:
    """Rooms from above, beside each other those that don't import each other."""
    linter = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["tool"]["importlinter"]
    (contract,) = [each for each in linter["contracts"] if each.get("containers") == ["exporter"]]
    return [layer.split(" | ") for layer in contract["layers"] if layer != "(__main__)"]


def test_the_picture_has_every_file_of_the_kernels_side() -> None:
    drawn = set(re.findall(r"^ (\w+(?:\.bpf\.c|\.h)) ", picture(), re.MULTILINE))
    there = {
        path.removeprefix("bpf/") for path in tree.files() if re.fullmatch(r"bpf/\w+(\.bpf\.c|\.h)", path)
    }
    assert drawn == there


def test_the_picture_has_every_room() -> None:
    assert tree.rooms() <= set(re.findall(r"\b(\w+)/", picture()))


def test_a_module_of_the_picture_is_in_the_room_below_which_it_stands() -> None:
    headings = [match for match in _ROOM.finditer(picture()) if match[1] in tree.rooms()]
    ends = [*(after.start() for _, after in pairwise(headings)), len(picture())]
    found = {
        (heading[1], module)
        for heading, end in zip(headings, ends, strict=True)
        for module in _MODULE.findall(picture()[heading.end() : end])
    }
    assert {("session", "watch/daemon.py"), ("kernel", "rings.py"), ("pipeline", "core.py")} <= found
    assert {pair for pair in found if not is_in(*pair)} == set()


def is_in(room: str, module: str) -> bool:
    """Whether exactly one file of the room may be meant, or the module's path is full."""
    inside = frozenset(path for path in tree.files() if path.startswith(f"{tree.PACKAGE}{room}/"))
    return len(tree.meant(f"{room}/{module}", inside) or tree.meant(module, inside)) == 1 or (
        tree.PACKAGE + module in tree.files()
    )


def test_the_table_of_rooms_is_in_the_order_of_imports() -> None:
    rows = re.findall(r"^\| `(\w+)/` \|", PAGE.read_text(encoding="utf-8"), re.MULTILINE)
    assert rows == [room for layer in layers() for room in layer]
    assert set(rows) == tree.rooms()


def test_contributing_has_that_order() -> None:
    order = " → ".join(" | ".join(layer) for layer in layers())
    assert f"`{order}`" in CONTRIBUTING.read_text(encoding="utf-8")


@cache
def hooks() -> dict[str, set[str]]:
    """Programs of the kernel's side by their file, without what their names begin with: connect4, exec."""
    program = re.compile(r"^int (?:on|before|after)_(\w+)\(", re.MULTILINE)
    found = {path.name: set(program.findall(path.read_text())) for path in (ROOT / "bpf").glob("*.bpf.c")}
    return {name: programs for name, programs in found.items() if programs}


def spelled(hook: str) -> set[str]:
    """`connect4/6` stands for two."""
    stem = re.fullmatch(r"(\w+)4/6", hook)
    return {f"{stem[1]}4", f"{stem[1]}6"} if stem else {hook}


def test_the_picture_has_each_hook_beside_the_file_that_it_is_in() -> None:
    drawn = dict(re.findall(r"^ (\w+\.bpf\.c) +(.*?)  ", picture(), re.MULTILINE))
    assert set(hooks()) <= set(drawn)
    named = {name: set().union(*map(spelled, re.findall(r"[\w/]+", told))) for name, told in drawn.items()}
    known = {hook for each in hooks().values() for hook in each if re.search(r"[\d_]", hook)}  # no mere word
    assert {"connect4", "sendmsg6", "sock_ops", "sock_release"} <= known & set().union(*named.values())
    assert {name: wrong for name in named if (wrong := named[name] & known - hooks().get(name, set()))} == {}
