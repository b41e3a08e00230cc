"""Frames of packet sockets, stopped where they leave, while a job's policy is enforced.

No hook of a cgroup sees them, so a program stands at the way out of every interface, in every network
namespace where such a job has a process: `on_frame` in bpf/frame.bpf.c. Interfaces tell of themselves when
they appear (rtnetlink). Namespaces don't: they are found by their processes, once in a second, sooner where
an interface came or went, and at once where a packet socket was made. Links are pinned like the instance's
others, and stay when the exporter is killed.

What would go past that program, by PACKET_QDISC_BYPASS or through XDP sockets, needs an option of the socket,
and that is denied: `on_setsockopt`, which also judges who joins multicast groups. It is there before anything
is enforced, whoever is: a socket keeps such an option for as long as it lives.
"""

from __future__ import annotations

import os
import struct
import time
from collections.abc import Callable, Collection, Iterator, Mapping
from contextlib import contextmanager, suppress
from functools import partial
from pathlib import Path

from exporter import wire
from exporter.clock import boot_ns
from exporter.errors import KernelError
from exporter.events import ProcessKey, Tampered, Tampering
from exporter.kernel.bpf import Map
from exporter.kernel.candidates import all_of, known_scope, one_of
from exporter.kernel.exits import Way, exits, way_here
from exporter.kernel.failures import failures_told
from exporter.kernel.guarded import Guarded
from exporter.kernel.later import LaterLinks
from exporter.kernel.locks import changing_modes
from exporter.kernel.mounts import cgroup2_root
from exporter.kernel.networks import prepare
from exporter.kernel.objects import AttachType, attach_to_cgroup

LOOK_S, TURN_S = 1.0, 0.05
"""How often there is a look, and how long a turn of it may take where others wait."""
CALM_S = 0.05
"""For so long after a look news bring no other one: an interface that flaps would fill every turn."""

_NUMBER = struct.Struct("=I")
_OPTIONS = "on_setsockopt"
_EVERYWHERE, _UNREADABLE = 0, 1
"""No namespace's number."""


