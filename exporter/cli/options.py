"""Options that several commands share."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import click

from exporter.pipeline.process_spans import ProcessSpans
from exporter.session.settings import FailOn, OnDeath, OutputConfig

if TYPE_CHECKING:
    from click.shell_completion import CompletionItem

_F = TypeVar("_F", bound=Callable[..., object])


class _PathType(click.Path):
    """A path that was really given: not `--`, which comes next, nor "", as from an empty variable."""

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        """Convert to a Path. Raises BadParameter."""
        _require_given(self, value, param, ctx)
        return super().convert(value, param, ctx)


class _NameType(click.types.StringParamType):
    """A name that was really given, in the sense of `_PathType`."""

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        """Check the text. Raises BadParameter."""
        _require_given(self, value, param, ctx)
        return super().convert(value, param, ctx)


def _require_given(
    kind: click.ParamType[Any], value: Any, param: click.Parameter | None, ctx: click.Context | None
) -> None:
    if value in ("", "--"):
        what = (param.make_metavar(ctx) if param and ctx else "") or kind.name.upper()
        if what.startswith("["):  # brackets mark an optional argument
            what = what[1:-1]
        found = "it is empty" if value == "" else "`--` stands in its place"
        kind.fail(f"{what} is missing: {found}", param, ctx)


FILE = _PathType(dir_okay=False, path_type=Path)
DOCUMENT = _PathType(dir_okay=False, readable=False, path_type=Path)
"""A policy or a baseline; whether it can be read isn't checked here: reading it reports why it can't."""
OTLP_PATH = _PathType(readable=False, path_type=Path)
"""A file of spans, or a folder of such files; whether it can be read isn't checked here, either."""
DIRECTORY = _PathType(file_okay=False, path_type=Path)
NAME = _NameType()


class _FailOnType(click.ParamType[frozenset[FailOn]]):
    """A list of reasons for a run to fail, with commas between."""

    name = "LIST"

    def convert(
        self, value: Any, param: click.Parameter | None, ctx: click.Context | None
    ) -> frozenset[FailOn]:
        """Convert to a set. Raises BadParameter."""
        if isinstance(value, frozenset):  # the default
            return value
        _require_given(self, value, param, ctx)
        return frozenset(self._one(name.strip(), param, ctx) for name in value.split(","))

    def shell_complete(
        self, _: click.Context, __: click.Parameter, incomplete: str
    ) -> list[CompletionItem[str]]:
        """Complete the last name of the list with those that aren't in it yet."""
        from click.shell_completion import CompletionItem

        before, comma, begun = incomplete.rpartition(",")
        left = [name.value for name in FailOn if name.value not in before.split(",")]
        return [CompletionItem(f"{before}{comma}{name}") for name in left if name.startswith(begun)]

    def _one(self, name: str, param: click.Parameter | None, ctx: click.Context | None) -> FailOn:
        if name not in [*FailOn]:
            names = ", ".join(f"`{known}`" for known in FailOn)
            self.fail(f"`{name}` is none of {names}, with commas between for several", param, ctx)
        return FailOn(name)


class _DigestType(click.ParamType[bytes]):
    """A SHA-256 in hexadecimal."""

    name = "SHA256"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> bytes:
        """Convert to the digest's bytes. Raises BadParameter."""
        if isinstance(value, bytes):
            return value
        if not re.fullmatch("[0-9a-fA-F]{64}", value):
            self.fail(f"{value!r} isn't 64 hexadecimal digits, as `sha256sum` prints them", param, ctx)
        return bytes.fromhex(value)


DIGEST = _DigestType()


class Mebibytes(click.IntRange):
    """A size in MiB."""

    name = "number of MiB"


def options(*each: Callable[[_F], _F]) -> Callable[[_F], _F]:
    """Return a decorator that adds the options `each`; the help has them in this order."""

    def decorate(function: _F) -> _F:
        for option in reversed(each):
            function = option(function)
        return function

    return decorate


output_options = options(
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
    click.option("--json-log", is_flag=True, help="What ci-egress says on stderr, as JSON lines."),
    click.option(
        "-v",
        "--verbose",
        is_flag=True,
        help="With an error, show what a tool said about it, such as the kernel's verifier.",
    ),
)
"""The options for the telemetry's destination, its spans, and the messages on stderr."""

strict_option = click.option(
    "--strict", is_flag=True, help="End with status 92 when telemetry was lost, if all else went well."
)

death_option = click.option(
    "--on-exporter-death",
    type=click.Choice([choice.value for choice in OnDeath]),
    callback=lambda _, __, value: OnDeath(value),
    default="closed",
    show_default=True,
    help="When ci-egress is killed: what it denies stays denied, or its programs are detached with it.",
)

compile_option = click.option(
    "--compile",
    "compiles",
    is_flag=True,
    help="Compile the programs here, with the distribution's BCC, instead of loading those of the package.",
)

host_enforce_option = click.option(
    "--host-enforce",
    is_flag=True,
    help="Hold containers that aren't the job's to the policy, too; never the host's own services. With "
    "`run` it needs --host.",
)

baseline_option = click.option(
    "--baseline",
    type=DOCUMENT,
    metavar="FILE",
    help="What tasks are known to connect to; any other attempt is reported as novel, at once.",
)

judging_options = options(
    click.option(
        "--policy",
        type=DOCUMENT,
        metavar="FILE",
        help="What jobs may connect to. In mode audit, what FILE would deny is reported, not denied.",
    ),
    click.option(
        "--enforce", is_flag=True, help="Deny what the policy denies: the connect or send fails with EPERM."
    ),
    click.option(
        "--allowed-endpoints",
        type=NAME,
        metavar="TEXT",
        help="Destinations that are allowed (with those of FILE), with blanks between.",
    ),
    baseline_option,
    click.option(
        "--fail-on",
        type=_FailOnType(),
        default=frozenset(),
        metavar="novel,audit,deny",
        help="End with status 90 when something wasn't in the baseline (novel), would have been "
        "denied (audit), or was (deny), if all else went well.",
    ),
    click.option(
        "--live",
        "is_live",
        is_flag=True,
        help="Show destinations as they come, on the terminal behind stderr; without one it is ignored.",
    ),
    click.option(
        "--metric-lineage",
        is_flag=True,
        help="Count connections by their chain of processes, too, for a baseline learnt from metrics.",
    ),
)
"""The options for policy and baseline, and for how acts are shown and counted."""


def output_config(otlp_dir: Path | None, process_spans: str) -> OutputConfig:
    """Return the settings that the options of `output_options` ask for."""
    return OutputConfig(otlp_dir, ProcessSpans(process_spans))
