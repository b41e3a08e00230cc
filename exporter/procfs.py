"""/proc, by way of psutil: what the kernel's records don't say of a process, as long as it is there."""

from __future__ import annotations

import pwd
import re
from collections.abc import Callable, Iterator
from contextlib import suppress
from functools import lru_cache
from pathlib import Path
from typing import TypeVar

import psutil

from exporter.arguments import arguments_of
from exporter.events import ProcessKey
from exporter.hosts import HostsFile
from exporter.programs import Facts, Image
from exporter.text import clean

_NS_PER_TICK = 10_000_000  # USER_HZ is 100 on every machine supported
_START_TOLERANCE_TICKS = 2
_T = TypeVar("_T")
_CONTAINER_ID = re.compile(r"(?<![0-9a-f])[0-9a-f]{64}(?![0-9a-f])")


def started_ns(pid: int) -> int | None:
    """When `pid` started, in nanoseconds since boot, to the clock tick (10 ms); None when it isn't there."""
    try:
        text = Path(f"/proc/{pid}/stat").read_text(errors="replace")
    except OSError:
        return None
    return int(text.rsplit(")", 1)[-1].split()[19]) * _NS_PER_TICK


def everyone() -> Iterator[tuple[ProcessKey, int]]:
    """Every process of this host with its parent's pid, parents first."""
    found = []
    for process in psutil.process_iter():
        with suppress(psutil.Error, OSError):
            started = started_ns(process.pid)
            if started is not None:
                found.append((started, process.pid, process.ppid()))
    for started, pid, parent_pid in sorted(found):
        yield ProcessKey(pid, started), parent_pid


def ancestors(pid: int) -> frozenset[ProcessKey]:
    """Who started `pid`, who started that, and so on, as far as it can be seen."""
    live = _live(pid)
    above = (_readable(live.parents) or []) if live else []
    started = ((process.pid, started_ns(process.pid)) for process in above)
    return frozenset(ProcessKey(number, since) for number, since in started if since is not None)


def all_pids() -> frozenset[int]:
    """Of every process of this host, also of those that ended and weren't waited for."""
    return frozenset(psutil.pids())


def environment_of(process: ProcessKey) -> bytes:
    """The block that `process` was executed with, as /proc still shows it; empty when it doesn't."""
    try:
        block = Path(f"/proc/{process.pid}/environ").read_bytes()
    except OSError:
        return b""
    return block if _is_still(process) else b""


def owner_of(process: ProcessKey) -> int:
    """Whose `process` is, 0 where it isn't there any more."""
    try:
        return Path(f"/proc/{process.pid}").stat().st_uid
    except OSError:
        return 0


class Proc:
    """/proc, by way of psutil. A process that is gone, or whose pid is another's by now, has no facts."""

    def __init__(self) -> None:
        """Nothing is read yet."""
        self._hosts = HostsFile()

    def host_name(self, peer: bytes, at_ns: int) -> str | None:
        """What /etc/hosts says."""
        return self._hosts.name_of(peer, at_ns)

    def facts(self, process: ProcessKey) -> Facts:
        """Working directory and container."""
        live = _live_one(process)
        if live is None:
            return Facts()
        facts = Facts(_clean(_readable(live.cwd)), container_id(process.pid))
        return facts if _is_still(process) else Facts()

    def image(self, process: ProcessKey) -> Image:
        """Executable and argv, redacted."""
        live = _live_one(process)
        if live is None:
            return Image()
        arguments = [clean(part) for part in _readable(live.cmdline) or []]
        image = Image(_clean(_readable(live.exe)), arguments_of(arguments))
        return image if _is_still(process) else Image()

    def owner(self, uid: int) -> str:
        """The user's name on this host."""
        return user_name(uid)


def _live(pid: int) -> psutil.Process | None:
    try:
        return psutil.Process(pid)
    except (psutil.Error, OSError):
        return None


def _live_one(process: ProcessKey) -> psutil.Process | None:
    """Give `process` while it runs. psutil takes long to find out that a process is gone."""
    return _live(process.pid) if _is_still(process) else None


def _readable(read: Callable[[], _T]) -> _T | None:
    """What `read` finds. What it raises is the job's to choose: a directory too deep, a pid used again."""
    try:
        return read() or None
    except (psutil.Error, OSError):
        return None


def _clean(text: str | None) -> str | None:
    return None if text is None else clean(text)


def _is_still(process: ProcessKey) -> bool:
    started = started_ns(process.pid)
    tolerance = _START_TOLERANCE_TICKS * _NS_PER_TICK
    return started is not None and abs(started - process.started_ns) <= tolerance


def container_id(pid: int) -> str | None:
    """The container that `pid` runs in, from its cgroups; None outside of one."""
    try:
        return container_in(Path(f"/proc/{pid}/cgroup").read_text(errors="replace"))
    except OSError:
        return None


def container_in(cgroup: str) -> str | None:
    """The id of the container that the path of a cgroup, or several, or a part of one, names; None without.

    Runtimes differ in what stands around it (`docker-ID.scope`, `docker/ID`, `cri-containerd-ID.scope`). Of
    one container inside another it is the inner one's.
    """
    found = _CONTAINER_ID.findall(cgroup)
    return found[-1] if found else None


@lru_cache(maxsize=1024)
def user_name(uid: int) -> str:
    """The user's name on this host, or the number where it has none."""
    try:
        return clean(pwd.getpwuid(uid).pw_name)
    except KeyError:
        return str(uid)
