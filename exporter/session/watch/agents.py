"""Agents: the programs of CI systems that start jobs. Each process that an agent forks is a step."""

from __future__ import annotations

import pwd
from collections.abc import Container, Iterable, Iterator, Mapping
from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import NamedTuple

from exporter.common.bounded import beginning_of, readers
from exporter.common.errors import UsageError
from exporter.events import wire
from exporter.events.facts import ProcessKey
from exporter.jobs.providers import PROVIDERS, Provider
from exporter.pipeline.procfs import ancestors

_UNITS = (".service", ".scope", ".slice")
_USER = "user:"
_CUT = wire.AGENT_NAME_ROOM - 1
_TOLD_MAX = 1 << 20
"""The most bytes that are read of a file in /proc: `status` may list 65,536 groups."""


class Agent(NamedTuple):
    """A way to recognise an agent: by its executable, its unit or its user."""

    kind: int
    """One of wire.AGENT_*."""
    name: bytes = b""
    """Name of the executable, without its folder, or of the unit's cgroup; cut as the kernel cuts it."""
    user: int = 0

    @property
    def key(self) -> bytes:
        """The agent's key in the kernel's map `agents`."""
        return wire.AGENT_KEY.pack(self.kind, self.user, self.name)


def _program(name: str) -> Agent:
    return Agent(wire.AGENT_PROGRAM, name.encode()[:_CUT])


def _unit(name: str) -> Agent:
    return Agent(wire.AGENT_UNIT, name.encode()[:_CUT])


KNOWN: Mapping[Agent, str] = {
    _program("Runner.Worker"): "github",
    _program("act_runner"): "gitea",
    _program("gitea-runner"): "gitea",
    _program("forgejo-runner"): "forgejo",
    _program("gitlab-runner"): "gitlab",
    _program("buildkite-agent"): "buildkite",
    _program("woodpecker-agent"): "woodpecker",
    _unit("jenkins.service"): "jenkins",
    _unit("jenkins-agent.service"): "jenkins",
}
"""Agents as they are installed by default, each with the CI system whose variables its steps have."""
PROGRAMS = frozenset(agent.name.decode() for agent in KNOWN if agent.kind == wire.AGENT_PROGRAM)
"""The names of the executables in KNOWN."""
NUMBERED = ("", "buildkite", "forgejo", "gitea", "github", "gitlab", "jenkins", "woodpecker")
"""The CI systems of KNOWN by their numbers in the kernel. A new system must be added at the end.

A watch that adopts an instance finds the numbers of an earlier version there.
"""


def number_of(agent: Agent) -> int:
    """Return the number of the agent's CI system in the kernel; 0 when the system isn't known."""
    return NUMBERED.index(KNOWN.get(agent, ""))


def system_of(number: int) -> str | None:
    """Return the CI system that has the number `number` by `number_of`; None when none has it."""
    return NUMBERED[number] if 0 < number < len(NUMBERED) else None


def agent_named(text: str) -> Agent:
    """Return the agent that `--agent` names: a unit (by its ending), `user:NAME`, or a program.

    Raises UsageError.
    """
    if text.startswith(_USER):
        return Agent(wire.AGENT_USER, user=_uid(text.removeprefix(_USER)))
    name = text.rsplit("/", 1)[-1]
    if not name:
        raise UsageError(f"--agent {text!r} names nothing", hint="name a unit, an executable or `user:NAME`")
    return _unit(name) if name.endswith(_UNITS) else _program(name)


def _uid(name: str) -> int:
    try:
        uid = int(name) if name.isdecimal() else pwd.getpwnam(name).pw_uid
    except KeyError:
        what = f"--agent {_USER}{name}: there is no such user"
        raise UsageError(what, hint="name one of this host") from None
    if uid == 0:
        what = f"--agent {_USER}{name}: all that the host does is root's"
        raise UsageError(what, hint="name a user of its own, or the agent's unit or executable")
    return uid


def marks(job_env: str | None) -> dict[bytes, int]:
    """Return the variables by which jobs are known, one of each system, as keys of the kernel's map `marks`.

    A key has only the name and `=`, so that a step can't escape by giving the variable another value. Its
    value is the number of the system, as `number_of` returns it for agents; 0 where no agent is known, as
    for `job_env`.
    """
    found = {provider.present[0].partition("=")[0]: _number_of_system(provider) for provider in PROVIDERS}
    if job_env:
        found[job_env] = 0
    return {_mark(name): number for name, number in found.items()}


