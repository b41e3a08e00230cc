"""The bill of materials (CycloneDX) of what the Debian package holds."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path


def write(python: Path, pyproject: Path, output: Path) -> None:
    """Write that of the environment of `python` to `output`. It holds neither times nor random numbers."""
    subprocess.run(  # noqa: S603 - of our own
        [
            *(sys.executable, "-m", "cyclonedx_py", "environment", "--output-reproducible", "--validate"),
            *("--pyproject", str(pyproject), "--mc-type", "application", "--spec-version", "1.6"),
            *("--output-format", "JSON", "--output-file", str(output), str(python)),
        ],
        capture_output=True,
        check=True,
    )
