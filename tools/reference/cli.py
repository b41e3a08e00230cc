"""`docs/reference/cli.md`: every command, as `--help` has it."""

from __future__ import annotations

import re
from collections.abc import Iterator
from inspect import cleandoc

import click

from exporter.cli import cli
from tools.reference.pages import block, code, page, plain, table

_INTRODUCTION = (
    "What `ci-egress COMMAND --help` says, in one place. `-h` is `--help`. Options of `run` stand before "
    "`--`: what "
    "comes behind it is COMMAND. What an exit status means stands in [exit status](exit-status.md), and "
    "which "
    "variables of the environment count, [below](#environment)."
)
VARIABLES = {
    "OTEL_EXPORTER_OTLP_ENDPOINT": "where a collector takes telemetry; and for one signal alone "
    "`OTEL_EXPORTER_OTLP_TRACES_ENDPOINT`, `…_METRICS_ENDPOINT`, `…_LOGS_ENDPOINT`",
    "OTEL_EXPORTER_OTLP_PROTOCOL": "`http/protobuf` (the default) or `grpc`; also per signal",
    "OTEL_EXPORTER_OTLP_INSECURE": "`true`: a gRPC endpoint without a scheme is no TLS; also per signal",
    "OTEL_EXPORTER_OTLP_HEADERS": "headers of each request, such as `authorization=Bearer%20…`; also per "
    "signal",
    "OTEL_EXPORTER_OTLP_CERTIFICATE": "a file of authorities to trust in place of the system's; with "
    "`OTEL_EXPORTER_OTLP_CLIENT_CERTIFICATE` and `OTEL_EXPORTER_OTLP_CLIENT_KEY` for TLS of both sides",
    "OTEL_EXPORTER_OTLP_TIMEOUT": "how long an answer may take, in milliseconds, a second at least; also per "
    "signal",
    "OTEL_EXPORTER_OTLP_COMPRESSION": "`gzip` or `none`; also per signal",
    "OTEL_SERVICE_NAME": "`service.name`, in place of `ci-egress`",
    "OTEL_RESOURCE_ATTRIBUTES": "further attributes of the resource; what the job is can't be changed by it",
    "OTEL_METRIC_EXPORT_INTERVAL": "milliseconds between two exports of metrics",
    "OTEL_SDK_DISABLED": "`true`: nothing is exported; a policy is held to all the same",
    "STATE_DIRECTORY": "where telemetry waits for a collector, in `spool` (`/var/lib/ci-egress` for root)",
    "CI_EGRESS_CHECK_RUN_ID": "on GitHub, `${{ job.check_run_id }}`: the job's span hangs below the "
    "workflow's own",
    "CI_EGRESS_PROMETHEUS_TOKEN": "the token for `baseline learn --from-prometheus`",
    "TRACEPARENT": "the span that the job's hangs below; COMMAND gets one of its own",
}


def text() -> str:
    """Return the page."""
    sections = [section for command, context in walk() for section in _section(command, context)]
    variables = table(["variable", ""], [[code(name), plain(meaning)] for name, meaning in VARIABLES.items()])
    samplers = "Samplers and span limits of `OTEL_…` don't count: evidence is not sampled."
    return page("Commands", _INTRODUCTION, *sections, "## Environment", variables, samplers)


def commands() -> dict[str, click.Command]:
    """Return all commands, groups included, by what one types."""
    return {context.command_path: command for command, context in walk()}


def walk() -> Iterator[tuple[click.Command, click.Context]]:
    """Yield each command that `--help` shows, groups included, from the top down."""
    yield from _walk(cli, click.Context(cli, info_name="ci-egress", **cli.context_settings))


def _walk(command: click.Command, context: click.Context) -> Iterator[tuple[click.Command, click.Context]]:
    yield command, context
    if isinstance(command, click.Group):
        for name in command.list_commands(context):
            below = command.get_command(context, name)
            if below is not None and not below.hidden:
                yield from _walk(below, click.Context(below, info_name=name, parent=context))


def _section(command: click.Command, context: click.Context) -> Iterator[str]:
    is_below_a_command = context.parent is not None and context.parent.parent is not None
    yield f"{'###' if is_below_a_command else '##'} {context.command_path}"
    usage = command.get_usage(context).removeprefix("Usage: ")
    yield block(" ".join(usage.split()))
    yield from _paragraphs(command.help or "")
    options = list(_options(command, context))
    if options:
        yield table(["option", ""], options)
    yield from _paragraphs(command.epilog or "")


def _paragraphs(text: str) -> Iterator[str]:
    """Yield the paragraphs of click's help; one that begins with a backspace is kept as it is: examples."""
    for paragraph in re.split(r"\n\s*\n", cleandoc(text)):
        if paragraph.startswith("\b"):
            yield block(cleandoc(paragraph.removeprefix("\b")), "bash")
        elif paragraph:
            yield plain(" ".join(paragraph.split()))


def _options(command: click.Command, context: click.Context) -> Iterator[list[str]]:
    for parameter in command.params:
        if isinstance(parameter, click.Option) and not parameter.hidden:
            record = parameter.get_help_record(context)
            if record is not None:
                names, meaning = record
                yield [code(names), plain(" ".join(meaning.split()))]
