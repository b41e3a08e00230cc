"""Stop frames at interfaces, while a job's policy is enforced.

No cgroup hook sees the frames of packet sockets. `on_send` in bpf/frame.bpf.c refuses them when they are
sent, in whatever network namespace. Few kernels lack the hook for it. For these, and for other senders of
frames, `on_frame` is put at the egress of every interface, in every network namespace where a job whose
policy is enforced has a process. Links are pinned like the instance's others, and stay when the exporter is
killed.

The kernel announces new interfaces (rtnetlink), but not new namespaces. Namespaces are found by their
processes: once a second, sooner where an interface came or went, and at once where a packet socket was made.
If no process is in the namespace any more by then, the socket leads to it (abandoned_namespaces.py).

Frames could get past `on_frame` by PACKET_QDISC_BYPASS or through XDP sockets. Both need a socket option,
which `on_setsockopt` denies; it also judges who joins multicast groups. It is attached before the policy of
any job is enforced: a socket keeps such an option for as long as it lives.
"""

from __future__ import annotations

import errno
import os
import time
from collections.abc import Callable, Collection, Iterator, Mapping
from contextlib import suppress
from functools import partial
from pathlib import Path

from exporter.common.clock import boot_ns
from exporter.common.descriptors import closing_fd
from exporter.common.errors import KernelError
from exporter.events import wire
from exporter.events.facts import ProcessKey, Tampered, Tampering
from exporter.kernel.bpf import Map
from exporter.kernel.locks import changing_modes
from exporter.kernel.maps.candidates import all_of, held_as, one_of
from exporter.kernel.maps.modes import enforced, mode_entry
from exporter.kernel.maps.procs import all_procs, proc_of
from exporter.kernel.maps.registry import Registry
from exporter.kernel.mounts import cgroup2_root
from exporter.kernel.programs.objects import AttachType, attach_to_cgroup
from exporter.kernel.programs.verifier import failures_told

from .abandoned_namespaces import AbandonedNamespaces
from .guarded_namespaces import GuardedNamespaces
from .interface_egress import AttachMethod, exits, way_here
from .late_links import LateLinks
from .network_namespaces import networks_of, number_at, prepare
from .packet_sockets import SocketPlace

LOOK_S, TURN_S = 1.0, 0.05
"""The seconds between looks through the processes, and the most for one turn where other work waits."""
CALM_S = 0.05
"""The seconds after a look in which no news starts another: a flapping interface would fill every turn."""

_OPTIONS = "on_setsockopt"
_EVERYWHERE, _UNREADABLE = 0, 1
"""Keys for failures that don't belong to one namespace; no namespace has these numbers."""


