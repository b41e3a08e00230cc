"""Write the bill of materials (CycloneDX) of the Debian package's contents."""

from __future__ import annotations

import hashlib
import json
import subprocess
import sys
from pathlib import Path


def write(python: Path, project: Path, objects: Path, output: Path) -> None:
    """Write the bill of the environment of `python` to `output`, without times and random numbers.

    `project` is what `static_project` wrote. The compiled programs in the folder `objects` are among the
    components, with their digests.
    """
    subprocess.run(  # noqa: S603 - of our own
        [
            *(sys.executable, "-m", "cyclonedx_py", "environment", "--output-reproducible", "--validate"),
            *("--pyproject", str(project), "--mc-type", "application", "--spec-version", "1.6"),
            *("--output-format", "JSON", "--output-file", str(output), str(python)),
        ],
        capture_output=True,
        check=True,
    )
    bill = json.loads(output.read_text(encoding="utf-8"))
    bill["components"] += [_component(path) for path in sorted(objects.glob("*.json"))]
    output.write_text(json.dumps(bill, indent=2) + "\n", encoding="utf-8")


def _component(path: Path) -> dict[str, object]:
    digest = hashlib.sha256(path.read_bytes()).hexdigest()
    name = f"bpf/objects/{path.name}"
    hashes = [{"alg": "SHA-256", "content": digest}]
    return {"type": "file", "bom-ref": name, "name": name, "hashes": hashes}


def static_project(pyproject: Path, version: str, output: Path) -> Path:
    """Write the metadata with the version, which else only the build's tool finds; returns `output`."""
    text = pyproject.read_text(encoding="utf-8")
    output.write_text(text.replace('dynamic = ["version"]', f'version = "{version}"'), encoding="utf-8")
    return output
