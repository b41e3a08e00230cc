"""Write bills of materials (CycloneDX): of the Debian package's contents, and of a single file's."""

from __future__ import annotations

import hashlib
import json
import os
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
    which maps names to versions, unknown ones to "". `work` is for a file.
    """
    project = _static_project(contents, work / "pyproject.toml")
    subprocess.run(  # noqa: S603 - of our own
        [
            *(sys.executable, "-m", "cyclonedx_py", "environment", "--output-reproducible", "--validate"),
            *("--pyproject", str(project), "--mc-type", "application", "--spec-version", "1.6"),
            *("--output-format", "JSON", "--output-file", str(output), str(python)),
        ],
        env=_isolated(os.environ),
        capture_output=True,
        check=True,
    )
    bill = json.loads(output.read_text(encoding="utf-8"))
    objects = contents.source / "bpf/objects"
    bill["components"] += [_file(path) for path in sorted(objects.glob("*.json"))]
    bill["components"] += [_software(name, version) for name, version in sorted((linked or {}).items())]
    output.write_text(json.dumps(bill, indent=2) + "\n", encoding="utf-8")


def _isolated(environ: Mapping[str, str]) -> dict[str, str]:
    """Return the variables with which the environment of `python` has nothing of the caller's in it.

    cyclonedx starts it without `-I`: else packages of the caller's, and of where it is called, are billed.
    """
    others = {name: value for name, value in environ.items() if not name.startswith("PYTHON")}
    return others | {"PYTHONNOUSERSITE": "1", "PYTHONSAFEPATH": "1"}


def _file(path: Path) -> dict[str, object]:
    digest = hashlib.sha256(path.read_bytes()).hexdigest()
    name = f"bpf/objects/{path.name}"
    hashes = [{"alg": "SHA-256", "content": digest}]
    return {"type": "file", "bom-ref": name, "name": name, "hashes": hashes}


def _software(name: str, version: str) -> dict[str, object]:
    purl = f"pkg:generic/{name}" + (f"@{version}" if version else "")
    known = {"version": version} if version else {}
    return {"type": "library", "bom-ref": purl, "name": name, **known, "purl": purl}


def _static_project(contents: Contents, output: Path) -> Path:
    """Write the metadata with the version, which else only the build's tool finds; return `output`."""
    text = (contents.source / "pyproject.toml").read_text(encoding="utf-8")
    version = f'version = "{contents.version}"'
    output.write_text(text.replace('dynamic = ["version"]', version), encoding="utf-8")
    return output
