"""Stopping frames at interfaces, while a job's policy is enforced.

No cgroup hook sees the frames of packet sockets. `on_send` in bpf/frame.bpf.c refuses them when they are
sent, wherever that is. Few kernels lack the hook for it; there, and for other senders of frames, a program,
`on_frame`, is put at the egress of every interface, in every network namespace where such a job has a
process. The kernel announces interfaces that appear (rtnetlink), but no namespaces: they are found by their
processes, once a second, sooner where an interface came or went, and at once where a packet socket was made.
Where none is in it any more by then, the socket itself leads there (abandoned_namespaces.py). Links are
pinned like the instance's others, and stay when the exporter is killed.

Frames could get past that program by PACKET_QDISC_BYPASS or through XDP sockets. Both need a socket option,
which `on_setsockopt` denies; it also judges who joins multicast groups. It is attached before the policy of
any job is enforced: a socket keeps such an option for as long as it lives.
"""

from __future__ import annotations

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
"""The seconds between looks, and the most seconds that one turn may take where others wait."""
CALM_S = 0.05
"""The seconds after a look in which no news starts another: a flapping interface would fill every turn."""

_OPTIONS = "on_setsockopt"
_EVERYWHERE, _UNREADABLE = 0, 1
"""Keys for failures that are of no one namespace; no namespace has these numbers."""


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

        With `outlives` the attached programs stay when this process ends. `way` is how they are put at
        interfaces; None: as this kernel can.
        """
        prepare()
        self.refuses_sends = False
        """Whether packet sockets' sends are refused in any network, so that none made elsewhere is a gap."""
        self._pins, self._procs, self._modes = pins, maps["procs"], maps["modes"]
        self._candidates = maps["candidates"]
        self._told: list[Tampered] = []
        self._links = LateLinks(pins, outlives=outlives)
        self.way = way or way_here()
        """How frames are stopped; NONE: on this kernel they can't be."""
        self._exits = exits(self.way, pins, self._links)
        self._guarded = GuardedNamespaces(self._exits, self._tell)
        self._sought = AbandonedNamespaces(self._pids, self._found_by)
        self._made: dict[tuple[int, int], Tampered] = {}
        """The last packet socket made in a network that was looked after, by the network and the scope."""
        self.most_s = float("inf")
        """The seconds after which a call ends, or little later: the next turns do the rest."""
        self._under_way: Iterator[None] | None = None
        """The look that was begun and isn't finished; None: there is none."""
        self._is_withdrawing = False
        """Whether that look detaches programs that aren't needed any more."""
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
        """Whether the time of a call was up before its look was over, or every interface was covered."""
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
        """Look after the network in which a packet socket was made.

        It may be a namespace of one thread's own, which no look finds, or one that nobody is in any more.
        """
        network = event.network
        if self._is_over or self._guarded.has_failed(network):
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
        """Look after the network of a thread of the process; if that takes long, the socket leads there."""
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
        """Look after the network of `process`, about to be of `scope`, if that scope's policy is enforced."""
        mode = mode_entry(self._modes, scope)
        if not self._is_over and mode is not None and mode.is_enforcing:
            self._begin_turn()
            self._take_in(_told_of(process, 0, scope))

    def look(self, *, about_to_be: Collection[int] = ()) -> None:
        """Look now: enforcement, namespaces or their interfaces have changed.

        Scopes that are `about_to_be` enforced are treated as if they were. The next turn, or `found`, returns
        the failures.
        """
        self._guarded.look_again()
        if self._under_way is None or (about_to_be and self._is_withdrawing):
            self._under_way = self._looking(about_to_be)
        else:
            self._next_s = 0.0  # by then these scopes are enforced
        self._go_on()

    def require_options(self) -> None:
        """Deny options by which sockets get past the program to held processes. Raises KernelError."""
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
        """Do a look; it can be interrupted at each process."""
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
        """Look after a process's namespace, unless it is in `but`; return its number, None if it is gone."""
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
        """Iterate over the processes whose policies are enforced, each with its scope."""
        return ((pid, value.scope) for pid, value in self._processes(enforced(self._modes)))

    def _found_by(self, packet_socket: SocketPlace, event: Tampered) -> None:
        """Look after the network of a packet socket. Raises OSError."""
        is_new = self._guarded.take_in(packet_socket, event, self._until_s)
        if is_new and not event.network and not self.refuses_sends:
            self._tell(event, 0)

    def _held_yet(self, process: ProcessKey) -> int:
        """Return the scope that holds a process for which the kernel reported none; 0: none does."""
        proc = proc_of(self._procs, process)
        return self._held_here(proc, partial(one_of, self._candidates)) if proc else 0

    def _held_here(self, process: wire.ProcValue, found: Callable[[bytes], int | None]) -> int:
        """Return the scope whose policy is for the network of a process; 0: no policy is.

        In an agent's network, steps are held from their first instruction on.
        """
        is_agent = process.standing == wire.STANDING_AGENT
        return held_as(process, found, self.undecided) or (self.undecided if is_agent else 0)

    def _hold_options_of(self, who: Tampered) -> None:
        """Attach the program that denies the options; where that fails, report it once, for `who`."""
        if self._guarded.has_failed(_EVERYWHERE):
            return
        try:
            self._hold_options()
        except OSError as error:
            self._guarded.fail(_EVERYWHERE, who, error)

    def _hold_options(self) -> None:
        """Keep sockets from sending past the program, by denying the options for that. Raises OSError."""
        if _OPTIONS in self._links:
            return
        with closing_fd(os.open(cgroup2_root(), os.O_RDONLY | os.O_DIRECTORY)) as cgroup:
            attach = partial(attach_to_cgroup, cgroup=cgroup, attach_type=AttachType.SETSOCKOPT)
            with suppress(FileExistsError):  # another process was quicker, and this one denies, too
                self._links.attach(_OPTIONS, attach)

    def _withdrawing(self) -> Iterator[None]:
        """Detach a program at each step, as long as no policy is enforced: somebody may be turning one on."""
        with suppress(KernelError):
            while len(self._links) or self._guarded.is_any_failed:
                with changing_modes(self._pins):
                    if enforced(self._modes):
                        self._guarded.look_again(at_all=True)  # some may have been taken away
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
        event = who._replace(at_ns=boot_ns(), what=Tampering.FRAMES, detail=reason, times=1)
        with suppress(OSError):
            event = event._replace(uid=Path(f"/proc/{who.process.pid}").stat().st_uid)
        self._told.append(event)


def _told_of(process: ProcessKey, exec_id: int, scope: int) -> Tampered:
    """Return the event that would report a process, if there is anything to report."""
    return Tampered(boot_ns(), process, exec_id, 0, 0, scope, Tampering.FRAMES, 0, 1)
