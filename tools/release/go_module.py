"""Fetch a Go module, whose digest is known."""

from __future__ import annotations

import base64
import hashlib
import json
import subprocess
from pathlib import Path

from tools.release.checkout import ReleaseError


def fetched(script: Path, module: str, digest: str) -> Path:
    """Fetch `module`, as "PATH@VERSION", by tools/standalone-python.sh; return its folder.

    Raises ReleaseError if it isn't there, or the folder has another digest. What Go's cache says of it isn't
    asked, since whoever may write there could have changed the files since.
    """
    done = subprocess.run([script, module], stdout=subprocess.PIPE, text=True, check=False)  # noqa: S603 - of our own
    if done.returncode != 0:
        raise ReleaseError(f"{module} wasn't fetched: {done.stdout}")
    folder = Path(json.loads(done.stdout)["Dir"])
    found = digest_of(folder, module)
    if found != digest:
        raise ReleaseError(f"{module} in {folder} has the digest {found}, not {digest}")
    return folder


def digest_of(folder: Path, module: str) -> str:
    """Return Go's digest of the files below `folder`, as go.sum has it (golang.org/x/mod/sumdb/dirhash)."""
    names = sorted(path.relative_to(folder).as_posix() for path in folder.rglob("*") if not path.is_dir())
    digests = ((hashlib.sha256((folder / name).read_bytes()).hexdigest(), name) for name in names)
    lines = "".join(f"{digest}  {module}/{name}\n" for digest, name in digests)
    return "h1:" + base64.b64encode(hashlib.sha256(lines.encode()).digest()).decode()
