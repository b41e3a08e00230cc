"""What real shells complete of `ci-egress`, with the scripts that it prints, at a terminal."""

from __future__ import annotations

import shlex
from typing import TYPE_CHECKING, NamedTuple

import pytest

from tests.integration.terminals import Terminal, terminal
from tests.launch import CI_EGRESS, PLAIN_ENVIRONMENT, ci_egress
from tests.unit.watched_host import gitlab

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

WRAPPER = f"""#!/bin/sh
case $1 in completion) exec {shlex.join(CI_EGRESS)} "$@" ;; esac
for argument; do printf '<%s>' "${{argument%/}}"; done && echo
"""
"""Completes as the real one does; else it shows its arguments, without the slash that zsh takes away."""
READY = "<ready>"


class Shell(NamedTuple):
    """One of those that are supported."""

    argv: tuple[str, ...]
    begin: str
    """What makes it complete."""


SOURCED = "source <(ci-egress completion {})"
SHELLS = {
    "bash": Shell(("bash", "--norc", "--noprofile", "-i"), SOURCED.format("bash")),
    "bash-completion": Shell(
        ("bash", "--norc", "--noprofile", "-i"),
        f"source /usr/share/bash-completion/bash_completion; {SOURCED.format('bash')}",
    ),
    "zsh": Shell(
        ("zsh", "-f", "-i"), f"autoload -Uz compinit && compinit -u -d zcompdump; {SOURCED.format('zsh')}"
    ),
    "fish": Shell(("fish", "--no-config", "-i"), "ci-egress completion fish | source"),
}


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where one works: some files, and programs."""
    folder = tmp_path_factory.mktemp("completion")
    (folder / "policy.yaml").touch()
    (folder / "poll.txt").touch()
    (folder / "places/here").mkdir(parents=True)
    (folder / "plan.txt").touch()
    programs = folder / "bin"
    programs.mkdir()
    for name, text in (("ci-egress", WRAPPER), ("unusual-tool", "#!/bin/sh\n")):
        (programs / name).write_text(text)
        (programs / name).chmod(0o755)
    return folder


@pytest.fixture(scope="module", params=SHELLS)
def shell(request: pytest.FixtureRequest, folder: Path) -> Iterator[Terminal]:
    """Each shell, with the completion of `ci-egress`."""
    shell = SHELLS[request.param]
    path = f"{folder / 'bin'}:{PLAIN_ENVIRONMENT['PATH']}"
    env = PLAIN_ENVIRONMENT | {"PATH": path, "HOME": str(folder), "TERM": "dumb", "LC_ALL": "C.UTF-8"}
    with terminal(shell.argv, folder, env) as opened:
        opened.type(f"{shell.begin}; ci-egress ready\n")
        opened.wait_for(READY)
        yield opened


@pytest.mark.parametrize(
    ("typed", "arguments"),
    [
        ("enf\tst\t--js\t", ("enforce", "status", "--json")),
        ("bas\tle\t --on\tpolicy.y\t", ("baseline", "learn", "--onto", "policy.yaml")),
        ("run --process-spans ne\t", ("run", "--process-spans", "network")),
        ("run --process-spans=ne\t", ("run", "--process-spans=network")),
        ("run --baseline=plan\t", ("run", "--baseline=plan.txt")),
        ("run --fail-on novel,a\t", ("run", "--fail-on", "novel,audit")),
        ("policy check poli\t", ("policy", "check", "policy.yaml")),
        ("run --otlp-dir pl\the\t ", ("run", "--otlp-dir", "places/here")),
        ("run unusual-t\t", ("run", "unusual-tool")),
        ("run --strict -- unusual-t\t", ("run", "--strict", "--", "unusual-tool")),
        ("run -- unusual-tool poli\t", ("run", "--", "unusual-tool", "policy.yaml")),
        ("run -- unusual-tool --otl\t", ("run", "--", "unusual-tool", "--otl")),
    ],
)
def test_a_shell_completes_commands_options_choices_and_files(
    shell: Terminal, typed: str, arguments: tuple[str, ...]
) -> None:
    shell.type(f"ci-egress {typed}\n")
    shell.wait_for("".join(f"<{argument}>" for argument in arguments))


def answer(words: str, folder: Path) -> list[str]:
    """What bash is told that `words` may go on with."""
    asked = {"COMP_WORDS": words, "COMP_CWORD": str(len(words.split(" ")) - 1)}
    done = ci_egress("completion", "bash", "--answer", cwd=folder, env=PLAIN_ENVIRONMENT | asked)
    assert (done.status, done.stderr) == (0, "")
    return done.stdout.decode().splitlines()


@pytest.mark.parametrize("words", ["ci-egress nope ", "ci-egress stop a b ", "ci-egress run 'half"])
def test_what_makes_no_sense_is_completed_by_nothing_without_an_error(words: str, tmp_path: Path) -> None:
    assert [line for line in answer(words, tmp_path) if not line.startswith("command,")] == []


def test_commands_are_told_in_the_order_in_which_one_meets_them(tmp_path: Path) -> None:
    first, *rest = answer("ci-egress ", tmp_path)
    assert first == "plain,doctor"
    assert rest[0] == "plain,run"


@pytest.mark.kernel
def test_no_variable_turns_a_run_into_a_completion(tmp_path: Path) -> None:
    hostile = {"_CI_EGRESS_COMPLETE": "bash_source", "COMP_WORDS": "ci-egress ", "COMP_CWORD": "1"}
    done = ci_egress("run", "touch", "started", cwd=tmp_path, env=PLAIN_ENVIRONMENT | hostile)
    assert (done.status, done.stdout) == (0, b"")
    assert (tmp_path / "started").exists()


@pytest.mark.kernel
@pytest.mark.parametrize(
    ("name", "told"),
    [("group/app", ["plain,group/app/build"]), ("; rm -rf $HOME #", [])],
    ids=["plain", "hostile"],
)
def test_a_job_that_runs_is_completed_unless_a_shell_would_take_its_name_for_more(
    name: str, told: list[str], tmp_path: Path
) -> None:
    words = {"COMP_WORDS": "ci-egress enforce on --job ", "COMP_CWORD": "4"}
    env = PLAIN_ENVIRONMENT | gitlab(CI_PROJECT_PATH=name) | words
    done = ci_egress("run", *CI_EGRESS, "completion", "bash", "--answer", cwd=tmp_path, env=env)
    assert done.status == 0, done.stderr
    # Others on this host may trace jobs of their own.
    mine = [line for line in done.stdout.decode().splitlines() if line.startswith(f"plain,{name}")]
    assert mine == told


@pytest.mark.kernel
def test_an_instance_that_runs_is_completed_by_its_beginning(tmp_path: Path) -> None:
    words = {"COMP_WORDS": "ci-egress stop ", "COMP_CWORD": "2"}
    done = ci_egress(
        *("run", *CI_EGRESS, "completion", "bash", "--answer"), cwd=tmp_path, env=PLAIN_ENVIRONMENT | words
    )
    (instance, *_) = done.stdout.decode().splitlines()
    kind, _, name = instance.partition(",")
    begun = answer(f"ci-egress stop {name[:4]}", tmp_path)
    assert kind == "plain"
    assert all(line.startswith(f"plain,{name[:4]}") for line in begun)
