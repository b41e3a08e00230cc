"""`make demo`: a CI job of real programs, traced by the real `ci-egress run`, in a network of its own.

network → traced job → an explanation of its trace
"""

from __future__ import annotations

import argparse
import sys
import tempfile
import textwrap
from pathlib import Path
from typing import TYPE_CHECKING

from rich.text import Text

from demo.console import INTERRUPTED_STATUS, check, make_console
from demo.job import CI_EGRESS, COMMAND, trace_job
from demo.names import JOB_TOKEN
from demo.network import network
from demo.paths import shown
from demo.sites import Beacon
from demo.trace import draw, read_trace
from exporter.common.errors import CiEgressError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from rich.console import Console

OTLP_DIR = Path(__file__).resolve().parents[1] / "build" / "demo"
_OTLP_FILES = ("traces.jsonl", "metrics.jsonl", "logs.jsonl")
_TEXT_WIDTH = 102

INTRODUCTION = "A CI job of real programs in a network of its own; nothing reaches the internet.\n"
THEFT = "• While it was installed, pretty-prompt ran its setup.sh, which sent the job's token to a beacon."
ARRIVED = "The beacon did get it: tracing blocks nothing. The trace says <redacted> in its place."
DID_NOT_ARRIVE = "The beacon did not get it, which is odd: nothing here blocks it."
BACKGROUND = (
    "• The creator of its second beacon was gone at once; the trace has it below the script it comes from."
)
BRIEF = "• The test's metric came from a process gone before anyone could have looked it up."
NEXT_STEPS = """
Next, with a build of your own, as root:
  {ci_egress} doctor             # does all of it work on this machine?
  {ci_egress} run -- make test   # the trace goes to ./ci-egress, or to OTEL_EXPORTER_OTLP_ENDPOINT
  {ci_egress} baseline learn ci-egress   # from it what is known, then a policy: docs/baseline.md
  make demo-stack   # that with this pipeline and real servers: the alert on the beacon, and its denial"""


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the demo; returns the exit status of `ci-egress run`."""
    parser = argparse.ArgumentParser(
        prog="python -m demo", description="Trace a sample pipeline and show its trace."
    )
    parser.add_argument(
        "--otlp-dir",
        type=Path,
        default=OTLP_DIR,
        metavar="DIR",
        help="where traces.jsonl, metrics.jsonl and logs.jsonl go, in place of older ones",
    )
    otlp_dir = parser.parse_args(arguments).otlp_dir.absolute()
    try:
        check("demo")
        return _demonstrate(make_console(), otlp_dir)
    except CiEgressError as error:
        print(f"demo: {error}", file=sys.stderr)
        return error.exit_status
    except KeyboardInterrupt:
        return INTERRUPTED_STATUS


def _demonstrate(console: Console, otlp_dir: Path) -> int:
    for name in _OTLP_FILES:
        (otlp_dir / name).unlink(missing_ok=True)
    beacon = Beacon()
    with (
        tempfile.TemporaryDirectory(prefix="ci-egress-demo-") as scratch,
        network(beacon, Path(scratch)) as build,
    ):
        console.print(INTRODUCTION)
        console.print(f"$ ci-egress run --otlp-dir {shown(otlp_dir)} -- {COMMAND}", style="bold")
        sys.stdout.flush()
        status = trace_job(build, Path(scratch), "--otlp-dir", otlp_dir)
    if status == 0:
        _explain(console, otlp_dir / "traces.jsonl", beacon)
    return status


def _explain(console: Console, traces: Path, beacon: Beacon) -> None:
    title = Text.assemble(
        ("\nWho started whom, and what each connected to", "bold"),
        f" ({shown(traces)}; names are those that the job looked up)",
    )
    console.print(title)
    console.print(draw(read_trace(traces)))
    did_arrive = any(JOB_TOKEN in request.authorization for request in beacon.requests)
    theft = f"{THEFT} {ARRIVED if did_arrive else DID_NOT_ARRIVE}"
    for paragraph in (theft, BACKGROUND, BRIEF):
        console.print(textwrap.fill(paragraph, min(console.width, _TEXT_WIDTH), subsequent_indent="  "))
    console.print(NEXT_STEPS.format(ci_egress=shown(CI_EGRESS)), soft_wrap=True)


if __name__ == "__main__":
    sys.exit(main())
