"""Writes `docs/reference/*.md`; with `--check`, fails where a page isn't what it would write."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from tools.reference import baseline, cli, logs, metrics, policy, spans, statuses

DIRECTORY = Path(__file__).parents[2] / "docs" / "reference"
PAGES = {
    "cli": cli,
    "spans": spans,
    "metrics": metrics,
    "logs": logs,
    "policy": policy,
    "baseline": baseline,
    "exit-status": statuses,
}


def generated() -> dict[Path, str]:
    """The pages and what is in them."""
    return {DIRECTORY / f"{name}.md": module.text() for name, module in PAGES.items()}


def main() -> int:
    """Returns the exit status."""
    parser = argparse.ArgumentParser(prog="python -m tools.reference", description=__doc__)
    parser.add_argument("--check", action="store_true", help="write nothing")
    is_check = parser.parse_args().check
    made = generated()
    stale = [path for path, text in made.items() if not path.exists() or path.read_text() != text]
    if is_check:
        for path in stale:
            print(f"{path} is not what tools/reference makes: make reference", file=sys.stderr)
        return 1 if stale else 0
    for path in stale:
        path.write_text(made[path])
    return 0


if __name__ == "__main__":
    sys.exit(main())
