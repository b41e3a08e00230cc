"""What pages and integrations say of options and variables is so, and of none nothing is said."""

from __future__ import annotations

import re
import shlex
from pathlib import Path
from typing import TYPE_CHECKING

import click
import pytest

from tests.checkout import ROOT
from tests.docs.pages import PAGES, fences, quoted
from tools.reference.cli import VARIABLES, commands

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

PROGRAM = "ci-egress"
COMMANDS = commands()
HELP = {"--help", "-h"}
OPTIONS = {
    path: HELP | {name for each in command.params if isinstance(each, click.Option) for name in each.opts}
    for path, command in COMMANDS.items()
}
ANY = {name for options in OPTIONS.values() for name in options}
REFERENCE = ROOT / "docs" / "reference"
GUIDES = [page for page in PAGES if REFERENCE not in page.parents]
OF_SERVERS = {"compose.yaml", "jaeger.yaml", "jaeger-ui.json"}
INTEGRATIONS = [
    path
    for path in sorted([ROOT / "action.yml", *(ROOT / "action").rglob("*"), *(ROOT / "deploy").rglob("*")])
    if path.is_file() and path.name not in OF_SERVERS
]
HAND_ON = {"action", "buildkite", "gitlab", "jenkins", "systemd"}
"""Integrations that put a command line together."""
_OPTION = re.compile(r"(?<![\w-])--[a-z][a-z-]*[a-z]")
_VARIABLE = re.compile(r"\b(?:CI_EGRESS|OTEL)_[A-Z][A-Z_]*[A-Z]\b")
_SIGNAL = re.compile(r"_(TRACES|METRICS|LOGS)_")
_PUNCTUATION = "|<>();&"
OTHERS = {
    **dict.fromkeys(("--api", "--key", "--no-token", "--password", "--password-stdin"), "any, in examples"),
    **dict.fromkeys(("--passwordless", "--secretary", "--tokenizer"), "any, in examples"),
    **dict.fromkeys(("--config", "--set"), "the Collector"),
    **dict.fromkeys(("--context", "--style"), "buildkite-agent"),
    **dict.fromkeys(("--kill-who", "--now", "--quiet", "--signal"), "systemctl"),
    **dict.fromkeys(("--no-system", "--system-only"), "tools/setup.sh"),
    **dict.fromkeys(("--non-interactive", "--preserve-env", "--set-home"), "sudo"),
    **dict.fromkeys(("--build-arg", "--file", "--privileged", "--tag"), "docker"),
    "--reinstall": "apt-get",
    "--filename": "kubectl",
    "--kill-after": "timeout",
    "--only": "python -m benchmarks",
    "--storage": "Prometheus",
}
"""Options of other programs that pages name by themselves, or that integrations call, and whose they are."""
OTHER_VARIABLES = dict.fromkeys(
    (
        "CI_EGRESS_ALLOWED_ENDPOINTS",
        "CI_EGRESS_BASELINE",
        "CI_EGRESS_FAIL_ON",
        "CI_EGRESS_MODE",
        "CI_EGRESS_POLICY",
        "CI_EGRESS_PROGRAM",
        "CI_EGRESS_REQUIRED",
        "CI_EGRESS_TRACE_URL",
    ),
    "deploy/gitlab/ci-egress.gitlab-ci.yml",
)
"""Variables of the integrations, each with the file that reads it."""


def calls(text: str) -> Iterator[tuple[str, list[str]]]:
    """Each command of `ci-egress` that a text has, with the options that it is called with."""
    for line in text.replace("\\\n", " ").splitlines():
        for found in re.finditer(rf"(?<![\w./-]){PROGRAM} (?=[a-z])", line):
            yield from call(line[found.end() :])


def call(arguments: str) -> Iterator[tuple[str, list[str]]]:
    """The command that `arguments` begin with, where that is one, and its options."""
    try:
        lexer = shlex.shlex(arguments, posix=True, punctuation_chars=_PUNCTUATION)
        lexer.whitespace_split = True
        words = list(lexer)
    except ValueError:  # prose, or a line that goes on
        words = arguments.split()
    path = PROGRAM
    while words and f"{path} {words[0]}" in COMMANDS:
        path = f"{path} {words.pop(0)}"
    if path != PROGRAM:
        yield path, [match[0] for word in own(words) if (match := _OPTION.match(word))]


