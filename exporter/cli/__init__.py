"""The command `ci-egress`: a module per subcommand, imported when it is called."""

from __future__ import annotations

import importlib
import os
import sys
from itertools import takewhile
from typing import Any

import click

from exporter import __version__
from exporter.common.console import forgiving
from exporter.common.errors import CiEgressError, UsageError
from exporter.common.limits import limits_told
from exporter.common.systemd import notify
from exporter.common.text import printable
from exporter.session.messages import Messages

from .groups import Commands, hint

_STATUS_MAX = 1000

_COMMANDS = {
    "doctor": "Say what works on this machine, what doesn't, and how to mend it.",
    "run": "Run COMMAND as one job and trace what it connects to.",
    "watch": "Trace every CI job of this host, as a daemon.",
    "enforce": "Turn enforcement on and off for jobs that run, and say what is in force.",
    "stop": "Detach what a killed exporter left attached, or an instance that runs.",
    "baseline": "Learn what pipelines connect to, review it, and make a policy of it.",
    "policy": "Check a policy, ask it what it allows, or draft one from recorded traffic.",
    "report": "Make a page of HTML, or Markdown, of what was traced.",
    "replay": "Run a recording through the same pipeline, without root.",
    "completion": "Print what makes a shell complete commands, options, files and jobs.",
}


class _Commands(Commands):
    """A group that imports a command only when it is called, since each import takes time."""

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        """Parse as click does, but read `help run` as `run --help`, as git and go do."""
        if args[:1] == ["help"]:
            args = [*args[1:], "--help"]
        return super().parse_args(ctx, args)

    def list_commands(self, _: click.Context) -> list[str]:
        """List the commands in the order in which a user comes to need them."""
        return list(_COMMANDS)

    def get_command(self, _: click.Context, name: str) -> click.Command | None:
        """Import the command called `name`; None when there is none."""
        if name not in _COMMANDS:
            return None
        command: click.Command = importlib.import_module(f"exporter.cli.{name}").command
        return command

    def format_commands(self, _: click.Context, formatter: click.HelpFormatter) -> None:
        """Write the list of commands without importing any of them."""
        with formatter.section("Commands"):
            formatter.write_dl(list(_COMMANDS.items()))

    def summaries(self, _: click.Context) -> dict[str, str]:
        """Return each command's line of help without importing any of them."""
        return dict(_COMMANDS)

    def _main_shell_completion(self, *_: object, **__: object) -> None:
        """Do nothing, unlike click, in which an environment variable turns a `run` into a completion.

        `ci-egress completion --answer` completes instead.
        """


@click.group(
    cls=_Commands, context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100}
)
@click.version_option(__version__, prog_name="ci-egress", message="%(prog)s %(version)s")
def cli() -> None:
    """Tell, with proof, what every CI/CD job talks to.

    \b
    ci-egress doctor                          # does it work here?
    ci-egress run -- make test                # trace a build; OTLP files go to ./ci-egress
    OTEL_EXPORTER_OTLP_ENDPOINT=http://collector.example:4318 ci-egress run -- make test
    ci-egress watch                           # trace every job of a runner
    """  # noqa: D301 - click wants a real backspace


def main() -> None:
    """Run the command line and exit with its status."""
    sys.stdout, sys.stderr = forgiving(sys.stdout), forgiving(sys.stderr)
    try:
        with limits_told():
            status: Any = cli(prog_name="ci-egress", standalone_mode=False)
    except click.exceptions.Exit as error:
        status = error.exit_code
    except click.Abort:
        status = 130
    except click.exceptions.NoArgsIsHelpError as error:
        error.show()
        status = error.exit_code
    except click.ClickException as error:
        if "--json-log" in takewhile(lambda argument: argument != "--", sys.argv):
            Messages(as_json=True, is_verbose=False)  # parsing ended before --json-log was read
        status = _fail(_usage_error(error))
    except CiEgressError as error:
        status = _fail(error)
    sys.exit(status)


def _fail(error: CiEgressError) -> int:
    Messages.current().fail(error)
    # `systemctl status` shows the error as long as the service is down, whatever else is in the journal.
    notify(f"STATUS={printable(str(error), limit=_STATUS_MAX)}", os.environ)
    return error.exit_status


def _usage_error(error: click.ClickException) -> UsageError:
    context = getattr(error, "ctx", None)
    path = context.command_path if context else _called(sys.argv[1:])
    what = " ".join(error.format_message().split()).rstrip(".")
    return UsageError(what, hint=hint(error, path, cli))


def _called(arguments: list[str]) -> str:
    """Return the path of the command that `arguments` name.

    It is needed because click doesn't say which command has the options that it couldn't read.
    """
    path = "ci-egress"
    command: click.Group = cli
    for argument in arguments:
        found = command.get_command(click.Context(command), argument)
        if found is None:
            break
        path = f"{path} {argument}"
        if not isinstance(found, click.Group):
            break
        command = found
    return path
