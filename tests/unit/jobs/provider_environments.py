"""The full environment of a job on each CI system, as its documentation gives it: each file cites it."""

from __future__ import annotations

from pathlib import Path

from exporter.jobs.providers import PROVIDERS
from exporter.jobs.sources import variables

VARIABLES = sorted(
    {name for provider in PROVIDERS for field in vars(provider).values() for name in variables(field)}
    | {mark.partition("=")[0] for provider in PROVIDERS for mark in provider.present}
    | {"TRACEPARENT", "TRACESTATE"}
)
"""All that is read of an environment."""
_DIRECTORY = Path(__file__).with_name("environments")


def environment(provider: str) -> dict[str, str]:
    """The variables of `environments/PROVIDER.env`: a line each, first the page and the date."""
    lines = (_DIRECTORY / f"{provider}.env").read_text(encoding="utf-8").splitlines()
    pairs = (line.partition("=") for line in lines if not line.startswith("#"))
    return {name: value for name, _, value in pairs}


def documented_providers() -> list[str]:
    """Names of the CI systems that have a file."""
    return sorted(path.stem for path in _DIRECTORY.glob("*.env"))
