"""Source distribution and wheel, by the backend of pyproject.toml in the version of constraints.txt."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from typing import NamedTuple


class Distributions(NamedTuple):
    """What PyPI takes."""

    sdist: Path
    wheel: Path


def build(source: Path, output: Path, committed_s: int) -> Distributions:
    """Build both in `output`, the wheel from the source distribution.

    Every file in them is of the time `committed_s` (Unix).
    """
    output.mkdir(parents=True, exist_ok=True)
    subprocess.run(  # noqa: S603 - of our own
        [sys.executable, "-m", "build", "--no-isolation", "--outdir", str(output), str(source)],
        env=os.environ | {"SOURCE_DATE_EPOCH": str(committed_s), "PYTHONDONTWRITEBYTECODE": "1"},
        stdout=subprocess.DEVNULL,
        check=True,
    )
    (sdist,), (wheel,) = output.glob("*.tar.gz"), output.glob("*.whl")
    return Distributions(sdist, wheel)
