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

import errno
import os
import secrets
import socket
import struct
import time
from collections.abc import Collection, Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import NamedTuple

from exporter import wire
from exporter.clock import boot_ns
from exporter.events import ProcessKey, Tampered, Tampering
from exporter.kernel.bpf import Map, detach_link, link_info, open_pinned
from exporter.kernel.held import LATER
from exporter.kernel.mounts import cgroup2_root
from exporter.kernel.networks import LinkNews, inside
from exporter.kernel.objects import AttachType, attach_to_cgroup, attach_to_interface, pin

LOOK_S = 1.0

_NUMBER = struct.Struct("=I")
_LINK = f"{LATER}on_frame_"
_OPTIONS_LINK = f"{LATER}on_setsockopt"
_INDEX = 0xFFFFFFFF
_EVERYWHERE, _UNREADABLE = 0, 1
"""No namespace's number."""
_IS_THERE_OR_GONE = (errno.EEXIST, errno.ENODEV)


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

    def __init__(self, pins: Path, maps: Mapping[str, Map], *, outlives: bool = True) -> None:
        """`pins` is the instance's directory; an earlier exporter may have left programs attached.

        What is attached outlives this process with `outlives`.
        """
        self._outlives = outlives
        self._pins, self._procs, self._modes = pins, maps["procs"], maps["modes"]
        self._networks: dict[int, _Network] = {}
        self._failed: set[int] = set()
        """Namespaces where they can't be stopped; it was told."""
        self._told: list[Tampered] = []
        self._links = {path.name: open_pinned(path) for path in pins.glob(f"{LATER}*")}
        """Held open: none goes because its pin is removed."""
        self._next_s = 0.0
        self._is_over = False

    def close(self) -> None:
        """Attach nothing any more; pins keep what is attached."""
        self._is_over = True
        self._watch_only(())
        while self._links:
            os.close(self._links.popitem()[1])

    def detach(self) -> None:
        """Attach nothing any more, and detach what is."""
        self._is_over = True
        self._withdraw()

    def unpinned(self) -> frozenset[str]:
        """Pins that somebody else removed."""
        if not self._outlives:
            return frozenset()
        return frozenset(name for name in self._links if not (self._pins / name).exists())

    def turn(self) -> list[Tampered]:
        """Have the programs wherever they have to be; gives where they can't be, or came late."""
        if not self._is_over:
            changed = [number for number, network in self._networks.items() if network.news.came()]
            if changed or time.monotonic() >= self._next_s:
                self.look(changed)
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

    def look(self, changed: Collection[int] = ()) -> None:
        """Do it now: what is enforced has changed, or interfaces of namespaces with these numbers have.

        What there is to tell of it comes with the next turn.
        """
        self._next_s = time.monotonic() + LOOK_S
        if not self._pins.exists():
            return  # somebody stopped the instance, or removed its pins, which is told elsewhere
        scopes = self._enforced()
        if not scopes:
            self._withdraw()
            return
        if self._forget_gone():
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
            path, who = Path(f"/proc/{pid}/ns/net"), _told_of(pid, value)
            try:
                number = path.stat().st_ino
                if number not in found:
                    found.add(number)
                    self._take_in(path, who)
            except PermissionError as error:
                self._fail(_UNREADABLE, who, error)
            except OSError:
                continue  # it has ended
            self._hold_options(who)
        return found

    def _enforced(self) -> set[int]:
        """Scopes."""
        values = ((key, self._modes.lookup(key)) for key in self._modes)
        return {
            _NUMBER.unpack(key)[0]
            for key, value in values
            if value and wire.ModeValue._make(wire.MODE_VALUE.unpack(value)).is_enforcing
        }

    def _processes(self, scopes: Collection[int]) -> Iterator[tuple[int, wire.ProcValue]]:
        """Of these scopes, by their pids."""
        for key in self._procs:
            value = self._procs.lookup(key)
            if value is not None:
                process = wire.ProcValue._make(wire.PROC_VALUE.unpack(value))
                if process.scope in scopes:
                    yield _NUMBER.unpack(key)[0], process

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
        with _opened(self._pins / "prog_on_frame") as program:
            inside(namespace, lambda: self._attach_everywhere(program))

    def _attach_everywhere(self, program: int) -> None:
        for index, _ in socket.if_nameindex():
            try:
                link = attach_to_interface(program, index)
            except OSError as error:
                if error.errno in _IS_THERE_OR_GONE:
                    continue
                raise
            self._pin(link, f"{_LINK}{secrets.token_hex(8)}")

    def _hold_options(self, who: Tampered) -> None:
        """Keep sockets from sending past the program."""
        if _OPTIONS_LINK in self._links or _EVERYWHERE in self._failed:
            return
        try:
            cgroup = os.open(cgroup2_root(), os.O_RDONLY | os.O_DIRECTORY)
            with _closed(cgroup), _opened(self._pins / "prog_on_setsockopt") as program:
                self._pin(attach_to_cgroup(program, cgroup, AttachType.SETSOCKOPT), _OPTIONS_LINK)
        except OSError as error:
            self._fail(_EVERYWHERE, who, error)

    def _pin(self, link: int, name: str) -> None:
        self._links[name] = link
        if self._outlives:
            pin(link, self._pins / name)

    def _withdraw(self) -> None:
        """No job's policy is enforced any more."""
        for name in list(self._links):
            with suppress(OSError):
                detach_link(self._links[name])
            self._forget(name)
        self._watch_only(())
        self._failed.clear()

    def _forget(self, name: str) -> None:
        os.close(self._links.pop(name))
        (self._pins / name).unlink(missing_ok=True)

    def _watch_only(self, numbers: Collection[int]) -> None:
        """Let go of the other namespaces."""
        for number in self._networks.keys() - set(numbers):
            self._networks.pop(number).close()

    def _forget_gone(self) -> bool:
        """Interfaces that are gone, or had the program detached; whether there are any.

        One that moved to another namespace took its program along.
        """
        gone = [name for name, link in self._links.items() if link_info(link).anchor & _INDEX == 0]
        for name in gone:
            self._forget(name)
        return bool(gone)

    def _fail(self, number: int, who: Tampered, error: OSError) -> None:
        if number not in self._failed:
            self._failed.add(number)
            self._tell(who, error.errno or 0)

    def _tell(self, who: Tampered, reason: int) -> None:
        event = who._replace(at_ns=boot_ns(), what=Tampering.FRAMES, detail=reason, times=1)
        with suppress(OSError):
            event = event._replace(uid=Path(f"/proc/{who.process.pid}").stat().st_uid)
        self._told.append(event)


def _told_of(pid: int, value: wire.ProcValue) -> Tampered:
    """What is told of a process, if there is anything to tell."""
    who = ProcessKey(pid, value.started_ns)
    return Tampered(boot_ns(), who, value.exec_id, 0, 0, value.scope, Tampering.FRAMES, 0, 1)


@contextmanager
def _opened(path: Path) -> Iterator[int]:
    with _closed(open_pinned(path)) as descriptor:
        yield descriptor


@contextmanager
def _closed(descriptor: int) -> Iterator[int]:
    try:
        yield descriptor
    finally:
        os.close(descriptor)
