"""Agents: the programs of CI systems that start jobs. What they make is a step from its fork on."""

from __future__ import annotations

import pwd
from collections.abc import Iterable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import NamedTuple

from exporter import wire
from exporter.errors import UsageError
from exporter.jobs.providers import PROVIDERS

_UNITS = (".service", ".scope", ".slice")
_USER = "user:"
_CUT = wire.AGENT_NAME_ROOM - 1


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


KNOWN = (
    *map(_program, ("Runner.Worker", "gitlab-runner", "buildkite-agent")),
    *map(_program, ("act_runner", "forgejo-runner", "woodpecker-agent")),
    *map(_unit, ("jenkins.service", "jenkins-agent.service")),
)
"""Those of GitHub, GitLab, Buildkite, Gitea, Forgejo, Woodpecker and Jenkins, as they install themselves."""


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


def marks(job_env: str | None) -> Iterator[bytes]:
    """How the variables begin that a job is known by, as the map `marks` has it."""
    named = (f"{job_env}=",) if job_env else ()
    texts = {mark if "=" in mark else f"{mark}=" for provider in PROVIDERS for mark in provider.present}
    for text in sorted({*texts, *named}):
        start = text.encode()[: wire.MARK_ROOM]
        yield wire.MARK_KEY.pack(8 * len(start), start)


def is_agent(pid: int, agents: Iterable[Agent]) -> bool:
    """Whether `pid`, which runs already, is one of `agents`, by the rules of the kernel's programs."""
    return not _is_in_container(pid) and not _known_as(pid).isdisjoint(agents)


def _known_as(pid: int) -> set[Agent]:
    """All that it could be known by."""
    folder, found = Path(f"/proc/{pid}"), set()
    with suppress(OSError):
        found.add(_program((folder / "exe").readlink().name.removesuffix(" (deleted)")))
    with suppress(OSError):
        groups = (folder / "cgroup").read_text(errors="replace").splitlines()
        found |= {_unit(line.rsplit("/", 1)[-1]) for line in groups if line.startswith("0::")}
    if (uids := _status(folder, "Uid:")) is not None:
        found.add(Agent(wire.AGENT_USER, user=int(uids[0])))
    return found


def _is_in_container(pid: int) -> bool:
    """Whether it is in a pid namespace below that of ci-egress."""
    numbers, own = (_status(Path(f"/proc/{name}"), "NSpid:") for name in (pid, "self"))
    return len(numbers or ()) > len(own or ())


def _status(folder: Path, name: str) -> list[str] | None:
    with suppress(OSError):
        for line in (folder / "status").read_text(errors="replace").splitlines():
            if line.startswith(name):
                return line.split()[1:]
    return None
