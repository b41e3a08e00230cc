"""Build source distribution and wheel, by the backend of pyproject.toml in the version of constraints.txt."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from typing import NamedTuple


class Distributions(NamedTuple):
    """The files for PyPI."""

    sdist: Path
    wheel: Path


def build(source: Path, output: Path, committed_s: int) -> Distributions:
    """Build source distribution and wheel in `output`, the wheel from the source distribution.

    Every file in them has the time `committed_s` (Unix).
    """
    output.mkdir(parents=True, exist_ok=True)
    make_manual(source, committed_s)
    _python(["-m", "tools.objects"], source, committed_s)
    command = ["-m", "build", "--no-isolation", "--outdir", str(output), str(source)]
    _python(command, source, committed_s)
    (sdist,), (wheel,) = output.glob("*.tar.gz"), output.glob("*.whl")
    return Distributions(sdist, wheel)


def make_manual(source: Path, committed_s: int) -> None:
    """Make the manual's pages, which both contain, with the date `committed_s`."""
    _python(["-m", "tools.manual"], source, committed_s)


def _python(arguments: list[str], source: Path, committed_s: int) -> None:
    """Run this Python with the modules of `source`."""
    reproducible = {"SOURCE_DATE_EPOCH": str(committed_s), "PYTHONDONTWRITEBYTECODE": "1"}
    subprocess.run(  # noqa: S603 - of our own
        [sys.executable, *arguments],
        cwd=source,
        env=os.environ | reproducible | {"PYTHONPATH": str(source)},
        stdout=subprocess.DEVNULL,
        check=True,
    )
