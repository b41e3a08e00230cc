"""Agents: the programs of CI systems that start jobs. What they make is a step from its fork on."""

from __future__ import annotations

import pwd
from collections.abc import Container, Iterable, Iterator, Mapping
from contextlib import suppress
from pathlib import Path
from typing import NamedTuple

from exporter import wire
from exporter.bounded import beginning_of
from exporter.errors import UsageError
from exporter.events import ProcessKey
from exporter.jobs.providers import PROVIDERS, Provider
from exporter.procfs import ancestors

_UNITS = (".service", ".scope", ".slice")
_USER = "user:"
_CUT = wire.AGENT_NAME_ROOM - 1
_TOLD_MAX = 1 << 20
"""Of a process: it may have 65,536 groups."""


class Agent(NamedTuple):
    """By what one is known, as the kernel's programs compare it."""

    kind: int
    """wire.AGENT_*."""
    name: bytes = b""
    """Of an executable, without its folder, or of a cgroup; cut as the kernel cuts it."""
    user: int = 0

    @property
    def key(self) -> bytes:
        """As the map has it."""
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
"""As they install themselves, with the CI system whose variables their steps have."""
PROGRAMS = frozenset(agent.name.decode() for agent in KNOWN if agent.kind == wire.AGENT_PROGRAM)
"""The executables among them."""
_NUMBERED = ("", *sorted(set(KNOWN.values())))


def number_of(agent: Agent) -> int:
    """Of which kind it is, for the kernel; 0 where nobody knows."""
    return _NUMBERED.index(KNOWN.get(agent, ""))


def system_of(number: int) -> str | None:
    """The CI system of agents of that kind; None where nobody knows."""
    return _NUMBERED[number] if 0 < number < len(_NUMBERED) else None


def agent_named(text: str) -> Agent:
    """What `--agent` names: a unit by its ending, `user:NAME`, else an executable. Raises UsageError."""
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
    """How the variables begin that a job is known by, one of each system, as the map `marks` has it.

    Whatever their value: who gives one another value isn't done with by that. With each goes the number of
    the system, as `number_of` has it for its agents.
    """
    found = {provider.present[0].partition("=")[0]: _number_of_system(provider) for provider in PROVIDERS}
    if job_env:
        found[job_env] = 0
    return {_mark(name): number for name, number in found.items()}


def _number_of_system(provider: Provider) -> int:
    """Its own, or of the one whose agents may run in it; 0: nobody's."""
    names = (provider.name, *(each.name for each in PROVIDERS if provider.name in each.beside))
    return next((_NUMBERED.index(name) for name in names if name in _NUMBERED), 0)


def _mark(name: str) -> bytes:
    start = f"{name}=".encode()[: wire.MARK_ROOM - 1]  # the kernel reads a text with its NUL
    return wire.MARK_KEY.pack(8 * len(start), start)


def agent_of(pid: int, agents: Container[Agent], marks: Mapping[bytes, int]) -> Agent | None:
    """Which of `agents` it is that `pid` runs, by the rules of the kernel's programs; None for none.

    Who is called as one is, and has `marks` of another system, may be called so by a job.
    """
    if _is_in_container(pid):
        return None
    for agent in _known_as(pid):
        is_named = agent.kind == wire.AGENT_PROGRAM
        if agent in agents and not (is_named and _has_mark(pid, marks, number_of(agent))):
            return agent
    return None


class Above(NamedTuple):
    """What started a process, and what started that, and so on."""

    everyone: tuple[ProcessKey, ...] = ()
    """The nearest first."""
    agent: ProcessKey | None = None
    """The nearest of them that starts jobs; None: none is known to."""

    @property
    def up_to_agent(self) -> tuple[ProcessKey, ...]:
        """Those that came to be for the job, and its agent; all, where none is known."""
        return self.everyone[: self.everyone.index(self.agent) + 1] if self.agent else self.everyone


def above(pid: int, agents: Iterable[Agent], marks: Mapping[bytes, int]) -> Above:
    """What started `pid`. An agent is known by its executable: a unit, or a user, has its steps as well."""
    everyone = ancestors(pid)
    programs = {agent for agent in agents if agent.kind == wire.AGENT_PROGRAM}
    found = (process for process in everyone if agent_of(process.pid, programs, marks) is not None)
    return Above(everyone, next(found, None))


def _has_mark(pid: int, marks: Mapping[bytes, int], own: int) -> bool:
    """Whether it was executed with one that isn't of the system `own`; true also where that can't be read."""
    others = (
        wire.MarkKey._make(wire.MARK_KEY.unpack(mark)) for mark, of in marks.items() if of != own or not own
    )
    starts = tuple(mark.text[: mark.prefix_bits // 8] for mark in others)
    with suppress(OSError):
        block = beginning_of(Path(f"/proc/{pid}/environ"), _TOLD_MAX)
        return any(entry.startswith(starts) for entry in block.split(b"\0"))
    return True


def _known_as(pid: int) -> Iterator[Agent]:
    """All that it could be known by."""
    folder = Path(f"/proc/{pid}")
    with suppress(OSError):
        yield _program((folder / "exe").readlink().name.removesuffix(" (deleted)"))
    with suppress(OSError):
        groups = _lines(folder / "cgroup")
        yield from (_unit(line.rsplit("/", 1)[-1]) for line in groups if line.startswith("0::"))
    if (uids := _status(folder, "Uid:")) is not None:
        yield Agent(wire.AGENT_USER, user=int(uids[0]))


def _is_in_container(pid: int) -> bool:
    """Whether it is in a pid namespace below that of ci-egress."""
    numbers, own = (_status(Path(f"/proc/{name}"), "NSpid:") for name in (pid, "self"))
    return len(numbers or ()) > len(own or ())


def _status(folder: Path, name: str) -> list[str] | None:
    with suppress(OSError):
        for line in _lines(folder / "status"):
            if line.startswith(name):
                return line.split()[1:]
    return None


def _lines(path: Path) -> list[str]:
    """Raises OSError."""
    return beginning_of(path, _TOLD_MAX).decode(errors="replace").splitlines()
