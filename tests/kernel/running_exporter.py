"""What of ci-egress is in the kernel, and processes that a test has to watch or to end."""

from __future__ import annotations

import json
import os
import select
import signal
import subprocess
import time
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from functools import cache
from itertools import chain
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any

from exporter.kernel.bpf import link_info, open_pinned
from exporter.kernel.mounts import BPFFS_HOME
from exporter.kernel.pins import remove
from exporter.kernel.programs.hooks import PROGRAMS
from exporter.kernel.programs.kinds import (
    FOR_POLICIES,
    ContextHook,
    FunctionExit,
    Hook,
    SecurityHook,
    Tracepoint,
    is_needed,
    possible,
)
from exporter.pipeline.procfs import all_pids, ancestors
from tests.checkout import ROOT

from .tracing import RUN_LIMIT_S, Trace, environment, read, run_command

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence

    from exporter.kernel.bpf import LinkInfo

PINS = BPFFS_HOME / "ci-egress"
PROGRAMS_IN_CGROUP = sum(isinstance(each, Hook) and each.name not in FOR_POLICIES for each in PROGRAMS)
"""How many an instance has there at least."""

_BPF_FILES = {f"anon_inode:{name}" for name in ("bpf-link", "bpf_link", "bpf-prog")}
"""As /proc shows descriptors."""
_GONE = ("can't get link by id", "No such file or directory", "No such device")
"""What bpftool says of a link, or a cgroup, that goes away meanwhile."""
_LIMIT_S = 60.0
"""For what is expected to come."""


@cache
def links(*, has_policy: bool = False) -> int:
    """How many links an instance has where this kernel takes all programs that it has hooks for."""
    kinds = ContextHook | FunctionExit | Hook | SecurityHook | Tracepoint
    wanted = [each for each in PROGRAMS if has_policy or each.name not in FOR_POLICIES]
    linked = [each for each in possible(wanted) if isinstance(each, kinds)]
    names = {each.name for each in linked}
    return sum(is_needed(each, names) for each in linked)


@dataclass(frozen=True)
class Attached:
    """Everything that bpftool and bpffs show."""

    programs: frozenset[int]
    """Ids of those attached to a cgroup."""
    links: frozenset[int]
    pins: frozenset[Path]

    def beyond(self, before: Attached) -> Attached:
        """What wasn't there before."""
        return Attached(self.programs - before.programs, self.links - before.links, self.pins - before.pins)

    def meets(self, other: Attached) -> bool:
        """Whether anything is in both."""
        return bool(self.programs & other.programs or self.links & other.links or self.pins & other.pins)


def attached() -> Attached:
    """As of now."""
    in_cgroups = _bpftool("cgroup", "tree")
    return Attached(
        frozenset(program["id"] for cgroup in in_cgroups for program in cgroup["programs"]),
        frozenset(link["id"] for link in _bpftool("link")),
        frozenset(Path(folder, name) for folder, *names in os.walk(PINS) for name in chain(*names)),
    )


def links_in(directory: Path) -> frozenset[int]:
    """Ids of the links that are pinned there."""
    return frozenset(link.id for link in _links_in(directory))


def _links_in(directory: Path) -> Iterator[LinkInfo]:
    for pin in directory.glob("link_*"):
        with suppress(FileNotFoundError):  # of an interface that went away meanwhile
            descriptor = open_pinned(pin)
            yield link_info(descriptor)
            os.close(descriptor)


def of_others(known: frozenset[int]) -> Attached:
    """What other processes hold that are `known`, or were started by such: another row of tests, for one."""
    links, programs, pins = set[int](), set[int](), set[Path]()
    for descriptor, target in _of_others(known):
        if target.parent == PINS:
            pins.add(target)
            with suppress(FileNotFoundError):  # it ended meanwhile
                pins.update(target.glob("**/*"))
                for link in _links_in(target):
                    links.add(link.id)
                    programs.add(link.program_id)
        else:
            with suppress(OSError):
                lines = (descriptor.parents[1] / "fdinfo" / descriptor.name).read_text().splitlines()
                told = dict(line.partition(":\t")[::2] for line in lines)
                # Without that it is another file by now: the descriptor was closed meanwhile.
                programs |= {int(told["prog_id"])} if "prog_id" in told else set()
                links |= {int(told["link_id"])} if "link_id" in told else set()
    return Attached(frozenset(programs), frozenset(links), frozenset(pins))


def _of_others(known: frozenset[int]) -> Iterator[tuple[Path, Path]]:
    """Their descriptors of instances, links and programs, with what they are of."""
    for process in Path("/proc").glob("[0-9]*"):
        with suppress(OSError):
            targets = ((descriptor, target_of(descriptor)) for descriptor in process.glob("fd/*"))
            found = [each for each in targets if each[1].parent == PINS or str(each[1]) in _BPF_FILES]
            if found and _is_anothers(int(process.name), known):
                yield from found


def _is_anothers(pid: int, known: frozenset[int]) -> bool:
    """Not so of what this process started, nor of what has lost its parent since: it may be this one's."""
    line = {pid, *(process.pid for process in ancestors(pid))}
    return os.getpid() not in line and not known.isdisjoint(line - {1})


def _bpftool(*arguments: str) -> list[dict[str, Any]]:
    while True:
        done = subprocess.run(["bpftool", "-j", *arguments], capture_output=True, text=True, check=False)
        if done.returncode == 0:
            found: list[dict[str, Any]] = json.loads(done.stdout or "[]")
            return found
        assert any(words in done.stdout for words in _GONE), done


