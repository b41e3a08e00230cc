"""`tools/setup.sh` in a small project with the same layout: what is installed goes on working meanwhile."""

from __future__ import annotations

import shutil
import subprocess
import zipfile
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from tests.checkout import ROOT

if TYPE_CHECKING:
    from collections.abc import Sequence

pytestmark = pytest.mark.timeout(600)  # pip takes its time, and runs again and again

PROJECT = """\
[build-system]
requires = []
build-backend = "backend"
backend-path = ["."]
[project]
name = "small"
version = "1"
optional-dependencies = {dev = ["helpful"]}
"""
BACKEND = '''\
"""Makes a wheel, and asks no index for anything."""
import zipfile

METADATA = "Metadata-Version: 2.1\\nName: small\\nVersion: 1\\nProvides-Extra: dev\\n"
FILES = {
    "small-1.dist-info/METADATA": METADATA + "Requires-Dist: helpful; extra == 'dev'\\n",
    "small-1.dist-info/WHEEL": "Wheel-Version: 1.0\\nRoot-Is-Purelib: true\\nTag: py3-none-any\\n",
    "small-1.dist-info/entry_points.txt": "[console_scripts]\\nci-egress = small:main\\n",
    "small-1.dist-info/RECORD": "",
    "small.py": "def main():\\n    print('small', 1)\\n",
}

def build_editable(folder, config_settings=None, metadata_directory=None):
    with zipfile.ZipFile(f"{folder}/small-1-py3-none-any.whl", "w") as wheel:
        for name, text in FILES.items():
            wheel.writestr(name, text)
    return "small-1-py3-none-any.whl"

build_wheel = build_editable
'''


class Checkout:
    """One, and a folder that stands for the package index."""

    def __init__(self, folder: Path) -> None:
        """Without an environment, and with an index that has nothing."""
        self.folder, self.index = folder / "checkout", folder / "index"
        (self.folder / "tools").mkdir(parents=True)
        self.index.mkdir()
        shutil.copy(ROOT / "tools/setup.sh", self.folder / "tools")
        for name, text in (("pyproject.toml", PROJECT), ("backend.py", BACKEND), ("constraints.txt", "")):
            (self.folder / name).write_text(text)

    @property
    def environment(self) -> Path:
        """The virtual one."""
        return self.folder / ".venv"

    def set_up(self, *options: str) -> subprocess.CompletedProcess[str]:
        """Run the script, without the system's packages."""
        env = {"PATH": "/usr/bin:/bin", "PIP_NO_INDEX": "1", "PIP_FIND_LINKS": str(self.index)}
        command = [str(self.folder / "tools/setup.sh"), "--no-system", *options]
        return subprocess.run(command, env=env, capture_output=True, text=True, check=False)

    @property
    def mark(self) -> Path:
        """A file that is gone when the environment was made anew."""
        return self.environment / "mark"

    def require(self, *, backend: str) -> None:
        """Have it built by the backend in that folder."""
        (self.folder / "pyproject.toml").write_text(PROJECT.replace('["."]', f'["{backend}"]'))

    def publish(self, name: str) -> None:
        """Have an empty package of that name in the index."""
        info = f"{name}-1.dist-info"
        with zipfile.ZipFile(self.index / f"{name}-1-py3-none-any.whl", "w") as wheel:
            wheel.writestr(f"{info}/METADATA", f"Metadata-Version: 2.1\nName: {name}\nVersion: 1\n")
            wheel.writestr(f"{info}/WHEEL", "Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n")
            wheel.writestr(f"{info}/RECORD", "")

    def installed(self) -> Sequence[str]:
        """Packages, besides pip's own."""
        names = {path.name.partition("-")[0] for path in self.environment.glob("lib/*/*/*.dist-info")}
        return sorted(names - {"pip", "setuptools", "wheel"})

    def says(self) -> str:
        """What the installed command prints."""
        return subprocess.check_output([self.environment / "bin/ci-egress"], text=True)


@pytest.fixture
def checkout(tmp_path: Path) -> Checkout:
    made = Checkout(tmp_path)
    done = made.set_up()
    assert done.returncode == 0, done.stderr
    assert made.installed() == ["small"]
    made.mark.touch()
    return made


def test_what_is_new_is_added_in_place_and_what_runs_already_survives_a_failure(checkout: Checkout) -> None:
    assert checkout.set_up("--dev").returncode != 0
    assert checkout.says() == "small 1\n"
    assert "up to date" in checkout.set_up().stdout
    checkout.publish("helpful")
    assert checkout.set_up("--dev").returncode == 0
    assert checkout.installed() == ["helpful", "small"]
    for options in ((), ("--dev",)):
        assert "up to date" in checkout.set_up(*options).stdout
    checkout.require(backend="nowhere")
    for _ in range(2):  # what failed once isn't taken for there
        assert checkout.set_up().returncode != 0
        assert checkout.says() == "small 1\n"
    checkout.require(backend=".")
    assert "up to date" not in checkout.set_up().stdout
    assert checkout.says() == "small 1\n"
    assert checkout.mark.exists()


def test_what_is_half_there_or_was_elsewhere_is_made_anew(checkout: Checkout) -> None:
    (checkout.environment / "bin/ci-egress").unlink()
    assert checkout.set_up().returncode == 0
    assert checkout.says() == "small 1\n"
    assert not checkout.mark.exists()
    checkout.mark.touch()
    checkout.folder = checkout.folder.rename(checkout.folder.with_name("elsewhere"))
    assert checkout.set_up().returncode == 0
    assert checkout.says() == "small 1\n"
    assert not checkout.mark.exists()
