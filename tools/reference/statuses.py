"""`docs/reference/exit-status.md`: what each exit status means."""

from __future__ import annotations

import re

from exporter.common import errors
from exporter.session.settings import FailOn
from tools.reference import cli
from tools.reference.pages import code, page, plain, table

_EPILOG = re.compile(r"Exit status: (.+)", re.DOTALL)
_MEANINGS = {
    "USAGE_STATUS": "the command line, a policy or another file is wrong; nothing was started",
    "FAIL_ON_STATUS": f"what `--fail-on` names ({', '.join(f'`{each}`' for each in FailOn)}) happened",
    "CANNOT_TRACE_STATUS": "it could not be traced or enforced as asked; COMMAND was not started",
    "LOST_STATUS": "telemetry was lost, and `--strict` was given",
    "NOT_EXECUTABLE_STATUS": "COMMAND can't be executed",
    "NOT_FOUND_STATUS": "COMMAND doesn't exist",
}


def text() -> str:
    """Return the page. Raises SystemExit where the code has a status that nobody described."""
    known = {name: value for name, value in vars(errors).items() if name.endswith("_STATUS")}
    if known.keys() != _MEANINGS.keys():
        raise SystemExit(
            f"tools/reference/statuses.py and the code differ in {known.keys() ^ _MEANINGS.keys()}"
        )
    rows = [[str(known[name]), plain(meaning)] for name, meaning in _MEANINGS.items()]
    epilogs = ((name, _EPILOG.search(command.epilog or "")) for name, command in cli.commands().items())
    of_commands = [[code(name), plain(" ".join(found[1].split()))] for name, found in epilogs if found]
    return page(
        "Exit status",
        "`run` ends as COMMAND did: with its own status, or with 128+n when signal n ended it. Where several "
        "things "
        "went wrong, COMMAND's own failure comes first, then 92, then 90.",
        table(["status", ""], rows),
        "## Of each command",
        table(["command", ""], of_commands),
    )
