"""Frames of packet sockets, stopped where they leave, while a job's policy is enforced.

No hook of a cgroup sees them, so a program stands at the way out of every interface, in every network
namespace where such a job has a process: `on_frame` in bpf/frame.bpf.c. Interfaces tell of themselves when
they appear (rtnetlink). Namespaces don't: they are found by their processes, once in a second, and at once
where an interface came or went, or a packet socket was made. Links are pinned like the instance's others, and
stay when the exporter is killed.

What would go past that program, by PACKET_QDISC_BYPASS or through XDP sockets, needs an option of the socket,
and that is denied: `on_setsockopt`.
"""

from __future__ import annotations

import os
import struct
import time
from collections.abc import Collection, Iterator, Mapping
from contextlib import contextmanager, suppress
from functools import partial
from pathlib import Path
from typing import NamedTuple

from exporter import wire
from exporter.clock import boot_ns
from exporter.errors import KernelError
from exporter.events import ProcessKey, Tampered, Tampering
from exporter.kernel.bpf import Map
from exporter.kernel.exits import Way, exits, way_here
from exporter.kernel.later import LaterLinks
from exporter.kernel.locks import changing_modes
from exporter.kernel.mounts import cgroup2_root
from exporter.kernel.networks import LinkNews, inside
from exporter.kernel.objects import AttachType, attach_to_cgroup

LOOK_S = 1.0

_NUMBER = struct.Struct("=I")
_OPTIONS = "on_setsockopt"
_EVERYWHERE, _UNREADABLE = 0, 1
"""No namespace's number."""


class _Network(NamedTuple):
    """A namespace that is watched. Holding these keeps it alive, so they are let go of with its processes."""

    descriptor: int
    news: LinkNews
    found_at: Path

    def is_in_use(self, number: int) -> bool:
        """Whether it is still that of the process, or thread, that it was found by."""
        with suppress(OSError):
            return self.found_at.stat().st_ino == number
        return False

    def close(self) -> None:
        self.news.close()
        os.close(self.descriptor)


