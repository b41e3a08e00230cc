"""Options for documents for people: a report, a summary, and the destination of their links."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar
from urllib.parse import urlsplit

import click

from exporter.session.settings import ReportConfig

from .options import FILE, options

_F = TypeVar("_F", bound=Callable[..., object])
_PLACE = "{trace_id}"
_URL_MAX = 2048
"""The most characters of a trace's URL."""
TO_THE_STEP = "by default to $GITHUB_STEP_SUMMARY"
"""The summary's default place, as the help of commands that trace a step has it."""


class _TraceUrlType(click.ParamType[str]):
    """A template of the URL at which a trace can be seen."""

    name = "TEMPLATE"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> str:
        """Check the template. Raises BadParameter unless it is an http(s) URL with a place for the id."""
        text = str(value)
        if _PLACE not in text:
            example = f"https://jaeger.example/trace/{_PLACE}"
            self.fail(f"it has no {_PLACE}, where the id of a trace goes, as in {example}", param, ctx)
        if not _is_link(text):
            self.fail(f"it is no link that starts with http:// or https:// and a host: {text!r}", param, ctx)
        return text


def _is_link(text: str) -> bool:
    is_plain = text.isascii() and text.isprintable() and " " not in text and len(text) <= _URL_MAX
    try:
        parts = urlsplit(text)
    except ValueError:
        return False
    return is_plain and parts.scheme in ("http", "https") and bool(parts.hostname)


def report_options(summary_default: str = "") -> Callable[[_F], _F]:
    """Return a decorator that adds the options for which documents are written, and where their links lead.

    `summary_default` is a text for the help: where the summary goes without the option.
    """
    return options(
        click.option(
            "--report",
            type=FILE,
            metavar="FILE",
            help="Write what happened to FILE, an HTML page that needs nothing else.",
        ),
        click.option(
            "--summary",
            type=FILE,
            metavar="FILE",
            help="; ".join(filter(None, ("Append what matters to FILE, in Markdown", summary_default))) + ".",
        ),
        click.option(
            "--trace-url",
            type=_TraceUrlType(),
            metavar="TEMPLATE",
            help=f"Link to traces, with {_PLACE} where the id goes: https://jaeger.example/trace/{_PLACE}.",
        ),
    )


def report_config(options: dict[str, Any]) -> ReportConfig:
    """Return the settings that the options of `report_options` ask for, and remove these from `options`."""
    return ReportConfig(options.pop("report"), options.pop("summary"), options.pop("trace_url"))
