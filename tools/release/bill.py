"""Write bills of materials (CycloneDX): of the Debian package's contents, and of a single file's."""

from __future__ import annotations

import hashlib
import json
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path

from tools.release.contents import Contents


def write(
    contents: Contents, python: Path, output: Path, work: Path, *, linked: Mapping[str, str] | None = None
) -> None:
    """Write the bill of the environment of `python` to `output`, without times and random numbers.

    The compiled programs are among the components, with their digests, and so is the software in `linked`,
    which maps names to versions. `work` is for a file.
    """
    project = _static_project(contents, work / "pyproject.toml")
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
    objects = contents.source / "bpf/objects"
    bill["components"] += [_file(path) for path in sorted(objects.glob("*.json"))]
    bill["components"] += [_software(name, version) for name, version in sorted((linked or {}).items())]
    output.write_text(json.dumps(bill, indent=2) + "\n", encoding="utf-8")


def _file(path: Path) -> dict[str, object]:
    digest = hashlib.sha256(path.read_bytes()).hexdigest()
    name = f"bpf/objects/{path.name}"
    hashes = [{"alg": "SHA-256", "content": digest}]
    return {"type": "file", "bom-ref": name, "name": name, "hashes": hashes}


def _software(name: str, version: str) -> dict[str, object]:
    purl = f"pkg:generic/{name}@{version}"
    return {"type": "library", "bom-ref": purl, "name": name, "version": version, "purl": purl}


def _static_project(contents: Contents, output: Path) -> Path:
    """Write the metadata with the version, which else only the build's tool finds; return `output`."""
    text = (contents.source / "pyproject.toml").read_text(encoding="utf-8")
    version = f'version = "{contents.version}"'
    output.write_text(text.replace('dynamic = ["version"]', version), encoding="utf-8")
    return output