class Frames:
    """The programs at interfaces; a turn is cheap while nothing changes."""

    def __init__(
        self, pins: Path, maps: Mapping[str, Map], *, outlives: bool = True, way: Way | None = None
    ) -> None:
        """`pins` is the instance's directory; an earlier exporter may have left programs attached.

        What is attached outlives this process with `outlives`. It goes by `way`; None: by what there is.
        """
        self._pins, self._procs, self._modes = pins, maps["procs"], maps["modes"]
        self._candidates = maps["candidates"]
        self._networks: dict[int, _Network] = {}
        self._failed: set[int] = set()
        """Namespaces where they can't be stopped; it was told."""
        self._told: list[Tampered] = []
        self._links = LaterLinks(pins, outlives=outlives)
        self.way = way or way_here()
        """How they are stopped; NONE: on this kernel they can't be."""
        self._exits = exits(self.way, pins, self._links)
        self._next_s = 0.0
        self._is_over = False
        self.undecided = 0
        """The scope that is enforced for what may be a job's; 0: none is."""

    def close(self) -> None:
        """Attach nothing any more; pins keep what is attached."""
        self._is_over = True
        self._watch_only(())
        self._links.close()

    def detach(self) -> None:
        """Attach nothing any more, and detach what is."""
        self._is_over = True
        self._withdraw()

    def unpinned(self) -> frozenset[str]:
        """Pins that somebody else removed."""
        return self._links.unpinned()

    def turn(self) -> list[Tampered]:
        """Have the programs wherever they have to be; gives where they can't be, or came late."""
        if not self._is_over:
            changed = [number for number, network in self._networks.items() if network.news.came()]
            if changed or time.monotonic() >= self._next_s:
                self.look(changed)
        return self.found()

    def found(self) -> list[Tampered]:
        """What the looks so far have to tell."""
        told, self._told = self._told, []
        return told

    def alarm(self, event: Tampered) -> None:
        """A packet socket was made, perhaps by a thread in a namespace of its own, which no look finds."""
        is_known = event.network in self._networks or event.network in self._failed
        if self._is_over or is_known or event.scope not in self._enforced():
            return
        for thread in Path(f"/proc/{event.process.pid}/task").glob("*"):
            with suppress(OSError):
                self._take_in(thread / "ns/net", event)
        if event.network not in self._failed:
            self._tell(event, 0)

    def arrived(self, process: ProcessKey, scope: int) -> None:
        """`process` is about to be of `scope`: it is held from the beginning where that is enforced."""
        if not self._is_over and scope in self._enforced():
            who = _told_of(process, 0, scope)
            try:
                self._take_in(Path(f"/proc/{process.pid}/ns/net"), who)
            except (FileNotFoundError, ProcessLookupError):
                return  # it has ended
            except OSError as error:
                self._fail(_UNREADABLE, who, error)
            self._hold_options(who)

    def look(self, changed: Collection[int] = (), *, about_to_be: Collection[int] = ()) -> None:
        """Do it now: what is enforced has changed, or interfaces of namespaces with these numbers have.

        Scopes that are `about_to_be` enforced are as if they were. What there is to tell of it comes with the
        next turn, or by `found`.
        """
        self._next_s = time.monotonic() + LOOK_S
        if not self._pins.exists():
            return  # somebody stopped the instance, or removed its pins, which is told elsewhere
        scopes = self._enforced().union(about_to_be)
        self._links.find()
        if not scopes:
            self._withdraw_unless_wanted()
            return
        if self._links.forget_gone():
            changed = self._networks.keys()
        for number in list(changed):
            try:
                self._cover(self._networks[number].descriptor)
            except OSError:
                self._networks.pop(number).close()  # it is told below, if it can't be taken in again
        found = self._take_in_all(scopes)
        found |= {number for number, network in self._networks.items() if network.is_in_use(number)}
        self._failed &= found | {_EVERYWHERE, _UNREADABLE}
        self._watch_only(found)

    def _take_in_all(self, scopes: Collection[int]) -> set[int]:
        """The numbers of the namespaces in which processes of these scopes are."""
        found: set[int] = set()
        for pid, value in self._processes(scopes):
            path = Path(f"/proc/{pid}/ns/net")
            who = _told_of(ProcessKey(pid, value.started_ns), value.exec_id, value.scope)
            try:
                number = path.stat().st_ino
                if number not in found:
                    found.add(number)
                    self._take_in(path, who)
            except (FileNotFoundError, ProcessLookupError):
                continue  # it has ended
            except OSError as error:
                self._fail(_UNREADABLE, who, error)
            self._hold_options(who)
        return found

    def _enforced(self) -> set[int]:
        """Scopes."""
        return {
            _NUMBER.unpack(key)[0]
            for key, value in self._modes.items()
            if wire.ModeValue._make(wire.MODE_VALUE.unpack(value)).is_enforcing
        }

    def _processes(self, scopes: Collection[int]) -> Iterator[tuple[int, wire.ProcValue]]:
        """Of these scopes, by their pids; also those that haven't done anything yet since they were found."""
        found = {key: _NUMBER.unpack(scope)[0] for key, scope in self._candidates.items()}
        for key, value in self._procs.items():
            process = wire.ProcValue._make(wire.PROC_VALUE.unpack(value))
            root = wire.CANDIDATE_KEY.pack(process.born_ns, process.tgid, process.program)
            early = self.undecided if process.standing else process.scope
            scope = process.scope or found.get(root, early)
            if scope in scopes:
                yield _NUMBER.unpack(key)[0], process._replace(scope=scope)

    def _take_in(self, path: Path, who: Tampered) -> None:
        """Watch the namespace at `path`, unless it is. Raises OSError when there is none any more."""
        descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
        number = os.fstat(descriptor).st_ino
        if number in self._networks or number in self._failed:
            os.close(descriptor)
            return
        try:
            news = inside(descriptor, LinkNews)  # first: no interface may come between
        except OSError as error:
            os.close(descriptor)
            self._fail(number, who, error)
            return
        self._networks[number] = _Network(descriptor, news, path)
        try:
            self._cover(descriptor)
        except OSError as error:
            self._networks.pop(number).close()
            self._fail(number, who, error)

    def _cover(self, namespace: int) -> None:
        """Put the program on every interface without it. Raises OSError where the kernel can't do that."""
        inside(namespace, self._exits.cover)

    def _hold_options(self, who: Tampered) -> None:
        """Keep sockets from sending past the program."""
        if _OPTIONS in self._links or _EVERYWHERE in self._failed:
            return
        try:
            cgroup = os.open(cgroup2_root(), os.O_RDONLY | os.O_DIRECTORY)
            with _closed(cgroup):
                attach = partial(attach_to_cgroup, cgroup=cgroup, attach_type=AttachType.SETSOCKOPT)
                self._links.attach(_OPTIONS, attach)
        except OSError as error:
            self._fail(_EVERYWHERE, who, error)

    def _withdraw_unless_wanted(self) -> None:
        if len(self._links) or self._failed:
            with suppress(KernelError), changing_modes(self._pins):  # somebody may be turning one on
                if not self._enforced():
                    self._withdraw()

    def _withdraw(self) -> None:
        """No job's policy is enforced any more."""
        self._exits.withdraw()
        self._links.detach_all()
        self._watch_only(())
        self._failed.clear()

    def _watch_only(self, numbers: Collection[int]) -> None:
        """Let go of the other namespaces."""
        for number in self._networks.keys() - set(numbers):
            self._networks.pop(number).close()

    def _fail(self, number: int, who: Tampered, error: OSError) -> None:
        if number not in self._failed:
            self._failed.add(number)
            self._tell(who, error.errno or 0)

    def _tell(self, who: Tampered, reason: int) -> None:
        event = who._replace(at_ns=boot_ns(), what=Tampering.FRAMES, detail=reason, times=1)
        with suppress(OSError):
            event = event._replace(uid=Path(f"/proc/{who.process.pid}").stat().st_uid)
        self._told.append(event)


def _told_of(process: ProcessKey, exec_id: int, scope: int) -> Tampered:
    """What is told of a process, if there is anything to tell."""
    return Tampered(boot_ns(), process, exec_id, 0, 0, scope, Tampering.FRAMES, 0, 1)


@contextmanager
def _closed(descriptor: int) -> Iterator[int]:
    try:
        yield descriptor
    finally:
        os.close(descriptor)
