"""Which Pythons the Debian package is for: those that it has an environment of, and apt says so of others."""

from __future__ import annotations

import re
import subprocess
from collections import defaultdict
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from tools.release.debian import PYTHONS

from .machine import APT_FAILED
from .releases import LIMIT_S

if TYPE_CHECKING:
    from .machine import Machine
    from .releases import Built

pytestmark = [pytest.mark.index, pytest.mark.timeout(LIMIT_S)]

OLDEST, NEWEST, NEXT = "3.11.2-1", "3.14.7-3", "3.15.0~rc1-1"
"""As Debian numbers its package python3."""
IN_ELF = {"x86_64": 62, "aarch64": 183}
"""The numbers of architectures in an ELF file's head."""
_COMPILED = re.compile(r"(?P<module>.+?)\.(?P<abi>cpython-3\d+-\S+|abi3)\.so")
_PYTHON = """\
Package: python3
Version: {version}
Architecture: all
Multi-Arch: allowed
Maintainer: Somebody <somebody@ci-egress.example>
Description: another Python
"""


def depends(package: Path) -> str:
    """The field of that name."""
    command = ["dpkg-deb", "--field", str(package), "Depends"]
    return subprocess.run(command, check=True, capture_output=True, text=True).stdout.strip()


def test_the_newest_python_that_it_is_for_is_the_last_that_apt_takes(built: Built) -> None:
    assert depends(built.package) == "python3 (>= 3.11), python3 (<< 3.15~)"


@pytest.mark.parametrize(("machine", "in_elf"), IN_ELF.items())
def test_each_of_its_pythons_has_every_module_compiled_for_itself(
    built: Built, tmp_path: Path, machine: str, in_elf: int
) -> None:
    subprocess.run(["dpkg-deb", "--extract", built.package_for(machine), tmp_path], check=True)
    found = defaultdict[str, set[str]](set)
    for path in (tmp_path / "opt/ci-egress/lib").glob("python*/**/*.so"):
        python, inside = path.relative_to(tmp_path / "opt/ci-egress/lib").parts[0], str(path.parent)
        compiled = _COMPILED.fullmatch(path.name)
        assert compiled, path
        assert int.from_bytes(path.read_bytes()[18:20], "little") == in_elf, path
        assert compiled["abi"].split("-")[:2] in (["abi3"], ["cpython", python[6:].replace(".", "")]), path
        found[python].add(inside.partition(python)[2] + "/" + compiled["module"])
    assert found.keys() == {f"python{version}" for version in PYTHONS}
    assert len(set(map(frozenset, found.values()))) == 1
    assert any(module.endswith("/cygrpc") for module in found["python3.14"])


def with_python(
    machine: Machine, folder: Path, version: str, package: Path
) -> subprocess.CompletedProcess[str]:
    """What apt would do if the machine's Python became this one."""
    (folder / "DEBIAN").mkdir(parents=True)
    (folder / "DEBIAN/control").write_text(_PYTHON.format(version=version))
    made = folder.with_suffix(".deb")
    subprocess.run(["dpkg-deb", "--build", folder, made], check=True, capture_output=True)
    for path in (made, package):
        (machine.root / "root" / path.name).write_bytes(path.read_bytes())
    command = ("apt-get", "--simulate", "--allow-downgrades", "install")
    return machine.run(*command, f"/root/{made.name}", f"/root/{package.name}", status=None)


@pytest.mark.kernel
def test_apt_says_of_a_newer_python_that_it_is_not_for_it(
    trixie: Machine, built: Built, tmp_path: Path
) -> None:
    refused = with_python(trixie, tmp_path / "next", NEXT, built.package)
    assert refused.returncode == APT_FAILED
    assert f"ci-egress : Depends: python3 (< 3.15~) but {NEXT} is to be installed" in refused.stdout
    for version in (OLDEST, NEWEST):
        taken = with_python(trixie, tmp_path / version, version, built.package)
        assert taken.returncode == 0, taken
        assert re.search(r"(?m)^Conf ci-egress ", taken.stdout), taken
