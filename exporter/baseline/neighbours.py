"""Names that a job had met at an address: where a policy allows one of them, the others pass, too."""

from __future__ import annotations

from collections.abc import Hashable

from exporter.baseline.judge import Recorded
from exporter.policy.hosts import recorded_host
from exporter.policy.sharing import name_in

MET_MAX = 65_536
"""Names at addresses, of all jobs together; of what comes later nothing is known."""
_PEER_MAX = 45
"""Characters of an address."""
_NAMES_MAX = 16
"""Of one address, as in `exporter.names`."""


class Neighbours:
    """Of many jobs, in bounds.

    That a name led to an address is known by an act whose span has both, or by the rule for a name that
    decided. What was looked up and never connected to leaves no such trace.
    """

    def __init__(self) -> None:
        """None yet."""
        self._since_ns: dict[tuple[Hashable, str], dict[str, int]] = {}
        self._met = 0

    def meet(self, job: Hashable, act: Recorded, at_ns: int) -> None:
        """Take in what `act`, which began at `at_ns`, shows."""
        if act.peer is None or len(act.peer) > _PEER_MAX:
            return
        host = recorded_host(act.host or "")
        if host is not None and host != act.peer:
            self._add((job, act.peer), host, at_ns)
        named = name_in(act.rule or "")
        if named is not None and (host is None or not named.covers(host)):
            # Which name a wildcard stood for isn't known: its own text is covered by all that cover those.
            self._add((job, act.peer), str(named), at_ns)

    def names(self, job: Hashable, act: Recorded, at_ns: int) -> tuple[str, ...]:
        """Those that the address of `act` is known to have had by `at_ns`, sorted, without its own."""
        met = self._since_ns.get((job, act.peer or ""), {})
        return tuple(sorted(name for name, since_ns in met.items() if since_ns <= at_ns and name != act.host))

    def _add(self, where: tuple[Hashable, str], name: str, at_ns: int) -> None:
        met = self._since_ns.get(where, {})
        if name in met:
            met[name] = min(met[name], at_ns)
        elif self._met < MET_MAX and len(met) < _NAMES_MAX:
            self._since_ns.setdefault(where, met)[name] = at_ns
            self._met += 1
