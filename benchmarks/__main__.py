"""The command: `python -m benchmarks`, as root, on a machine that has nothing else to do."""

from __future__ import annotations

import signal
import sys
from collections.abc import Callable, Iterator, Mapping

import click

from benchmarks import (
    baseline,
    build,
    drain,
    flip,
    flood,
    helpers,
    kernel,
    live,
    loops,
    machine,
    memory,
    page,
    parts,
    pip,
    policy,
    redaction,
    report,
    short,
    soak,
    start,
    steps,
    verdicts,
)
from benchmarks.figures import Figure
from benchmarks.rivals import compared
from benchmarks.rivals.packages import Packages
from benchmarks.rivals.place import place
from benchmarks.rivals.table import as_markdown
from benchmarks.rivals.tools import tools
from benchmarks.signals import end
from benchmarks.workshop import BenchmarkError, Workshop, workshop
from exporter.common.errors import CiEgressError

_BENCHMARKS: dict[str, Callable[[Workshop], Iterator[Figure]]] = {
    "helpers": helpers.measure,
    "kernel": kernel.measure,
    "parts": parts.measure,
    "connect": loops.measure,
    "live": live.measure,
    "start": start.measure,
    "memory": memory.measure,
    "build": build.measure,
    "pip": pip.measure,
    "drain": drain.measure,
    "flood": flood.measure,
    "short": short.measure,
    "redaction": redaction.measure,
    "policy": policy.measure,
    "verdicts": verdicts.measure,
    "flip": flip.measure,
    "steps": steps.measure,
    "baseline": baseline.measure,
    "page": page.measure,
    "soak": soak.measure,
}


@click.command(epilog="Exit status: 1 when a limit isn't kept, 2 when there is no figure.")
@click.option("--only", multiple=True, type=click.Choice(list(_BENCHMARKS)), help="Only this; repeatable.")
@click.option("--quick", is_flag=True, help="Few rounds: to see that it works, not to know how fast it is.")
@click.option("--limits/--no-limits", default=True, help="Whether the exit status tells of limits.")
@click.option(
    "--rivals", is_flag=True, help="Compare with other tools instead, as Markdown for docs/benchmarks.md."
)
@click.option("--json", "form", flag_value="json", help="The figures as JSON.")
@click.option("--markdown", "form", flag_value="markdown", help="The table of docs/benchmarks.md.")
def main(only: tuple[str, ...], form: str | None, *, quick: bool, rivals: bool, limits: bool) -> None:
    """Measure what tracing costs. Each file of benchmarks/ says what it measures, and how."""
    signal.signal(signal.SIGTERM, end)
    facts = machine.facts()
    if not machine.is_quiet():
        _say(f"this machine is busy (load {facts['load at the start']}): the figures will be worse for it")
    figures: list[Figure] = []
    try:
        with workshop(is_quick=quick) as shop:
            if rivals:
                print(_compared(shop, facts))
                return
            for name in only or _BENCHMARKS:
                figures += _measure(name, shop)
    except (BenchmarkError, CiEgressError) as error:
        _say(str(error))
        sys.exit(2)
    match form:
        case "json":
            print(report.as_json(facts, figures))
        case "markdown":
            print(report.as_markdown(facts, figures))
        case _:
            report.as_table(facts, figures)
    if limits and not all(figure.is_kept for figure in figures):
        sys.exit(1)


def _measure(name: str, shop: Workshop) -> Iterator[Figure]:
    _say(f"{name} …")
    for figure in _BENCHMARKS[name](shop):
        _say(f"  {figure.name}: {report.shown(figure.value, figure.unit)}")
        yield figure


def _compared(shop: Workshop, facts: Mapping[str, str]) -> str:
    packages = Packages()
    with place(shop) as where:
        versions, missing = compared.present(where, tools(packages))
        if packages.installed:
            facts = {**facts, "packages installed for this, and still there": ", ".join(packages.installed)}
            _say(f"installed, and still there afterwards: {' '.join(packages.installed)}")
        rows = []
        for row in compared.rows(where, list(versions)):
            _say(f"{row.name}: {row.cells}")
            rows.append(row)
    return as_markdown(facts, {tool.name: version for tool, version in versions.items()}, missing, rows)


def _say(text: str) -> None:
    print(text, file=sys.stderr, flush=True)


if __name__ == "__main__":
    main()