def _number_of_system(provider: Provider) -> int:
    """Return the number of `provider`, else of a system whose agents may run in its jobs; 0 for neither."""
    names = (provider.name, *(each.name for each in PROVIDERS if provider.name in each.beside))
    return next((NUMBERED.index(name) for name in names if name in NUMBERED), 0)


def _mark(name: str) -> bytes:
    start = f"{name}=".encode()[: wire.MARK_ROOM - 1]  # the kernel reads a text with its NUL
    return wire.MARK_KEY.pack(8 * len(start), start)


def agent_of(pid: int, agents: Container[Agent], marks: Mapping[bytes, int]) -> Agent | None:
    """Return the one of `agents` that `pid` is, by the rules of the kernel's programs; None when it is none.

    A program with an agent's name is no agent if it has a mark of another system: a job may have chosen the
    name.
    """
    if _is_in_container(pid):
        return None
    for agent in _known_as(pid):
        is_named = agent.kind == wire.AGENT_PROGRAM
        if agent in agents and not (is_named and _has_mark(pid, marks, number_of(agent))):
            return agent
    return None


class Above(NamedTuple):
    """The processes above a process: its parent, the parent's parent, and so on."""

    everyone: tuple[ProcessKey, ...] = ()
    """All processes above, the nearest first."""
    agent: ProcessKey | None = None
    """The nearest process above that is an agent; None when none is known to be an agent."""

    @property
    def up_to_agent(self) -> tuple[ProcessKey, ...]:
        """The processes that were started for the job, and its agent; all when no agent is known."""
        return self.everyone[: self.everyone.index(self.agent) + 1] if self.agent else self.everyone


def above(pid: int, agents: Iterable[Agent], marks: Mapping[bytes, int]) -> Above:
    """Return the processes above `pid`, with the nearest agent among them.

    Only agents known by their executable are found: an agent's unit and user are those of its steps, too.
    """
    everyone = ancestors(pid)
    programs = {agent for agent in agents if agent.kind == wire.AGENT_PROGRAM}
    found = (process for process in everyone if agent_of(process.pid, programs, marks) is not None)
    return Above(everyone, next(found, None))


def _has_mark(pid: int, marks: Mapping[bytes, int], own: int) -> bool:
    """Whether `pid` was executed with one of `marks` that isn't of the system with the number `own`.

    Also True when its environment can't be read. With `own` 0 every mark counts.
    """
    others = (wire.MarkKey.unpack(mark) for mark, of in marks.items() if of != own or not own)
    starts = tuple(mark.text[: mark.prefix_bits // 8] for mark in others)
    with suppress(OSError):
        read = partial(beginning_of, Path(f"/proc/{pid}/environ"), _TOLD_MAX)
        block = readers().within(read, about=pid)
        return any(entry.startswith(starts) for entry in block.split(b"\0"))
    return True


def _known_as(pid: int) -> Iterator[Agent]:
    """Yield each form in which `pid` could be listed as an agent, as far as /proc shows."""
    folder = Path(f"/proc/{pid}")
    with suppress(OSError):
        program = readers().within((folder / "exe").readlink, about=pid)
        yield _program(program.name.removesuffix(" (deleted)"))
    with suppress(OSError):
        groups = _lines(folder / "cgroup")
        yield from (_unit(line.rsplit("/", 1)[-1]) for line in groups if line.startswith("0::"))
    if (uids := _status(folder, "Uid:")) is not None:
        yield Agent(wire.AGENT_USER, user=int(uids[0]))


def _is_in_container(pid: int) -> bool:
    """Whether `pid` is in a pid namespace below the one of ci-egress."""
    numbers, own = (_status(Path(f"/proc/{name}"), "NSpid:") for name in (pid, "self"))
    return len(numbers or ()) > len(own or ())


def _status(folder: Path, name: str) -> list[str] | None:
    with suppress(OSError):
        for line in _lines(folder / "status"):
            if line.startswith(name):
                return line.split()[1:]
    return None


def _lines(path: Path) -> list[str]:
    """Read a file of /proc, cut after _TOLD_MAX bytes. Raises OSError."""
    return beginning_of(path, _TOLD_MAX).decode(errors="replace").splitlines()