class Frames:
    """The programs that stop frames; a turn is cheap while nothing changes."""

    def __init__(
        self,
        pins: Path,
        maps: Mapping[str, Map],
        *,
        outlives: bool = True,
        way: AttachMethod | None = None,
    ) -> None:
        """`pins` is the instance's directory; an earlier exporter may have left programs attached.

        With `outlives` the attached programs stay when this process ends. `way` is the method that attaches
        them to interfaces; None: the one that this kernel has.
        """
        prepare()
        self.refuses_sends = False
        """Whether sends of packet sockets are refused in every network: then a socket in a network that isn't
        looked after is no gap."""
        self._pins, self._procs, self._modes = pins, maps["procs"], maps["modes"]
        self._candidates = maps["candidates"]
        self._registry = Registry(maps["jobs"], partial(changing_modes, pins))
        self._told: list[Tampered] = []
        self._links = LateLinks(pins, outlives=outlives)
        self.way = way or way_here()
        """The method by which frames are stopped at interfaces; NONE: this kernel has none."""
        self._exits = exits(self.way, pins, self._links)
        self._guarded = GuardedNamespaces(self._exits, self._tell)
        self._sought = AbandonedNamespaces(self._pids, self._found_by)
        self._made: dict[tuple[int, int], Tampered] = {}
        """The last packet socket made in a network that was looked after, by the network and the scope."""
        self.most_s = float("inf")
        """The seconds after which a call ends, or little later: the next turns go on from there."""
        self._under_way: Iterator[None] | None = None
        """The look that isn't finished yet; None where there is none."""
        self._is_withdrawing = False
        """Whether the look under way detaches programs that aren't needed any more."""
        self._next_s = self._calm_until_s = 0.0
        self._until_s = 0.0
        self._is_over = False
        self.undecided = 0
        """The scope whose policy is enforced for processes that may be a job's; 0: there is none."""

    def close(self) -> None:
        """Attach no more programs; pins keep those that are attached."""
        self._is_over, self._under_way = True, None
        self._guarded.keep_only(())
        self._links.close()

    def detach(self) -> None:
        """Attach no more programs, and detach those that are attached."""
        self._is_over, self._under_way = True, None
        self._withdraw()

    def unpinned(self) -> frozenset[str]:
        """Return the names of pins that somebody else removed."""
        return self._links.unpinned()

    @property
    def is_covering(self) -> bool:
        """Whether interfaces lack a program that the next turns will attach, within a second or so."""
        return self._guarded.is_covering

    @property
    def is_looking(self) -> bool:
        """Whether the next turns have to go on: with a look, or with interfaces that lack their program."""
        return self._under_way is not None or self.is_covering

    def turn(self) -> list[Tampered]:
        """Attach the programs wherever they are needed; return the places where that failed or came late."""
        if not self._is_over:
            if self._guarded.look_again():
                self._next_s = 0.0
            if self._under_way is None and time.monotonic() >= max(self._next_s, self._calm_until_s):
                self._under_way = self._looking(())
            self._go_on()
            self._sought.turn()
        return self.found()

    def found(self) -> list[Tampered]:
        """Return the failures and delays that looks have found since the last call."""
        told, self._told = self._told, []
        return told

    def alarm(self, event: Tampered) -> None:
        """Look after the network in which a packet socket was made, unless that was denied.

        That may be a namespace of one thread alone, which no look finds, or one that nobody is in any more.
        """
        network = event.network
        if event.is_denied or self._is_over or self._guarded.has_failed(network):
            return
        event = event._replace(scope=event.scope or self._held_yet(event.process))
        if event.scope not in enforced(self._modes):
            return
        if network in self._guarded:
            self._made[network, event.scope] = event
            return
        self._sought.seek(event)
        if network:
            self._take_in_where_it_was_made(event)

    def _take_in_where_it_was_made(self, event: Tampered) -> None:
        """Look after the network where a packet socket was made, if a thread of the process is in it.

        When the time of a call is up before, `AbandonedNamespaces` finds the network by the socket.
        """
        self._begin_turn()
        for path in networks_of(event.process.pid):
            if time.monotonic() >= self._until_s:
                break
            with suppress(OSError):
                if number_at(path) == event.network and not self._guarded.has_failed(event.network):
                    self._guarded.take_in(path, event, self._until_s)
        if not self._guarded.has_failed(event.network) and not self.refuses_sends:
            self._tell(event, 0)

    def arrived(self, process: ProcessKey, scope: int) -> None:
        """Look after the network of `process`, which is about to enter `scope`, if its policy is enforced."""
        mode = mode_entry(self._modes, scope)
        if not self._is_over and mode is not None and mode.is_enforcing:
            self._begin_turn()
            self._take_in(_told_of(process, 0, scope))

    def look(self, *, about_to_be: Collection[int] = ()) -> None:
        """Look now, since enforcement, namespaces or their interfaces have changed.

        Scopes that are `about_to_be` enforced are treated as if they already were. The next turn, or `found`,
        returns the failures.
        """
        self._guarded.look_again()
        if self._under_way is None or (about_to_be and self._is_withdrawing):
            self._under_way = self._looking(about_to_be)
        else:
            self._next_s = 0.0  # another look follows; by then these scopes are enforced
        self._go_on()

    def require_options(self) -> None:
        """Deny held processes the socket options by which frames get past `on_frame`. Raises KernelError."""
        if not self._is_over and self._pins.exists():
            with failures_told("attach", _OPTIONS):
                self._hold_options()

    def _begin_turn(self) -> None:
        self._until_s = time.monotonic() + self.most_s

    def _go_on(self) -> None:
        """Continue the look under way, for as long as a call may take."""
        self._begin_turn()
        if not self._guarded.cover(self._until_s):
            self._next_s = 0.0  # a look takes in again the namespaces that were given up, or reports them
        if self._under_way is None:
            return
        for _ in self._under_way:
            if time.monotonic() >= self._until_s:
                return
        self._under_way = None
        self._calm_until_s = time.monotonic() + CALM_S

    def _looking(self, about_to_be: Collection[int]) -> Iterator[None]:
        """Look through all processes once; each `yield` is a place where the look may be interrupted.

        Where no policy is enforced any more, it detaches programs instead.
        """
        self._next_s = time.monotonic() + LOOK_S
        self._is_withdrawing = False
        if not self._pins.exists():
            return  # somebody stopped the instance, or removed its pins, which is reported elsewhere
        scopes = enforced(self._modes).union(about_to_be)
        self._links.find()
        if not scopes:
            self._is_withdrawing = True
            yield from self._withdrawing()
            return
        if self._links.forget_gone():
            self._guarded.look_again(at_all=True)
            self._guarded.cover(self._until_s)
        with suppress(OSError, KernelError):  # a failure is reported for a process, below
            self._hold_options()
        found: set[int] = set()
        for pid, value in self._processes(scopes):
            yield
            who = _told_of(ProcessKey(pid, value.started_ns), value.exec_id, value.scope)
            number = self._take_in(who, but=found)
            if number is not None:
                found.add(number)
        found |= self._guarded.in_use()
        for network, scope in [key for key in self._made if key[0] not in found]:
            self._sought.seek(self._made.pop((network, scope)))
        self._guarded.keep_only(found, (_EVERYWHERE, _UNREADABLE))

    def _take_in(self, who: Tampered, but: Collection[int] = ()) -> int | None:
        """Look after the namespace of a process, unless its number is in `but`.

        Returns the number; None if the process is gone, or its namespace can't be read.
        """
        path = Path(f"/proc/{who.process.pid}/ns/net")
        number = None
        try:
            number = number_at(path)
            if number not in but:
                self._guarded.take_in(path, who, self._until_s)
        except (FileNotFoundError, ProcessLookupError):
            return number
        except OSError as error:
            self._guarded.fail(_UNREADABLE, who, error)
        self._hold_options_of(who)
        return number

    def _processes(self, scopes: Collection[int]) -> Iterator[tuple[int, wire.ProcValue]]:
        """Iterate over the processes of `scopes`, each with its pid.

        Includes those that haven't acted since their scope was found.
        """
        found = all_of(self._candidates)
        for pid, proc in all_procs(self._procs):
            scope = self._held_here(proc, found.get)
            if scope in scopes:
                yield pid, proc._replace(scope=scope)

    def _pids(self) -> Iterator[tuple[int, int]]:
        """Iterate over the pids of processes whose policies are enforced, each with its scope."""
        return ((pid, value.scope) for pid, value in self._processes(enforced(self._modes)))

    def _found_by(self, packet_socket: SocketPlace, event: Tampered) -> None:
        """Look after the network in which a packet socket was made. Raises OSError."""
        is_new = self._guarded.take_in(packet_socket, event, self._until_s)
        if is_new and not event.network and not self.refuses_sends:
            self._tell(event, 0)

    def _held_yet(self, process: ProcessKey) -> int:
        """Return the scope that holds a process now, since the kernel's event has none; 0: none does."""
        proc = proc_of(self._procs, process)
        return self._held_here(proc, partial(one_of, self._candidates)) if proc else 0

    def _held_here(self, process: wire.ProcValue, found: Callable[[bytes], int | None]) -> int:
        """Return the scope whose policy applies to the network of a process; 0: none.

        An agent's network belongs to `undecided`: steps in it are held from their first instruction on.
        """
        is_agent = process.standing == wire.STANDING_AGENT
        return held_as(process, found, self.undecided) or (self.undecided if is_agent else 0)

    def _hold_options_of(self, who: Tampered) -> None:
        """Attach the program that denies socket options; if that fails, report it once, for `who`."""
        if self._guarded.has_failed(_EVERYWHERE):
            return
        try:
            self._hold_options()
        except OSError as error:
            self._guarded.fail(_EVERYWHERE, who, error)

    def _hold_options(self) -> None:
        """Attach the program that denies the socket options leading past `on_frame`. Raises OSError."""
        if _OPTIONS in self._links:
            return
        with closing_fd(os.open(cgroup2_root(), os.O_RDONLY | os.O_DIRECTORY)) as cgroup:
            attach = partial(attach_to_cgroup, cgroup=cgroup, attach_type=AttachType.SETSOCKOPT)
            with suppress(FileExistsError):  # another process attached it first, which denies, too
                self._links.attach(_OPTIONS, attach)

    def _withdrawing(self) -> Iterator[None]:
        """Detach one program at each step, until all are gone or somebody turns enforcement on again."""
        with suppress(KernelError):
            while len(self._links) or self._guarded.is_any_failed:
                with changing_modes(self._pins):
                    if enforced(self._modes):
                        self._guarded.look_again(at_all=True)  # some interfaces may have lost the program
                        return
                    if len(self._links) > 1:
                        self._links.detach_one()
                    else:
                        self._withdraw()
                yield

    def _withdraw(self) -> None:
        """Detach all programs: no job's policy is enforced any more."""
        self._exits.withdraw()
        self._links.detach_all()
        self._guarded.keep_only(())

    def _tell(self, who: Tampered, reason: int) -> None:
        if reason == errno.ENOENT and self._registry.stopped_by() is not None:
            return  # whoever stops the instance is removing its pins, which is reported elsewhere
        event = who._replace(at_ns=boot_ns(), what=Tampering.FRAMES, detail=reason, times=1)
        with suppress(OSError):
            event = event._replace(uid=Path(f"/proc/{who.process.pid}").stat().st_uid)
        self._told.append(event)


def _told_of(process: ProcessKey, exec_id: int, scope: int) -> Tampered:
    """Return an event that can report a failure to stop frames in the network of `process`."""
    return Tampered(boot_ns(), process, exec_id, 0, 0, scope, Tampering.FRAMES, 0, 1)
