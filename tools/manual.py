"""Manual pages from the commands' own help: `build/man/ci-egress.1`, and one for each command below it.

    python -m tools.manual [FOLDER]

They have the contents of `--help`, in the order of man-pages(7), and besides, files and variables of the
environment.
"""

from __future__ import annotations

import os
import re
import sys
import textwrap
import time
from collections.abc import Iterable, Iterator
from inspect import cleandoc
from pathlib import Path

import click

from exporter import __version__
from tools.reference.cli import VARIABLES, walk

FOLDER = Path(__file__).parents[1] / "build" / "man"
_SITE_PAGES = "The project's docs/ has the manual for people: docs/index.md is where it begins."
_FILES = {
    "./ci-egress": "traces.jsonl, metrics.jsonl and logs.jsonl, with neither `--otlp-dir` nor a collector",
    "/var/lib/ci-egress/spool": "telemetry that waits for a collector; elsewhere with STATE_DIRECTORY",
    "/sys/fs/bpf/ci-egress": "maps, programs and links of each instance: what `ci-egress stop` removes",
}
_WIDTH = 78
"""The most characters of the source's lines, as mandoc likes them."""
_TRACING = ("ci-egress", "ci-egress run", "ci-egress watch")
_ESCAPED = {"\\": r"\e", "-": r"\-", "'": r"\(aq", "^": r"\(ha", "~": r"\(ti"}


def pages() -> dict[str, str]:
    """Return the text of each page by its file name."""
    return {f"{_file(context)}.1": "\n".join(_page(command, context)) + "\n" for command, context in walk()}


def _file(context: click.Context) -> str:
    return context.command_path.replace(" ", "-")


def _page(command: click.Command, context: click.Context) -> Iterator[str]:
    prose, examples = _help(command)
    before, _, statuses = (command.epilog or "").partition("Exit status: ")
    name = _file(context)
    yield f'.TH "{_escaped(name.upper())}" "1" "{_date()}" "ci-egress {__version__}" "ci-egress"'
    yield from _section("NAME", [_wrapped(f"{_escaped(name)} \\- {_escaped(_short(command, prose))}")])
    yield from _section("SYNOPSIS", [_synopsis(command, context)])
    yield from _section("DESCRIPTION", _paragraphs([*prose, before]))
    yield from _section("OPTIONS", _terms(_options(command, context)))
    yield from _section("COMMANDS", _terms(_commands(command, context)))
    yield from _section("EXIT STATUS", _statuses(statuses))
    if context.command_path in _TRACING:
        yield from _section("ENVIRONMENT", _terms(VARIABLES.items()))
        yield from _section("FILES", _terms(_FILES.items()))
    yield from _section("EXAMPLES", _examples(examples))
    yield from _section("SEE ALSO", [*_references(command, context), ".PP", _text(_SITE_PAGES)])


def _date() -> str:
    """Return the date of the sources, where a reproducible build sets it; else today's."""
    return time.strftime("%Y-%m-%d", time.gmtime(int(os.environ.get("SOURCE_DATE_EPOCH", time.time()))))


def _section(title: str, lines: Iterable[str]) -> Iterator[str]:
    told = list(lines)
    if told:
        yield f".SH {title}"
        yield from told


def _help(command: click.Command) -> tuple[list[str], list[str]]:
    """Return the paragraphs of prose, and the examples: lines as they are typed."""
    prose, examples = [], []
    for paragraph in re.split(r"\n\s*\n", cleandoc(command.help or "")):
        if paragraph.startswith("\b"):
            examples += cleandoc(paragraph.removeprefix("\b")).splitlines()
        else:
            prose.append(paragraph)
    return prose, examples


def _short(command: click.Command, prose: list[str]) -> str:
    """Return a line, as whatis(1) shows it: without the full stop, and plain."""
    first = " ".join(prose[0].split()) if prose else ""
    return (command.short_help or first).rstrip(".").replace("`", "")


def _synopsis(command: click.Command, context: click.Context) -> str:
    pieces = " ".join(command.collect_usage_pieces(context))
    return f"\\fB{_escaped(context.command_path)}\\fR {_escaped(pieces)}"


def _options(command: click.Command, context: click.Context) -> Iterator[tuple[str, str]]:
    for parameter in command.get_params(context):
        record = parameter.get_help_record(context) if isinstance(parameter, click.Option) else None
        if record is not None:
            yield record


def _commands(command: click.Command, context: click.Context) -> Iterator[tuple[str, str]]:
    if isinstance(command, click.Group):
        for name in command.list_commands(context):
            below = command.get_command(context, name)
            if below is not None and not below.hidden:
                yield f"{_file(context)}-{name}(1)", below.get_short_help_str(200)


def _references(command: click.Command, context: click.Context) -> Iterator[str]:
    above = [f"{_file(context.parent)}(1)"] if context.parent else []
    names = [*above, *(name for name, _ in _commands(command, context))]
    if not context.parent:
        names.append("sudo(8)")
    yield _wrapped(", ".join(_escaped(name) for name in names))


def _statuses(told: str) -> Iterator[str]:
    """Yield each status in `0; 2 usage; …` by itself; the first one of `run` is no number."""
    for status in re.split(r"; (?=\d)|, (?=\d+ when)", told.strip().rstrip(".")):
        number, _, meaning = status.partition(" ")
        if number.rstrip(",").isdigit():
            yield from _terms([(number.rstrip(","), f"{meaning or 'It went well'}.")])
        elif status:
            yield from _paragraphs([f"{status}."])


def _terms(terms: Iterable[tuple[str, str]]) -> Iterator[str]:
    for term, meaning in terms:
        yield from (".TP", f"\\fB{_escaped(term)}\\fR", _text(" ".join(meaning.split())))


def _paragraphs(paragraphs: list[str]) -> Iterator[str]:
    for number, paragraph in enumerate(filter(None, (" ".join(text.split()) for text in paragraphs))):
        if number:
            yield ".PP"
        yield _text(paragraph)


def _examples(lines: list[str]) -> Iterator[str]:
    if lines:
        yield from (".EX", *(_line(_escaped(line)) for line in lines), ".EE")


def _text(text: str) -> str:
    """Format prose; text between backticks is bold."""
    parts = [_escaped(part) for part in text.split("`")]
    return _wrapped("".join(f"\\fB{part}\\fR" if at % 2 else part for at, part in enumerate(parts)))


def _wrapped(text: str) -> str:
    lines = textwrap.wrap(text, _WIDTH, break_long_words=False, break_on_hyphens=False)
    return "\n".join(map(_line, lines))


def _line(text: str) -> str:
    """Protect the beginning of a line: with a full stop there, it would be a request."""
    return f"\\&{text}" if text.startswith((".", "'")) else text


def _escaped(text: str) -> str:
    return "".join(
        _ESCAPED.get(each) or (each if each.isascii() else f"\\[u{ord(each):04X}]") for each in text
    )


def main() -> int:
    """Write the pages. Returns the exit status."""
    folder = Path(sys.argv[1]) if len(sys.argv) > 1 else FOLDER
    folder.mkdir(parents=True, exist_ok=True)
    for name, text in pages().items():
        (folder / name).write_text(text, encoding="ascii")
    return 0


if __name__ == "__main__":
    sys.exit(main())
