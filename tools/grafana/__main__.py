"""Writes `dashboards/grafana/*.json`; with `--check`, fails where a file isn't what it would write."""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path

from grafana_foundation_sdk.cog.encoder import JSONEncoder

from tools.grafana import destination, exporter, fleet, pipeline

DIRECTORY = Path(__file__).parents[2] / "dashboards" / "grafana"


def generated() -> dict[Path, str]:
    """The files and what is in them."""
    boards = {"fleet": fleet, "pipeline": pipeline, "destination": destination, "exporter": exporter}
    return {
        DIRECTORY / f"{name}.json": json.dumps(module.board().built(), cls=JSONEncoder, indent=2) + "\n"
        for name, module in boards.items()
    }


def main() -> int:
    """Returns the exit status."""
    parser = argparse.ArgumentParser(prog="python -m tools.grafana", description=__doc__)
    parser.add_argument("--check", action="store_true", help="write nothing")
    is_check = parser.parse_args().check
    made = generated()
    stale = [path for path, text in made.items() if not path.exists() or path.read_text() != text]
    if is_check:
        for path in stale:
            print(f"{path} is not what tools/grafana makes: make dashboards", file=sys.stderr)
        return 1 if stale else 0
    for path in stale:
        path.write_text(made[path])
    return 0


if __name__ == "__main__":
    sys.exit(main())
