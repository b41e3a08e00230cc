"""Write files that are generated and checked in where they aren't up to date, or only check them."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Mapping
from pathlib import Path


def bring_up_to_date(made: Mapping[Path, str], package: str, target: str, description: str | None) -> int:
    """Write the texts in `made` to their files; `package` makes them, which `make target` runs.

    With `--check` nothing is written, and the status is 1 where a file would be. Returns the exit status.
    """
    parser = argparse.ArgumentParser(prog=f"python -m {package}", description=description)
    parser.add_argument("--check", action="store_true", help="write nothing")
    is_check = parser.parse_args().check
    stale = [path for path, text in made.items() if not path.exists() or path.read_text() != text]
    for path in stale:
        if is_check:
            print(f"{path} is not what {package.replace('.', '/')} makes: make {target}", file=sys.stderr)
        else:
            path.write_text(made[path])
    return 1 if stale and is_check else 0
