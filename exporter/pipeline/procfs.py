"""Read from /proc the facts about a process that the kernel's records lack, as long as the process exists.

A process may choose where its arguments and variables are in memory, and how long they are: PR_SET_MM_MAP
needs no privilege. So reading stops after as many bytes as an exec can take, and after a moment. All other
reading stops after a moment, too: a process that executes a program can make its readers wait.
"""

from __future__ import annotations

import pwd
import re
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import suppress
from functools import lru_cache, partial
from pathlib import Path
from typing import NamedTuple, TypeVar

import psutil

from exporter.common.bounded import beginning_of, readers
from exporter.common.net.hosts import HostsFile
from exporter.common.text import clean
from exporter.events import wire
from exporter.events.arguments import arguments_of, split
from exporter.events.facts import ProcessKey
from exporter.events.programs import Facts, Image

_AT_ONCE = 256
"""The number of processes whose states are read by one call of a reader."""
_NS_PER_TICK = 10_000_000  # USER_HZ is 100 on every machine supported
_START_TOLERANCE_TICKS = 2
_DELETED = " (deleted)"
_ENDED = "ZX"
_ENVIRONMENT_MAX = 6 << 20
"""The most bytes of variables and arguments that an exec takes: three quarters of _STK_LIM (fs/exec.c,
bprm_set_stack_limit)."""
_CGROUPS_MAX = 1 << 17
"""The most bytes of a process's cgroups: a path for each hierarchy, of which there are some 15."""
_T = TypeVar("_T")
_CONTAINER_ID = re.compile(r"(?<![0-9a-f])[0-9a-f]{64}(?![0-9a-f])")


def started_ns(pid: int) -> int | None:
    """Return when `pid` started, in ns since boot, to the clock tick (10 ms); None when there is none."""
    try:
        return _state_in_time(pid).started_ns
    except OSError:
        return None


def key_of_child(pid: int) -> ProcessKey:
    """Return the key of a child of ours, however long the read takes on a busy machine. Raises OSError."""
    return ProcessKey(pid, _state(pid).started_ns)


def is_to_the_tick(since_ns: int) -> bool:
    """Whether a start time is exact only to the clock tick, as in /proc; the hook of forks is more exact."""
    return since_ns % _NS_PER_TICK == 0


def has_ended(process: ProcessKey) -> bool:
    """Whether `process` has ended, even if nobody has waited for it yet, or another process has its pid.

    Raises OSError when /proc doesn't show whether it has.
    """
    try:
        state = _state_in_time(process.pid)
    except (FileNotFoundError, ProcessLookupError):
        return True
    return state.letter in _ENDED or not _is_start_of(process, state.started_ns)


def is_running(process: ProcessKey) -> bool:
    """Whether `process` certainly runs; False when /proc doesn't show whether it does."""
    try:
        return not has_ended(process)
    except OSError:
        return False


def everyone() -> Iterator[tuple[ProcessKey, int]]:
    """Yield all processes of this host that can be read, each with its parent's pid; parents come first."""
    found = _states(psutil.pids())
    # A start is known to the tick: a child of the same tick may have the lower pid.
    for youngest in sorted(found, key=lambda pid: found[pid].started_ns):
        line, pid = list[tuple[ProcessKey, int]](), youngest
        while state := found.pop(pid, None):
            line.append((ProcessKey(pid, state.started_ns), state.parent_pid))
            pid = state.parent_pid
        yield from reversed(line)


def ancestors(pid: int) -> tuple[ProcessKey, ...]:
    """Return the parent of `pid`, the parent's parent, and so on, as far as they can be seen."""
    found = list[ProcessKey]()
    with suppress(OSError):
        state = _state_in_time(pid)
        while (number := state.parent_pid) and all(number != each.pid for each in found):
            child, state = state, _state_in_time(number)
            if state.started_ns > child.started_ns:
                break  # the parent has ended meanwhile, and its number is another process's
            found.append(ProcessKey(number, state.started_ns))
    return tuple(found)


def all_pids() -> frozenset[int]:
    """Return the pids of all processes of this host, also of processes that ended and weren't waited for."""
    return frozenset(psutil.pids())


def environment_of(process: ProcessKey) -> bytes:
    """Return the environment block that `process` was executed with, as /proc still shows it.

    Returns no bytes when the process is gone, or keeps others from reading its environment. The same holds
    for more bytes than an exec takes: the process wasn't executed with these.
    """
    try:
        block = _in_time(process, _environment)
    except OSError:
        return b""
    return block if len(block) <= _ENVIRONMENT_MAX else b""


def owner_of(process: ProcessKey) -> int:
    """Return the uid of the owner of `process`; 0 when the process is gone."""
    try:
        return Path(f"/proc/{process.pid}").stat().st_uid
    except OSError:
        return 0


