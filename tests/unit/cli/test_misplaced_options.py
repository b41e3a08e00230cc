"""Which options behind COMMAND are told, since they may have been meant for `run`."""

from __future__ import annotations

import pytest

from exporter.cli.run import command


def told_of(kind: str, arguments: tuple[str, ...]) -> list[str]:
    return list(command.make_context("run", list(arguments)).meta[kind])


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (("true", "--baseline", "b.yaml"), ["--baseline"]),
        (("true", "--policy=p.yaml", "-x", "--enforce"), ["--policy", "--enforce"]),
        (("--json-log", "make", "test", "--fail-on", "novel"), ["--fail-on"]),
        (("--user=root", "true", "--metric-lineage", "--record", "r"), ["--metric-lineage"]),
        (("--", "true", "--baseline", "b.yaml"), []),
        (("--json-log", "--", "true", "--enforce"), []),
        (("npm", "run", "deploy", "--", "--policy", "p.yaml"), []),
        (("--strict", "mypy", "--strict"), []),
        (("true", "--user", "a", "-v", "--verbose", "--host=b", "--help", "--policy-file", "p"), []),
    ],
)
def test_what_is_only_an_option_of_run_is_told_unless_command_is_set_apart(
    arguments: tuple[str, ...], told: list[str]
) -> None:
    assert told_of("misplaced", arguments) == told


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (("make", "--report", "r.html", "--summary=s.md"), ["--report", "--summary"]),
        (("pip", "install", "--user", "-v", "--strict", "--baseline", "b"), []),
        (("--report", "r.html", "make", "--", "--report", "x"), []),
        (("--", "robot", "--report", "r.html"), []),
    ],
)
def test_what_few_programs_have_may_have_been_meant_for_run(
    arguments: tuple[str, ...], told: list[str]
) -> None:
    assert told_of("doubtful", arguments) == told