class Frames:
    """The programs at interfaces; a turn is cheap while nothing changes."""

    def __init__(
        self, pins: Path, maps: Mapping[str, Map], *, outlives: bool = True, way: Way | None = None
    ) -> None:
        """`pins` is the instance's directory; an earlier exporter may have left programs attached.

        What is attached outlives this process with `outlives`. It goes by `way`; None: by what there is.
        """
        prepare()
        self._pins, self._procs, self._modes = pins, maps["procs"], maps["modes"]
        self._candidates = maps["candidates"]
        self._told: list[Tampered] = []
        self._links = LaterLinks(pins, outlives=outlives)
        self.way = way or way_here()
        """How they are stopped; NONE: on this kernel they can't be."""
        self._exits = exits(self.way, pins, self._links)
        self._guarded = Guarded(self._exits, self._tell)
        self.most_s = float("inf")
        """How long one call goes on, or little longer: the next turns do the rest."""
        self._under_way: Iterator[None] | None = None
        """A look."""
        self._is_withdrawing = False
        """Whether that one takes away what isn't needed."""
        self._next_s = self._calm_until_s = 0.0
        self._until_s = 0.0
        self._is_over = False
        self.undecided = 0
        """The scope that is enforced for what may be a job's; 0: none is."""

    def close(self) -> None:
        """Attach nothing any more; pins keep what is attached."""
        self._is_over, self._under_way = True, None
        self._guarded.keep_only(())
        self._links.close()

    def detach(self) -> None:
        """Attach nothing any more, and detach what is."""
        self._is_over, self._under_way = True, None
        self._withdraw()

    def unpinned(self) -> frozenset[str]:
        """Pins that somebody else removed."""
        return self._links.unpinned()

    @property
    def is_about_to(self) -> bool:
        """Whether turns are still to put programs where they have to be, within a second or so."""
        return self._guarded.is_about_to

    @property
    def is_looking(self) -> bool:
        """Whether a look hasn't come to its end, or to every interface, in the time that a call may take."""
        return self._under_way is not None or self.is_about_to

    def turn(self) -> list[Tampered]:
        """Have the programs wherever they have to be; gives where they can't be, or came late."""
        if not self._is_over:
            if self._guarded.look_again():
                self._next_s = 0.0
            if self._under_way is None and time.monotonic() >= max(self._next_s, self._calm_until_s):
                self._under_way = self._looking(())
            self._go_on()
        return self.found()

    def found(self) -> list[Tampered]:
        """What the looks so far have to tell."""
        told, self._told = self._told, []
        return told

    def alarm(self, event: Tampered) -> None:
        """A packet socket was made, perhaps by a thread in a namespace of its own, which no look finds."""
        network = event.network
        is_known = network in self._guarded or self._guarded.has_failed(network)
        if self._is_over or is_known:
            return
        event = event._replace(scope=event.scope or self._held_yet(event.process))
        if event.scope not in self._enforced():
            return
        self._begin_turn()
        for path in Path(f"/proc/{event.process.pid}/task").glob("*/ns/net"):
            with suppress(OSError):
                if path.stat().st_ino == network and not self._guarded.has_failed(network):
                    self._guarded.take_in(path, event, self._until_s)
        if not self._guarded.has_failed(network):
            self._tell(event, 0)

    def arrived(self, process: ProcessKey, scope: int) -> None:
        """`process` is about to be of `scope`: it is held from the beginning where that is enforced."""
        if not self._is_over and scope in self._enforced():
            self._begin_turn()
            self._take_in(_told_of(process, 0, scope))

    def look(self, *, about_to_be: Collection[int] = ()) -> None:
        """Do it now: what is enforced has changed, or namespaces with their interfaces.

        Scopes that are `about_to_be` enforced are as if they were. What there is to tell of it comes with the
        next turn, or by `found`.
        """
        self._guarded.look_again()
        if self._under_way is None or (about_to_be and self._is_withdrawing):
            self._under_way = self._looking(about_to_be)
        else:
            self._next_s = 0.0  # by then these are
        self._go_on()

    def require_options(self) -> None:
        """Have the options denied that lead past the program to whoever is held. Raises KernelError."""
        if not self._is_over and self._pins.exists():
            with failures_told("attach", _OPTIONS):
                self._hold_options()

    def _begin_turn(self) -> None:
        self._until_s = time.monotonic() + self.most_s

    def _go_on(self) -> None:
        """With what is under way, as long as a call may take."""
        self._begin_turn()
        if not self._guarded.cover(self._until_s):
            self._next_s = 0.0  # what isn't looked after any more a look takes in again, or tells
        if self._under_way is None:
            return
        for _ in self._under_way:
            if time.monotonic() >= self._until_s:
                return
        self._under_way = None
        self._calm_until_s = time.monotonic() + CALM_S

    def _looking(self, about_to_be: Collection[int]) -> Iterator[None]:
        """A look, process by process."""
        self._next_s = time.monotonic() + LOOK_S
        self._is_withdrawing = False
        if not self._pins.exists():
            return  # somebody stopped the instance, or removed its pins, which is told elsewhere
        scopes = self._enforced().union(about_to_be)
        self._links.find()
        if not scopes:
            self._is_withdrawing = True
            yield from self._withdrawing()
            return
        if self._links.forget_gone():
            self._guarded.look_again(at_all=True)
            self._guarded.cover(self._until_s)
        with suppress(OSError, KernelError):  # it is told of whoever is there
            self._hold_options()
        found: set[int] = set()
        for pid, value in self._processes(scopes):
            yield
            who = _told_of(ProcessKey(pid, value.started_ns), value.exec_id, value.scope)
            number = self._take_in(who, but=found)
            if number is not None:
                found.add(number)
        found |= self._guarded.in_use()
        self._guarded.keep_only(found, (_EVERYWHERE, _UNREADABLE))

    def _take_in(self, who: Tampered, but: Collection[int] = ()) -> int | None:
        """Look after the namespace of a process, unless it is one of these; its number, None for none."""
        path = Path(f"/proc/{who.process.pid}/ns/net")
        number = None
        try:
            number = path.stat().st_ino
            if number not in but:
                self._guarded.take_in(path, who, self._until_s)
        except (FileNotFoundError, ProcessLookupError):
            return number
        except OSError as error:
            self._guarded.fail(_UNREADABLE, who, error)
        self._hold_options_of(who)
        return number

    def _enforced(self) -> set[int]:
        """Scopes."""
        return {
            _NUMBER.unpack(key)[0]
            for key, value in self._modes.items()
            if wire.ModeValue._make(wire.MODE_VALUE.unpack(value)).is_enforcing
        }

    def _processes(self, scopes: Collection[int]) -> Iterator[tuple[int, wire.ProcValue]]:
        """Of these scopes, by their pids; also those that haven't done anything yet since they were found."""
        found = all_of(self._candidates)
        for key, value in self._procs.items():
            process = wire.ProcValue._make(wire.PROC_VALUE.unpack(value))
            scope = self._held_as(process, found.get)
            if scope in scopes:
                yield _NUMBER.unpack(key)[0], process._replace(scope=scope)

    def _held_yet(self, process: ProcessKey) -> int:
        """The scope that holds a process of which the kernel knew none; 0: none does."""
        value = self._procs.lookup(_NUMBER.pack(process.pid))
        proc = value and wire.ProcValue._make(wire.PROC_VALUE.unpack(value))
        if not proc or proc.started_ns != process.started_ns:
            return 0
        return self._held_as(proc, partial(one_of, self._candidates))

    def _held_as(self, process: wire.ProcValue, found: Callable[[bytes], int | None]) -> int:
        """The scope whose policy holds it: its job's, or until that is known the one for steps; 0: none.

        `found` gives what `candidates` has under a key.
        """
        scope = known_scope(process, found)
        if scope is not None:
            return scope
        return self.undecided if process.standing else 0

    def _hold_options_of(self, who: Tampered) -> None:
        """Where that fails, it is told of `who`, once."""
        if self._guarded.has_failed(_EVERYWHERE):
            return
        try:
            self._hold_options()
        except OSError as error:
            self._guarded.fail(_EVERYWHERE, who, error)

    def _hold_options(self) -> None:
        """Keep sockets from sending past the program. Raises OSError."""
        if _OPTIONS in self._links:
            return
        cgroup = os.open(cgroup2_root(), os.O_RDONLY | os.O_DIRECTORY)
        with _closed(cgroup):
            attach = partial(attach_to_cgroup, cgroup=cgroup, attach_type=AttachType.SETSOCKOPT)
            with suppress(FileExistsError):  # another process was quicker, and this one denies, too
                self._links.attach(_OPTIONS, attach)

    def _withdrawing(self) -> Iterator[None]:
        """As long as no job's policy is enforced; somebody may be turning one on."""
        with suppress(KernelError):
            while len(self._links) or self._guarded.is_any_failed:
                with changing_modes(self._pins):
                    if self._enforced():
                        self._guarded.look_again(at_all=True)  # some may have been taken away
                        return
                    if len(self._links) > 1:
                        self._links.detach_one()
                    else:
                        self._withdraw()
                yield

    def _withdraw(self) -> None:
        """No job's policy is enforced any more."""
        self._exits.withdraw()
        self._links.detach_all()
        self._guarded.keep_only(())

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