def own(words: list[str]) -> Iterator[str]:
    """Up to COMMAND, to another program, or to a remark."""
    for word in words:
        if word in {"--", "#", "…"} or word[0] in _PUNCTUATION:
            return
        yield word


def unknown(found: Iterable[tuple[str, list[str]]]) -> list[tuple[str, str]]:
    """Options that the command hasn't."""
    return [(path, option) for path, options in found for option in options if option not in OPTIONS[path]]


def texts(page: Path) -> Iterator[str]:
    """What a page has in code."""
    yield from (text for _, text in fences(page))
    yield from quoted(page)


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_a_command_is_called_with_options_that_it_has(page: Path) -> None:
    named = [found for text in texts(page) for found in (*calls(text), *call(text))]
    assert unknown(named) == []


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_an_option_that_is_named_by_itself_is_one_of_some_command(page: Path) -> None:
    named = {option[0] for text in quoted(page) if (option := _OPTION.match(text))}
    assert named - ANY - OTHERS.keys() == set()


@pytest.mark.parametrize("path", INTEGRATIONS, ids=lambda path: str(path.relative_to(ROOT)))
def test_an_integration_calls_with_options_that_there_are(path: Path) -> None:
    text = path.read_text(encoding="utf-8", errors="replace")
    assert unknown(calls(text)) == []
    if HAND_ON & {*path.relative_to(ROOT).parts}:
        assert {*_OPTION.findall(text)} - ANY - OTHERS.keys() == set()


def test_what_is_said_to_be_of_other_programs_is_named_somewhere() -> None:
    code = [*(text for page in PAGES for text in quoted(page)), *(path.read_text() for path in INTEGRATIONS)]
    assert OTHERS.keys() - {option for text in code for option in _OPTION.findall(text)} == set()


@pytest.mark.parametrize("path", COMMANDS)
def test_each_option_stands_in_the_reference(path: str) -> None:
    section = re.split(r"^##+ ", (REFERENCE / "cli.md").read_text(), flags=re.MULTILINE)
    (told,) = (each for each in section if each.startswith(f"{path}\n"))
    for parameter in COMMANDS[path].params:
        if isinstance(parameter, click.Option) and not parameter.hidden:
            assert all(f"{option}" in told for option in parameter.opts)


@pytest.mark.parametrize("path", ["ci-egress run", "ci-egress watch"])
def test_the_guides_say_what_each_option_of_tracing_is_for(path: str) -> None:
    said = {
        option for page in GUIDES for text in texts(page) for option in re.findall(r"--?[a-z][a-z-]*", text)
    }
    silent = [
        each.opts
        for each in COMMANDS[path].params
        if isinstance(each, click.Option) and not said & {*each.opts}
    ]
    assert silent == []


@pytest.mark.parametrize("path", COMMANDS)
def test_the_guides_name_each_command(path: str) -> None:
    said = {found for page in GUIDES for text in texts(page) for found, _ in (*calls(text), *call(text))}
    below = {each for each in COMMANDS if each.startswith(f"{path} ")}
    assert path in said or said & below


def read_by_the_program() -> set[str]:
    """Variables that its source has, or makes of a signal's name."""
    sources = "\n".join(path.read_text() for path in (ROOT / "exporter").rglob("*.py"))
    settings = re.findall(r'_setting\(environ, signal, "(\w+)"\)', sources)
    return {*_VARIABLE.findall(sources), *(f"OTEL_EXPORTER_OTLP_{name}" for name in settings)}


def general(variable: str) -> str:
    """The variable that is for all signals."""
    return _SIGNAL.sub("_", variable)


def test_each_variable_that_is_read_stands_in_the_reference() -> None:
    told = "\n".join(VARIABLES) + "\n".join(VARIABLES.values())
    ignored = {"OTEL_TRACES_SAMPLER"}
    assert {name for name in read_by_the_program() if name not in told} == ignored


@pytest.mark.parametrize("page", [*PAGES, *INTEGRATIONS], ids=lambda page: str(page.relative_to(ROOT)))
def test_a_variable_that_is_named_is_read(page: Path) -> None:
    named = {general(name) for name in _VARIABLE.findall(page.read_text(encoding="utf-8", errors="replace"))}
    assert named - read_by_the_program() - OTHER_VARIABLES.keys() == set()


def test_a_variable_of_an_integration_is_read_there() -> None:
    for variable, file in OTHER_VARIABLES.items():
        assert variable in (ROOT / file).read_text()
