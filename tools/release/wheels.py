"""Install ci-egress and what it needs into a folder, for a Python and a machine that needn't be here."""

from __future__ import annotations

import shutil
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

from tools.release.closure import DISTRIBUTION

_GLIBC = ("manylinux_2_28", "manylinux_2_17", "manylinux2014")


def install(wheel: Path, requirements: Sequence[str], python: str, machine: str, target: Path) -> None:
    """Install by pip, from the package index: only modules, no commands.

    `python` is a version, as "3.13", `machine` the kernel's name for an architecture, as "x86_64".
    """
    platforms = [f"--platform={glibc}_{machine}" for glibc in _GLIBC]
    subprocess.run(  # noqa: S603 - of our own
        [
            *(sys.executable, "-m", "pip", "--quiet", "--disable-pip-version-check", "install"),
            *("--no-deps", "--no-compile", "--only-binary=:all:", f"--find-links={wheel.parent}"),
            *(f"--python-version={python}", "--implementation=cp", *platforms, f"--target={target}"),
            *(f"{DISTRIBUTION}=={wheel.name.split('-')[1]}", *requirements),
        ],
        check=True,
    )
    shutil.rmtree(target / "bin", ignore_errors=True)
    # RECORD: pip never changes these folders; direct_url.json: it names a path of the build.
    for name in ("RECORD", "direct_url.json"):
        for path in target.glob(f"*.dist-info/{name}"):
            path.unlink()
