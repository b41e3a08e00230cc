"""Writes `dashboards/grafana/*.json`; with `--check`, fails where a file isn't what it would write."""

from __future__ import annotations

import json
import sys
from pathlib import Path

from grafana_foundation_sdk.cog.encoder import JSONEncoder

from tools.checked_in import bring_up_to_date
from tools.grafana import destination, exporter, fleet, pipeline

DIRECTORY = Path(__file__).parents[2] / "dashboards" / "grafana"


def generated() -> dict[Path, str]:
    """Return the text of each file."""
    boards = {"fleet": fleet, "pipeline": pipeline, "destination": destination, "exporter": exporter}
    return {
        DIRECTORY / f"{name}.json": json.dumps(module.board().built(), cls=JSONEncoder, indent=2) + "\n"
        for name, module in boards.items()
    }


if __name__ == "__main__":
    sys.exit(bring_up_to_date(generated(), "tools.grafana", "dashboards", __doc__))