@contextmanager
def nothing_left() -> Iterator[None]:
    """After the block, nothing stays in the kernel that came during it, but what others have there."""
    before, known = attached(), all_pids()
    yield
    came = attached().beyond(before)
    wait_for(lambda: not came.beyond(of_others(known)).meets(attached()))


@contextmanager
def stopped(pid: int) -> Iterator[None]:
    """During the block, that process does nothing."""
    os.kill(pid, signal.SIGSTOP)
    try:
        wait_for(lambda: _is_stopped(pid))
        yield
    finally:
        os.kill(pid, signal.SIGCONT)


def _is_stopped(pid: int) -> bool:
    """Every thread, that is."""
    with suppress(FileNotFoundError, ProcessLookupError):  # one that ends
        told = [path.read_text(errors="replace") for path in Path(f"/proc/{pid}/task").glob("*/stat")]
        return all(stat.rpartition(")")[2].split()[0] == "T" for stat in told)
    return False


def wait_for(is_so: Callable[[], bool], limit_s: float = _LIMIT_S) -> None:
    """Wait until it is so."""
    deadline_s = time.monotonic() + limit_s
    while not is_so():
        assert time.monotonic() < deadline_s, "it is still not so"
        time.sleep(0.01)


@dataclass(frozen=True)
class Running:
    """A `ci-egress run` that goes on, in a session of its own."""

    process: subprocess.Popen[str]
    otlp_dir: Path

    @property
    def pid(self) -> int:
        """Of ci-egress, and of its session."""
        return self.process.pid

    def instance(self) -> Path:
        """Its pin directory."""
        return instance_of(self.pid)

    def tell(self, line: str) -> None:
        """Write a line to COMMAND's stdin."""
        assert self.process.stdin is not None
        self.process.stdin.write(f"{line}\n")
        self.process.stdin.flush()

    def next_line(self) -> str:
        """COMMAND's next line of output."""
        return _next_line(self.process.stdout)

    def message(self, words: str) -> str:
        """The next line on stderr that has `words`: it may tell of others' instances first."""
        while words not in (line := _next_line(self.process.stderr)):
            assert line != "(ended)", f"it never said: {words}"
        return line

    def end(self) -> Trace:
        """Wait for its end."""
        stdout, stderr = self.process.communicate(timeout=RUN_LIMIT_S)
        done = subprocess.CompletedProcess([], self.process.returncode, stdout, stderr)
        return read(done, self.otlp_dir)


def instance_of(pid: int) -> Path:
    """The pin directory of the ci-egress with that pid: the one that it has open, for the lock."""
    links = map(target_of, Path(f"/proc/{pid}/fd").iterdir())
    (directory,) = {path for path in links if path.parent == PINS}
    return directory


def _next_line(stream: IO[str] | None) -> str:
    assert stream is not None
    line = b""
    while not line.endswith(b"\n"):  # bytewise: what a buffer took, `communicate` would miss
        assert select.select([stream], [], [], _LIMIT_S)[0], "nothing came"
        line += os.read(stream.fileno(), 1) or b"(ended)\n"
    return line.decode().rstrip("\n")


def target_of(link: Path) -> Path:
    """What a descriptor is of; the link itself where that was closed meanwhile."""
    with suppress(FileNotFoundError):
        return link.readlink()
    return link


@contextmanager
def running(
    command: Sequence[str | bytes],
    otlp_dir: Path,
    *options: str,
    env: Mapping[str, str] | None = None,
    cwd: Path = ROOT,
    under: Sequence[str | bytes] = (),
) -> Iterator[Running]:
    """Start `ci-egress run`; whatever of its session is left at the end is killed, and its instance removed.

    `under` is a command that becomes it.
    """
    with start([*under, *run_command(otlp_dir, command, *options)], env, cwd) as process:
        try:
            yield Running(process, otlp_dir)
        finally:
            instance = None
            with suppress(OSError, ValueError):  # it has ended, or not begun
                instance = instance_of(process.pid)
            end_session(process.pid)
            if instance is not None:  # else what it denies would stay denied
                process.wait()
                remove(instance)


def start(
    command: Sequence[str | bytes], env: Mapping[str, str] | None = None, cwd: Path = ROOT
) -> subprocess.Popen[str]:
    """Start a command in a session of its own, whose end the caller has to see to."""
    pipe = subprocess.PIPE
    return subprocess.Popen(
        command,
        stdin=pipe,
        stdout=pipe,
        stderr=pipe,
        text=True,
        env=environment(env),
        cwd=cwd,
        start_new_session=True,
    )


def end_session(session: int) -> None:
    """Kill what is left of it, with what that forks meanwhile."""

    def is_over() -> bool:
        pids = in_session(session)
        for pid in pids:
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        return not pids

    wait_for(is_over)


def in_session(session: int) -> list[int]:
    """Pids of its live processes."""
    pids = (int(path.name) for path in Path("/proc").iterdir() if path.name.isdigit())
    return [pid for pid in pids if _is_live(pid, session)]


def _is_live(pid: int, session: int) -> bool:
    with suppress(FileNotFoundError, ProcessLookupError):
        stat = Path(f"/proc/{pid}/stat").read_text(errors="replace")  # a name may have any bytes
        state, _, _, its_session, *_ = stat.rpartition(")")[2].split()
        return int(its_session) == session and state not in "ZX"
    return False
