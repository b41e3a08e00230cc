"""The names that a job met at an address: where a policy allows one of them, the others pass, too."""

from __future__ import annotations

from collections.abc import Hashable

from exporter.policy.hosts import recorded_host
from exporter.policy.sharing import name_in

from .judge import Recorded

MET_MAX = 65_536
"""The most pairs of a name and an address, of all jobs together; further ones are ignored."""
_PEER_MAX = 45
"""The most characters of an address."""
_NAMES_MAX = 16
"""The most names of one address, as in `exporter.pipeline.names`."""


class Neighbours:
    """The names of addresses, by job, within limits.

    A name is known to have led to an address if a span has both, or if a rule for that name decided about the
    address. A name that was looked up and never connected to is in no span.
    """

    def __init__(self) -> None:
        """Begin without names."""
        self._since_ns: dict[tuple[Hashable, str], dict[str, int]] = {}
        self._met = 0

    def meet(self, job: Hashable, act: Recorded, at_ns: int) -> None:
        """Note the names that `act`, which began at `at_ns`, shows for its address."""
        if act.peer is None or len(act.peer) > _PEER_MAX:
            return
        host = recorded_host(act.host or "")
        if host is not None and host != act.peer:
            self._add((job, act.peer), host, at_ns)
        named = name_in(act.rule or "")
        if named is not None and (host is None or not named.covers(host)):
            # The name that matched a wildcard isn't known: rules that cover it cover the wildcard's, too.
            self._add((job, act.peer), str(named), at_ns)

    def names(self, job: Hashable, act: Recorded, at_ns: int) -> tuple[str, ...]:
        """Return the names that the address of `act` had by `at_ns`, sorted, without the one of `act`."""
        met = self._since_ns.get((job, act.peer or ""), {})
        return tuple(sorted(name for name, since_ns in met.items() if since_ns <= at_ns and name != act.host))

    def _add(self, where: tuple[Hashable, str], name: str, at_ns: int) -> None:
        met = self._since_ns.get(where, {})
        if name in met:
            met[name] = min(met[name], at_ns)
        elif self._met < MET_MAX and len(met) < _NAMES_MAX:
            self._since_ns.setdefault(where, met)[name] = at_ns
            self._met += 1
