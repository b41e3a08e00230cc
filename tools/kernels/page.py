"""Make docs/kernels.md from docs/kernels.json, which has the results of the last run of each kernel.

`python -m tools.kernels.page` makes the page, and with `--check` fails where it isn't up to date; `--take`
first copies the results of the last run from build/kernels.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

from tools.checked_in import bring_up_to_date
from tools.kernels.folders import CHECKOUT, RESULTS
from tools.kernels.results import FEATURES, Outcome

DATA = CHECKOUT / "docs/kernels.json"
PAGE = CHECKOUT / "docs/kernels.md"
TAKEN = RESULTS / "results.json"
_DISTRIBUTIONS = {
    "debian-11": "Debian 11",
    "ubuntu-22.04": "Ubuntu 22.04",
    "debian-12": "Debian 12",
    "ubuntu-24.04": "Ubuntu 24.04",
    "ubuntu-24.04-hwe": "Ubuntu 24.04, HWE 6.17",
    "debian-13": "Debian 13",
    "debian-13-backports": "Debian 13, backports",
    "debian-13-arm64": "Debian 13, arm64",
    "debian-13-arm64-16k": "Debian 13, arm64 with pages of 16 KiB",
    "this machine": "the machine of the run itself",
}
_NOT_RUN = "not run"

HEAD = """\
# Kernels

ci-egress needs Linux 5.15 or newer with BTF. What that means was tried on kernels that distributions ship:
each is the newest of its series on that day, booted in a virtual machine with a Debian of about the same age.
The last column is the machine of the run itself, whose kernel is no distribution's. A kernel that takes no
programs at its security hooks stops the frames of packet sockets at interfaces alone, refuses nobody's
memory, and knows Unix sockets by the names that clients give; `doctor` says on which this is so.

This page is generated from the results of the last run of each, by `make kernels` after `make test-kernels`.
The tests are those of `make test` that carry `@pytest.mark.everywhere`, and **yes** is that all of them
passed; a denial is held to what arrived on the other side, which is nothing. Seconds are by the clock, for
machines that get what other tests leave of the processors: three at once, on two.

"""
TAIL = """
The programs were compiled once, on another machine, by BCC with {compilers}. Each kernel took both
objects, and ran the one by its own Debian's compiler.

On any machine, `ci-egress doctor` tries the kernel that runs, and says what is
missing.
"""


def page(outcomes: list[dict[str, Any]]) -> str:
    """Return the page's text."""
    titles = [f"{_title(outcome)}" for outcome in outcomes]
    lines = [_row("", titles), _row("---", ["---"] * len(outcomes))]
    lines.append(_row("Release", [_release(outcome) for outcome in outcomes]))
    lines.append(
        _row("Tried on", [outcome["day"] if outcome["release"] else _NOT_RUN for outcome in outcomes])
    )
    lines.append(_row("Seconds it took", [_seconds(outcome) for outcome in outcomes]))
    for feature, told in FEATURES.items():
        lines.append(_row(told, [_cell(outcome, feature) for outcome in outcomes]))
    compilers: list[str] = next((outcome["compilers"] for outcome in outcomes if outcome["compilers"]), [])
    left_out = [f"{_title(outcome)}: {outcome['not_run']}" for outcome in outcomes if outcome["not_run"]]
    missing = f"\nNot run: {'; '.join(left_out)}.\n" if left_out else ""
    return HEAD + "\n".join(lines) + "\n" + missing + TAIL.format(compilers=" and ".join(compilers))


def _title(outcome: dict[str, Any]) -> str:
    return _DISTRIBUTIONS[outcome["name"]]


def _release(outcome: dict[str, Any]) -> str:
    return f"`{outcome['release']}`" if outcome["release"] else _NOT_RUN


def _seconds(outcome: dict[str, Any]) -> str:
    return str(outcome.get("seconds") or "not noted") if outcome["release"] else _NOT_RUN


def _cell(outcome: dict[str, Any], feature: str) -> str:
    said: str = outcome["features"].get(feature, _NOT_RUN)
    return "**yes**" if said == "yes" else said


def _row(first: str, rest: list[str]) -> str:
    return f"| {' | '.join([first, *rest])} |"


def taken() -> list[dict[str, Any]]:
    """Return the outcomes of the last run, and known ones of other kernels, in the order of the table."""
    known = json.loads(DATA.read_text()) if DATA.exists() else []
    by_name = {outcome["name"]: outcome for outcome in (*known, *json.loads(TAKEN.read_text()))}
    never = [
        Outcome(name, "", not_run="no results").as_json() for name in _DISTRIBUTIONS if name not in by_name
    ]
    return sorted([*by_name.values(), *never], key=lambda outcome: [*_DISTRIBUTIONS].index(outcome["name"]))


def main() -> int:
    """Make the page; return the exit status."""
    if sys.argv[1:] == ["--take"]:
        del sys.argv[1:]
        DATA.write_text(json.dumps(taken(), indent=1) + "\n")
    made: dict[Path, str] = {PAGE: page(json.loads(DATA.read_text()))}
    return bring_up_to_date(made, "tools.kernels.page", "kernels", __doc__)


if __name__ == "__main__":
    sys.exit(main())
