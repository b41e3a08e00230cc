"""`make demo-stack`: from two honest runs to an alert about the third and a policy for the fourth."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from demo.console import INTERRUPTED_STATUS, check, make_console
from demo.stack.interrupts import interrupt_on_signals
from exporter.common.errors import CiEgressError

if TYPE_CHECKING:
    from collections.abc import Sequence

FOLDER = Path(__file__).resolve().parents[2] / "build" / "demo-stack"


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the demo; returns its exit status."""
    options = _parser().parse_args(arguments)
    interrupt_on_signals()
    try:
        from demo.stack.story import tell  # takes half a second, in which one may press Ctrl-C

        check("demo-stack")
        tell(make_console(), options.folder.absolute(), is_kept=options.keep)
    except CiEgressError as error:
        print(f"demo-stack: {error}", file=sys.stderr)
        return error.exit_status
    except KeyboardInterrupt:
        print("demo-stack: interrupted; nothing is left running", file=sys.stderr)
        return INTERRUPTED_STATUS
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m demo.stack", description="Trace a sample pipeline into a stack of real servers."
    )
    parser.add_argument(
        "--keep", action="store_true", help="keep the servers running for a look around, until Ctrl-C"
    )
    parser.add_argument(
        "--folder",
        type=Path,
        default=FOLDER,
        metavar="DIR",
        help="where the runs' telemetry and the baseline go, in place of older ones",
    )
    return parser


if __name__ == "__main__":
    sys.exit(main())
