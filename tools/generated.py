"""Write files of the tree that are generated from others, or compare them with what is there."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent


def write_or_check(target: Path, text: str, source: str) -> int:
    """Write Python `text`, formatted, to `target`; with `--check`, only compare. Returns the exit status.

    `source` names the file that the text was made of, for the message.
    """
    text = _formatted(text, target)
    if "--check" not in sys.argv[1:]:
        target.write_text(text)
        return 0
    if target.exists() and target.read_text() == text:
        return 0
    shown = target.relative_to(ROOT)
    print(f"{shown} doesn't match {source}: run `make wire`, commit both", file=sys.stderr)
    return 1


def _formatted(text: str, target: Path) -> str:
    """Return `text` as ruff formats it, so that a generator needn't know about line lengths."""
    command = [sys.executable, "-m", "ruff", "format", "--stdin-filename", str(target), "-"]
    return subprocess.run(command, input=text, capture_output=True, text=True, check=True).stdout  # noqa: S603
