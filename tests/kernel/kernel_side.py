"""The kernel side alone: what its records say of one command, without the rest of the exporter."""

from __future__ import annotations

import itertools
import subprocess
import time
from collections import Counter
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from exporter.events import wire
from exporter.events.decode import Decoder
from exporter.events.facts import Acted, Aggregated, Event, ProcessKey, Tampered, attempts_of
from exporter.kernel.bpf import U32, Map
from exporter.kernel.instances import loading as loads
from exporter.kernel.instances.loading import loading
from exporter.kernel.maps.windows import Coverage
from exporter.kernel.programs.hooks import PROGRAMS
from exporter.kernel.tracer import Tracer
from exporter.policy.model import Mode

from .lab import RUN_LIMIT_S
from .running_exporter import wait_for

if TYPE_CHECKING:
    from collections.abc import Collection, Iterator, Sequence

    from exporter.kernel.scopes import Seeds
    from exporter.policy.compile import Compiled

    from .lab import Lab

_BATCH = 4096
_SHOWN = 40
DNS = frozenset({"on_answer", "on_next", "on_grant", "on_alias", "on_name", "on_lookup", "on_query"})
"""The programs that read questions and answers."""
INTERNET = DNS | {"on_connect4", "on_connect6", "on_sendmsg4", "on_sendmsg6", "on_egress", "on_packet"}
"""The programs of acts that leave the machine, and their packets."""
_AT_ITS_START = 'read -r _ && exec "$@"'


@dataclass(frozen=True)
class Told:
    """One command, over: what it printed, and the events of its own process."""

    process: ProcessKey
    stdout: str
    events: list[Event] = field(repr=False)

    @property
    def acts(self) -> list[Acted]:
        """Told one by one, in order."""
        return [event for event in self.events if isinstance(event, Acted)]

    @property
    def tampering(self) -> list[Tampered]:
        """In order."""
        return [event for event in self.events if isinstance(event, Tampered)]