class Proc:
    """A reader of /proc. A process that is gone, or whose pid is another's by now, has no facts."""

    def __init__(self) -> None:
        """Start the threads that read files of /proc; nothing is read yet."""
        readers()  # now, while there is room for threads
        self._hosts = HostsFile()

    def host_name(self, peer: bytes, at_ns: int) -> str | None:
        """Return the name of `peer` in /etc/hosts; None when it has none there."""
        return self._hosts.name_of(peer, at_ns)

    def facts(self, process: ProcessKey) -> Facts:
        """Return the working directory and the container of `process`."""
        with suppress(OSError):
            return _in_time(process, _facts)
        return Facts()

    def image(self, process: ProcessKey) -> Image:
        """Return the executable and the redacted argv of `process`."""
        with suppress(OSError):
            return _in_time(process, _image)
        return Image()

    def owner(self, uid: int) -> str:
        """Return the user's name on this host, or the number when it has none."""
        return user_name(uid)


class _State(NamedTuple):
    letter: str
    parent_pid: int
    started_ns: int


def _state(pid: int) -> _State:
    """Read the state of `pid` from its `stat`. Raises OSError."""
    text = Path(f"/proc/{pid}/stat").read_text(errors="replace")
    fields = text.rsplit(")", 1)[-1].split()
    return _State(fields[0], int(fields[1]), int(fields[19]) * _NS_PER_TICK)


def _state_in_time(pid: int) -> _State:
    """Read the state of `pid`, unless that takes too long. Raises OSError."""
    return readers().within(partial(_state, pid), about=pid)


class _Batch:
    """Processes whose states are read in one go. A call that gets stuck is followed by one for the rest."""

    def __init__(self, pids: Iterable[int]) -> None:
        self.left = deque(pid for pid in pids if not readers().is_stuck_at(pid))
        self.at = 0
        self.found = dict[int, _State]()

    def read(self) -> None:
        while self.left:
            self.at = pid = self.left.popleft()
            with suppress(OSError):  # it has ended
                self.found[pid] = _state(pid)


def _states(pids: Sequence[int]) -> dict[int, _State]:
    """Read the states of many processes; those that can't be read in time are left out."""
    found = dict[int, _State]()
    for begin in range(0, len(pids), _AT_ONCE):
        batch = _Batch(pids[begin : begin + _AT_ONCE])
        while batch.left:
            try:
                readers().within(batch.read)
            except TimeoutError:
                readers().note_stuck(batch.at)
            except OSError:
                break  # all readers are stuck
        found.update(batch.found.copy())
    return found


def _in_time(process: ProcessKey, read: Callable[[int], _T]) -> _T:
    """Call `read` for `process`, and give up after a moment. Raises OSError, also if the process is gone."""

    def read_while_it_is() -> _T:
        _require(process)
        found = read(process.pid)
        _require(process)
        return found

    # A reader's answer takes as long as other threads keep the interpreter. Most processes are short, and
    # gone by now. Their folder shows that at once, and looking at it takes no lock of the process.
    Path(f"/proc/{process.pid}").stat()
    return readers().within(read_while_it_is, about=process.pid)


def _require(process: ProcessKey) -> None:
    if not _is_start_of(process, _state(process.pid).started_ns):
        raise ProcessLookupError


def _environment(pid: int) -> bytes:
    return beginning_of(Path(f"/proc/{pid}/environ"), _ENVIRONMENT_MAX + 1)


def _facts(pid: int) -> Facts:
    return Facts(_target(pid, "cwd"), container_id(pid))


def _image(pid: int) -> Image:
    arguments = [clean(part) for part in _arguments(pid)]
    return Image(_target(pid, "exe"), arguments_of(arguments))


def _target(pid: int, link: str) -> str | None:
    """Return the target of a link in /proc; None when it can't be read, as for a directory too deep."""
    try:
        target = Path(f"/proc/{pid}/{link}").readlink()
    except OSError:
        return None
    return clean(str(target).removesuffix(_DELETED))


def _arguments(pid: int) -> list[str]:
    """Return the argv of `pid`, up to as many bytes as are kept when an exec is reported."""
    try:
        block = beginning_of(Path(f"/proc/{pid}/cmdline"), wire.ARGUMENTS_MAX)
    except OSError:
        return []
    arguments = split(block)
    # A program that shows a title (as by setproctitle) writes one text over all its arguments.
    return arguments[0].split(" ") if len(arguments) == 1 else arguments


def _is_start_of(process: ProcessKey, since_ns: int) -> bool:
    return abs(since_ns - process.started_ns) <= _START_TOLERANCE_TICKS * _NS_PER_TICK


def container_id(pid: int) -> str | None:
    """Return the id of the container that `pid` runs in, from its cgroups; None outside of one."""
    try:
        return container_in(beginning_of(Path(f"/proc/{pid}/cgroup"), _CGROUPS_MAX).decode(errors="replace"))
    except OSError:
        return None


def container_in(cgroup: str) -> str | None:
    """Return the id of the container that is named in cgroups' paths, or a part of one; None without an id.

    Runtimes differ in what stands around the id (`docker-ID.scope`, `docker/ID`, `cri-containerd-ID.scope`).
    For a container inside another, the id is that of the inner one.
    """
    found = _CONTAINER_ID.findall(cgroup)
    return found[-1] if found else None


@lru_cache(maxsize=1024)
def user_name(uid: int) -> str:
    """Return the user's name on this host, or the number when it has none."""
    try:
        return clean(pwd.getpwuid(uid).pw_name)
    except KeyError:
        return str(uid)
