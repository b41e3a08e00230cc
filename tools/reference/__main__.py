"""Writes `docs/reference/*.md`; with `--check`, fails where a page isn't what it would write."""

from __future__ import annotations

import sys
from pathlib import Path

from tools.checked_in import bring_up_to_date
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
    """Return the text of each page."""
    return {DIRECTORY / f"{name}.md": module.text() for name, module in PAGES.items()}


if __name__ == "__main__":
    sys.exit(bring_up_to_date(generated(), "tools.reference", "reference", __doc__))
