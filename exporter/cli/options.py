"""Options that several commands share."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

import click

from exporter.config import OutputConfig, ProcessSpans

_F = TypeVar("_F", bound=Callable[..., object])

FILE = click.Path(dir_okay=False, path_type=Path)
DIRECTORY = click.Path(file_okay=False, path_type=Path)


def output_options(function: _F) -> _F:
    """Where telemetry goes, which spans there are, and how much is said."""
    for option in reversed(
        (
            click.option(
                "--otlp-dir",
                type=DIRECTORY,
                metavar="DIR",
                help="Write OTLP JSON lines to traces.jsonl, metrics.jsonl and logs.jsonl in DIR. Without it "
                "and without OTEL_EXPORTER_OTLP_ENDPOINT they go to ./ci-egress.",
            ),
            click.option(
                "--process-spans",
                type=click.Choice([mode.value for mode in ProcessSpans]),
                default="network",
                show_default=True,
                help="Programs with a span: those with egress and their ancestors, all, or none.",
            ),
            click.option("--json-log", is_flag=True, help="Messages and summary on stderr as JSON lines."),
            click.option("-v", "--verbose", is_flag=True, help="Say more."),
        )
    ):
        function = option(function)
    return function


def strict_option(function: _F) -> _F:
    """Whether lost evidence is a failure."""
    return click.option(
        "--strict", is_flag=True, help="End with status 92 when telemetry was lost, if all else went well."
    )(function)


def output_config(otlp_dir: Path | None, process_spans: str) -> OutputConfig:
    """What the options of `output_options` ask for."""
    return OutputConfig(otlp_dir, ProcessSpans(process_spans))