class KernelSide:
    """The programs, attached; each command is a job of its own."""

    def __init__(self, tracer: Tracer) -> None:
        """Nothing is followed yet."""
        self.tracer = tracer
        self._decoder = Decoder()
        self._events: list[Event] = []
        self._latest: list[Event] = []
        self._scopes = itertools.count(1)
        self.scope = 0
        """Of the latest job."""

    def hold(self, scope: int, policy: Compiled, seeds: Seeds = ()) -> int:
        """Hold `scope` to `policy` from now on; `seeds` are names that addresses have anyway. Its number."""
        written = self.tracer.scopes.write(policy)
        self.tracer.scopes.hold(scope, written.number, written.policy, seeds)
        return written.number

    def judge_nothing(self) -> None:
        """Let the kernel judge no act until the next `hold`, as before the first."""
        config, key = self.tracer.maps["config"], bytes(4)
        value = wire.ConfigValue.unpack(config.lookup(key) or b"")
        config.update(key, wire.CONFIG_VALUE.pack(*value._replace(has_policies=0)))

    def run(self, lab: Lab, command: Sequence[str], policy: Compiled | None = None) -> Told:
        """Run COMMAND on the build side to its end, as a job; only under a policy may it fail."""
        with self.beginning(lab, command, policy) as (child, process):
            stdout, stderr = child.communicate("\n", timeout=RUN_LIMIT_S)
        assert (stderr, policy is None and child.returncode) == ("", 0)
        return Told(process, stdout, [event for event in self.drain() if _is_of(event, process)])

    @contextmanager
    def beginning(
        self, lab: Lab, command: Sequence[str], policy: Compiled | None = None
    ) -> Iterator[tuple[subprocess.Popen[str], ProcessKey]]:
        """COMMAND as a job, waiting for a line on its stdin to begin."""
        pipe = subprocess.PIPE
        with subprocess.Popen(
            lab.command(["sh", "-c", _AT_ITS_START, "sh", *command]),
            stdin=pipe,
            stdout=pipe,
            stderr=pipe,
            text=True,
        ) as child:
            wait_for(lambda: _waits(child.pid))  # first it is in the network that nsenter comes from
            process = ProcessKey(child.pid, time.clock_gettime_ns(time.CLOCK_BOOTTIME))
            self.scope = next(self._scopes)
            if policy is not None:
                self.hold(self.scope, policy)
            self.tracer.processes.follow(process, self.scope)
            try:
                yield child, process
            except BaseException:
                child.kill()  # else its end is waited for
                raise

    def change_mode(self, policy: Compiled, mode: Mode) -> None:
        """Hold the latest job to `policy` in that mode: its sockets keep what they have got so far."""
        self.hold(self.scope, replace(policy, mode=mode))

    def drain(self) -> list[Event]:
        """What has been told since the last time."""
        is_all = self.tracer.caught_up()  # a record of another processor's clock may be younger than a look
        while self.tracer.drain(self._handle, limit=_BATCH).number or not is_all():
            pass
        self._latest, self._events = self._events, []
        return self._latest

    def state(self) -> str:
        """The events of the latest `drain` and the kernel's counts, to show beside a failure."""
        counts = self.tracer.counts()
        names = [(name, kind) for name, kind in vars(wire).items() if name.startswith("KIND_")]
        lines = [f"{name}: {counts.seen(kind)} seen, {counts.lost(kind)} lost" for name, kind in names]
        return "\n".join([*map(str, self._latest[-_SHOWN:]), *lines])

    def finish(self) -> list[Event]:
        """Detach; the rest, with everything that was only counted."""
        self.tracer.detach()
        events = self.drain()
        self.tracer.finish(self._handle)
        return events + self._events

    def seen(self, kind: int) -> int:
        """How many of `kind` (wire.KIND_*) the kernel counted in all."""
        return self.tracer.counts().seen(kind)

    def lost(self, kind: int) -> int:
        """How many of them found no room."""
        return self.tracer.counts().lost(kind)

    def _handle(self, data: memoryview, at: int, length: int) -> None:
        self._events.extend(self._decoder.decode(bytes(data[at : at + length]), 0, length))


def _waits(pid: int) -> bool:
    """Whether it is the shell, and reads: it has that name a moment before its exec is over."""
    return "(sh) S" in Path(f"/proc/{pid}/stat").read_text()


def _is_of(event: Event, process: ProcessKey) -> bool:
    return getattr(event, "process", None) == process


def attempts(events: Sequence[Event]) -> Counter[str]:
    """How many attempts were told one by one, and how many only counted."""
    found: Counter[str] = Counter()
    for event in events:
        found["aggregated" if isinstance(event, Aggregated) else "told"] += attempts_of(event)
    return found


def forget_an_exec(procs: Map, pid: int, part: int = wire.NOTICED_ALL) -> wire.ProcValue:
    """Make the entry say that the latest exec, or a part of it, wasn't noticed; return the entry."""
    entry = wire.ProcValue.unpack(procs.lookup(U32.pack(pid)) or b"")
    if part == wire.NOTICED_ALL:
        left = entry._replace(execs=entry.execs - 1)
    else:
        left = entry._replace(noticed=entry.noticed & ~part)
    procs.update(U32.pack(pid), wire.PROC_VALUE.pack(*left))
    return entry


@contextmanager
def kernel_side(coverage: Coverage | None = None, *, without: Collection[str] = ()) -> Iterator[KernelSide]:
    """Attach the programs for the block; without `coverage` jobs alone are followed.

    Programs that the tests don't need are named by `without`: the verifier takes long for some.
    """
    with ExitStack() as stack, pytest.MonkeyPatch.context() as patched:
        patched.setattr(loads, "PROGRAMS", [each for each in PROGRAMS if each.name not in without])
        yield KernelSide(stack.enter_context(loading()).ready(coverage or Coverage()))
