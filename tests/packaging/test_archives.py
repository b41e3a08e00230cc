"""Source distribution and wheel: with all that runs, and traced with from pipx.

First of its folder by its name: what all of it needs is built while nobody waits for a test that traces.
"""

from __future__ import annotations

import os
import subprocess
import sys
import tarfile
import zipfile
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from exporter.kernel.requirements import MACHINES
from tests.checkout import ROOT, tracked
from tests.kernel.lab import PORT
from tools.manual import pages
from tools.release.checkout import Checkout

from .releases import LIMIT_S, Built

if TYPE_CHECKING:
    from collections.abc import Mapping

pytestmark = pytest.mark.timeout(LIMIT_S)

SHARED = {
    "bash-completion/completions/ci-egress",
    "fish/vendor_completions.d/ci-egress.fish",
    "zsh/site-functions/_ci-egress",
    "ci-egress/ci-egress.service",
    "ci-egress/environment",
}
OBJECTS = [f"bpf/objects/{machine}.json" for machine in MACHINES]
PIPX = "1.18.4"


def test_the_wheel_is_the_same_from_the_source_distribution_and_from_the_checkout(
    built: Built, tmp_path: Path
) -> None:
    made_s = Checkout(built.checkout).committed_s()
    subprocess.run(
        [sys.executable, "-m", "build", "--wheel", "--no-isolation", "--outdir", tmp_path, built.checkout],
        env=os.environ | {"SOURCE_DATE_EPOCH": str(made_s)},
        check=True,
        capture_output=True,
    )
    (direct,) = tmp_path.glob("*.whl")
    assert direct.read_bytes() == built.wheel.read_bytes()


def test_the_wheel_has_every_file_of_the_program_and_nothing_else(built: Built) -> None:
    with zipfile.ZipFile(built.wheel) as wheel:
        names = {name for name in wheel.namelist() if ".dist-info/" not in name}
    expected = tracked(built.checkout, "exporter") | {
        f"exporter/_{name}" for name in (*tracked(built.checkout, "bpf"), *OBJECTS)
    }
    assert {name for name in names if ".data/" not in name} == expected
    shared = {name.partition("/data/share/")[2] for name in names - expected}
    assert shared == SHARED | {f"man/man1/{page}" for page in pages()}


def test_the_source_distribution_has_every_file_of_the_checkout(built: Built) -> None:
    with tarfile.open(built.sdist) as sdist:
        files = {member.name.partition("/")[2] for member in sdist if member.isfile()}
    assert {name for name in tracked(built.checkout) - files if not name.startswith(".")} == set()
    assert files - tracked(built.checkout) == {
        "PKG-INFO",
        *OBJECTS,
        *(f"build/man/{page}" for page in pages()),
    }


@pytest.mark.kernel
@pytest.mark.index
def test_from_pipx_it_traces_without_bcc(built: Built, tmp_path: Path) -> None:
    pipx = tmp_path / "pipx"
    install = ["install", "--quiet", "--disable-pip-version-check", f"pipx=={PIPX}"]
    subprocess.run(["/usr/bin/python3", "-m", "venv", pipx], check=True)
    subprocess.run([pipx / "bin/pip", *install], check=True)
    environment = {
        **{name: value for name, value in os.environ.items() if name.startswith(("PIP_", "SSL_", "XDG_"))},
        "PATH": "/usr/sbin:/usr/bin:/sbin:/bin",
        "HOME": str(tmp_path),
        "PIPX_HOME": str(tmp_path / "home"),
        "PIPX_BIN_DIR": str(tmp_path / "bin"),
        "PIPX_DEFAULT_PYTHON": "/usr/bin/python3",
        "PIP_CONSTRAINT": str(ROOT / "constraints.txt"),
    }
    subprocess.run(
        [pipx / "bin/pipx", "install", built.wheel],
        env=environment,
        check=True,
        capture_output=True,
    )
    (tmp_path / "work").mkdir()

    def run(*arguments: str) -> subprocess.CompletedProcess[str]:
        command = [str(tmp_path / "bin/ci-egress"), *arguments]
        return _run(command, tmp_path / "work", environment)

    doctor = run("doctor")
    assert (doctor.returncode, doctor.stderr) == (0, ""), doctor
    assert "compiled ahead" in doctor.stdout
    act = ["bash", "-c", f"exec 3>/dev/udp/127.0.0.1/{PORT}"]
    traced = run("run", "--otlp-dir", "otlp", "--", *act)
    assert traced.stderr.splitlines()[-1] == "attempts 1 = exported 1 + aggregated 0 + dropped 0 + pending 0"
    python = tmp_path / "home/venvs/ci-egress-exporter/bin/python"
    where = _run([str(python), "-c", "import exporter; print(exporter.__file__)"], tmp_path, environment)
    assert Path(where.stdout).is_relative_to(tmp_path / "home"), "not the checkout"


def _run(command: list[str], cwd: Path, env: Mapping[str, str]) -> subprocess.CompletedProcess[str]:
    return subprocess.run(command, cwd=cwd, env=env, capture_output=True, text=True, check=False)
