"""The command: `python -m tests.fuzz --inputs 1000000 --jobs 2`, of this checkout's .venv."""

from __future__ import annotations

import secrets
import sys
from contextlib import ExitStack
from pathlib import Path

import click

from tests.fuzz.engine import Crash, Report, processes, run, shares, silence
from tests.fuzz.targets import TARGETS


@click.command(epilog="Exit status: 1 when something crashed.")
@click.argument("names", metavar="[TARGET]…", nargs=-1, type=click.Choice(list(TARGETS)))
@click.option("--inputs", default=100_000, show_default=True, help="How many, over all targets together.")
@click.option("--seed", type=int, help="Draw the same inputs again; without it, others each time.")
@click.option("--first", default=0, help="Number of the first input.")
@click.option("--jobs", default=1, show_default=True, help="Processes.")
@click.option("--save", type=click.Path(path_type=Path), help="Write the crashes there, too.")
def main(
    names: tuple[str, ...], inputs: int, seed: int | None, first: int, jobs: int, save: Path | None
) -> None:
    """Feed TARGETs, or all of them, with hostile input; says which input broke what, and how to repeat it."""
    silence()
    seed = secrets.randbelow(1 << 32) if seed is None else seed
    targets = [TARGETS[name] for name in names or TARGETS]
    click.echo(f"seed {seed}")
    crashes: list[Crash] = []
    total = 0
    with ExitStack() as stack:
        pool = stack.enter_context(processes(jobs)) if jobs > 1 else None
        for target, share in shares(targets, inputs):
            report = run(target, seed=seed, first=first, inputs=share, pool=pool)
            click.echo(_line(report))
            crashes += report.found.values()
            total += report.inputs
    click.echo(f"{total:,} inputs, {len(crashes)} crashes that differ")
    told = "\n".join(f"{crash.told}\nRepeat: {crash.repeat}\n" for crash in crashes)
    click.echo(told, err=True, nl=False)
    if save is not None:
        save.write_text(told, encoding="utf-8", errors="backslashreplace")
    sys.exit(1 if crashes else 0)


def _line(report: Report) -> str:
    rate = report.inputs / max(report.took_s, 1e-9)
    return (
        f"{report.name:14} {report.inputs:>11,} inputs {rate:>9,.0f}/s  "
        f"slowest {report.slowest_s * 1000:,.1f} ms (number {report.slowest})  {report.crashes:,} crashes"
    )


if __name__ == "__main__":
    main()
