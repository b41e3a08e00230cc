"""Tries every kernel of matrix.py, and this machine's own; prints a table, and fails where one did."""

from __future__ import annotations

import argparse
import json
import os
import platform
import signal
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial

from rich.console import Console
from rich.table import Table

from tools.kernels.ahead import test_programs
from tools.kernels.architectures import X86_64, Architecture
from tools.kernels.folders import RESULTS, UnavailableError
from tools.kernels.foreign import foreign_image
from tools.kernels.machine import pack_checkout
from tools.kernels.matrix import KERNELS, Stock
from tools.kernels.results import FEATURES, Outcome
from tools.kernels.roots import Image, Root, make_root
from tools.kernels.trying import THIS_MACHINE, Made, in_a_machine, on_this_machine, test_files
from tools.kernels.unpacked import Kernel, fetch

OUTCOMES = RESULTS / "results.json"
_SHORT = (THIS_MACHINE, *(stock.name for stock in KERNELS if stock.is_too_old))
"""The kernels that take a minute: they begin last, so that all end at about the same time."""
_JOBS = (os.cpu_count() or 1) + 1
"""A machine keeps one processor busy; with one machine more, none is idle while the last two run."""
_TABLE_WIDTH = 250


def main() -> int:
    """Try the kernels; return the exit status."""
    extras = [stock.name for stock in KERNELS if stock.is_extra]
    names = [stock.name for stock in KERNELS if not stock.is_extra]
    parser = argparse.ArgumentParser(prog="python -m tools.kernels", description=__doc__)
    parser.add_argument("--fetch", action="store_true", help="prepare all that takes long, and boot nothing")
    parser.add_argument(
        "--only", action="append", choices=[*names, *extras, THIS_MACHINE], help="one; may be repeated"
    )
    parser.add_argument(
        "--also", action="append", default=[], choices=extras, help="one that isn't tried unless asked for"
    )
    parser.add_argument("--jobs", type=int, default=_JOBS, help="how many at once")
    asked = parser.parse_args()
    if platform.machine() != "x86_64" or os.geteuid() != 0:
        print("kernels: needs root, on an x86-64", file=sys.stderr)
        return 2
    # An interrupt ends us at once, and the machines with us: the pool would wait for them.
    signal.signal(signal.SIGINT, signal.SIG_DFL)
    with ThreadPoolExecutor(asked.jobs) as pool:
        chosen = [stock for stock in KERNELS if stock.name in [*(asked.only or names), *asked.also]]
        made, kernels = _prepare(pool, chosen)
        if asked.fetch:
            return _tell_fetched(kernels)
        jobs = {stock.name: partial(_try, stock, kernel, made) for stock, kernel in kernels.items()}
        if not asked.only or THIS_MACHINE in asked.only:
            jobs[THIS_MACHINE] = partial(_here, made)
        outcomes = _all_tried(pool, jobs)
    OUTCOMES.write_text(json.dumps([outcome.as_json() for outcome in outcomes], indent=1) + "\n")
    return _report(outcomes)


def _prepare(
    pool: ThreadPoolExecutor, chosen: Sequence[Stock]
) -> tuple[Made, dict[Stock, Kernel | UnavailableError]]:
    """Prepare roots, kernels, checkouts and programs."""
    began_s = time.monotonic()
    roots = dict(zip(("bookworm", "trixie"), pool.map(make_root, ("bookworm", "trixie")), strict=True))
    kernels = dict(zip(chosen, pool.map(_fetched, chosen), strict=True))
    RESULTS.mkdir(parents=True, exist_ok=True)
    checkouts = {suite: RESULTS / f"checkout-{suite}.tar" for suite in roots}
    for suite, target in checkouts.items():
        pack_checkout(roots[suite], test_files(), target)
    images = {
        (stock.root, stock.architecture): _image(roots[stock.root], stock.architecture) for stock in chosen
    }
    architectures = {X86_64, *(stock.architecture for stock in chosen)}
    programs = {each: test_programs(roots["bookworm"], each) for each in architectures}
    made = Made(roots, images, checkouts, programs)
    print(f"kernels: prepared in {time.monotonic() - began_s:.0f} s", flush=True)
    return made, kernels


def _image(root: Root, architecture: Architecture) -> Image:
    return root.image if architecture == X86_64 else foreign_image(root, architecture)


def _all_tried(pool: ThreadPoolExecutor, jobs: Mapping[str, Callable[[], Outcome]]) -> list[Outcome]:
    """Run the jobs side by side; return their outcomes in the order of `jobs`."""
    begun = {name: pool.submit(jobs[name]) for name in sorted(jobs, key=lambda name: name in _SHORT)}
    return [begun[name].result() for name in jobs]


def _fetched(stock: Stock) -> Kernel | UnavailableError:
    try:
        return fetch(stock)
    except UnavailableError as error:
        return error


def _tell_fetched(kernels: dict[Stock, Kernel | UnavailableError]) -> int:
    for stock, kernel in kernels.items():
        print(f"{stock.name}: {kernel.release if isinstance(kernel, Kernel) else kernel}")
    return int(any(isinstance(kernel, UnavailableError) for kernel in kernels.values()))


def _try(stock: Stock, kernel: Kernel | UnavailableError, made: Made) -> Outcome:
    if isinstance(kernel, Kernel):
        return _told(in_a_machine(kernel, made))
    return Outcome(stock.name, "", not_run=str(kernel))


def _here(made: Made) -> Outcome:
    return _told(on_this_machine(made))


def _told(outcome: Outcome) -> Outcome:
    times = ", ".join(f"{stage} {seconds:.0f} s" for stage, seconds in outcome.seconds.items())
    good = len(outcome.checks) - len(outcome.failed)
    print(
        f"kernels: {outcome.name} ({outcome.release}): {good} passed, {len(outcome.failed)} failed; {times}",
        flush=True,
    )
    return outcome


def _report(outcomes: Sequence[Outcome]) -> int:
    for outcome in outcomes:
        for check in outcome.failed:
            print(f"\n=== {outcome.name} ({outcome.release}), {check.feature}: {check.name}\n{check.why}")
    table = Table("feature", *(f"{outcome.name}\n{outcome.release}" for outcome in outcomes))
    for feature in FEATURES:
        table.add_row(feature, *(outcome.cell(feature) for outcome in outcomes))
    Console(width=_TABLE_WIDTH).print(table)
    for outcome in outcomes:
        if outcome.not_run:
            print(f"{outcome.name}: not run: {outcome.not_run}")
    failed = sum(len(outcome.failed) for outcome in outcomes)
    required = {stock.name for stock in KERNELS if stock.is_required}
    missing = sum(bool(outcome.not_run) for outcome in outcomes if outcome.name in required)
    passed = sum(len(outcome.checks) for outcome in outcomes) - failed
    not_run = sum(bool(outcome.not_run) for outcome in outcomes)
    print(f"{passed} passed, {failed + missing} failed" + (f", {not_run} kernels not run" if not_run else ""))
    return int(failed + missing > 0)


if __name__ == "__main__":
    sys.exit(main())
