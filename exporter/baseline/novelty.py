"""Decide at every attempt whether a job connects to a destination that is new to its task."""

from __future__ import annotations

from collections.abc import Iterator

from exporter.events.destinations import Destination
from exporter.events.programs import Lineage
from exporter.policy.model import Name, plain_address, zones

from .model import Baseline, Entry, NamedDestination, Task

_REMEMBERED_MAX = 4096
"""The most destinations whose entries are cached; a job can make up more."""

_ORDERING_PORTS = (0, 9, 65535)
"""Ports to which glibc, Go and musl connect a UDP socket only to put a name's addresses in order.

Later versions of Go use 53, which isn't in this list: datagrams to port 53 would be known, too, so that data
could leave in them.
"""
_ORDERING = "ordering"
"""The transport under which a connect that only puts addresses in order is looked up."""

_Chains = frozenset[Lineage] | None
"""The chains of an entry; None for `any`."""


class Novelty:
    """The baseline of one task.

    A destination is judged by its `server.address`. Where that is a name, an entry for the address behind it
    doesn't count, since names move from address to address. Whoever answers the job's lookups chooses the
    name, and the address that goes with it.
    """

    def __init__(self, baseline: Baseline, task: Task) -> None:
        """Keep the entries of `task`; where `baseline` has none, every destination is novel."""
        entries = baseline.tasks.get(task, ())
        self._exact: dict[NamedDestination, _Chains] = {}
        self._below: dict[NamedDestination, _Chains] = {}
        for entry in entries:
            table = self._below if _is_wildcard(entry) else self._exact
            where = _where(entry)
            table[where] = entry.lineages
            if entry.transport == "tcp":
                for port in {entry.port, *_ORDERING_PORTS}:
                    _add(table, where._replace(port=port, transport=_ORDERING), entry.lineages)
        self._covering: dict[Destination, tuple[_Chains, ...]] = {}

    def is_novel(
        self, destination: Destination, lineage: Lineage | None, *, is_connect: bool = False
    ) -> bool:
        """Return whether no entry has the destination with this very chain of executables, or with `any`.

        `lineage` is None where the program isn't known: only `any` includes it. The loopback is never novel.
        `_other`, in which further destinations are counted together, always is.

        A connect of a UDP socket sends nothing: C libraries connect one to each address of a name that has
        several, to put them in order. So it is known where a TCP connect to its host by the same chain is
        known: at the TCP port and at _ORDERING_PORTS.
        """
        if is_connect and destination.transport == "udp":
            ordering = destination._replace(transport=_ORDERING)
            if not self.is_novel(ordering, lineage):
                return False
        covering = self._covering.get(destination)
        if covering is None:
            covering = self._remember(destination)
        for chains in covering:
            if chains is None or lineage in chains:
                return False
        return not destination.is_loopback

    def has(self, destination: Destination) -> bool:
        """Return whether the destination is known, be it with other chains only."""
        return destination.is_loopback or any(True for _ in self._covers(destination))

    def _remember(self, destination: Destination) -> tuple[_Chains, ...]:
        if len(self._covering) >= _REMEMBERED_MAX:
            self._covering.clear()
        found = self._covering[destination] = tuple(self._covers(destination))
        return found

    def _covers(self, destination: Destination) -> Iterator[_Chains]:
        """Yield the chains of each entry for `destination`: one entry for each label of its name, at most."""
        host, port, transport, _ = destination
        if transport is None:
            return
        where = NamedDestination(host, port, transport)
        if where in self._exact:
            yield self._exact[where]
        for zone in zones(host) if self._below else ():
            where = NamedDestination(zone, port, transport)
            if where in self._below:
                yield self._below[where]


def _is_wildcard(entry: Entry) -> bool:
    return isinstance(entry.host, Name) and entry.host.is_wildcard


def _add(table: dict[NamedDestination, _Chains], where: NamedDestination, chains: _Chains) -> None:
    known = table.get(where, frozenset())
    table[where] = None if known is None or chains is None else known | chains


def _where(entry: Entry) -> NamedDestination:
    """Return the destination as a span names it; for a wildcard, its host is the name behind `*.`."""
    host = entry.host.text if isinstance(entry.host, Name) else str(plain_address(entry.host))
    return NamedDestination(host, entry.port, entry.transport)
