"""Judge recorded attempts by a policy, from the attributes of their spans."""

from __future__ import annotations

from collections.abc import Iterable
from ipaddress import IPv6Address, ip_address
from typing import NamedTuple

from exporter.common.net.addresses import UNIX, protocol_of
from exporter.common.net.unix_sockets import NAME_MAX, digest, is_socket_name, name_of, plain_name
from exporter.events.programs import Lineage
from exporter.jobs.claims import recorded
from exporter.policy.decide import Decision, EgressRequest, decide
from exporter.policy.model import ANSWER, NOTHING_SENT, Address, JobPolicy, Policy
from exporter.policy.sections import effective

from .model import Task

REMEMBERED_MAX = 65_536
_UNKNOWN = -1
"""The number that means an unknown protocol: no protocol has it."""


class Recorded(NamedTuple):
    """A recorded attempt of a job; a field is None where its span doesn't have it."""

    host: str | None
    """`server.address`."""
    peer: str | None
    """`network.peer.address`."""
    transport: str | None
    port: int | None
    rule: str | None = None
    """`egress.rule`."""
    chain: Lineage = ()
    """`egress.lineage`; empty where no rule requires one."""


class Judge:
    """A policy that is asked about recorded attempts of any job."""

    def __init__(self, policy: Policy, resolvers: Iterable[Address] = ()) -> None:
        """`resolvers` are the addresses that `resolvers: system` means."""
        self._policy = policy
        self._resolvers = tuple(resolvers)
        self._jobs: dict[Task, JobPolicy] = {}
        self._judged: dict[tuple[Task, Recorded, tuple[str, ...]], Decision] = {}

    def decision(self, task: Task, act: Recorded, neighbours: tuple[str, ...] = ()) -> Decision | None:
        """Return the policy's decision. None: it is UDP of a kind about which no policy is asked.

        These are UDP to port 0, an answer, and a connect after which nothing was sent. `neighbours` are
        further names that led to the address: rules that allow them count for it, too, as in the kernel.
        """
        if act.transport == "udp" and (not act.port or act.rule in (ANSWER, NOTHING_SENT)):
            return None
        key = (task, act._replace(rule=None), neighbours)
        found = self._judged.get(key)
        if found is None:
            if len(self._judged) >= REMEMBERED_MAX:
                self._judged.clear()
            found = self._judged[key] = self._decide(task, act, neighbours)
        return found

    def _decide(self, task: Task, act: Recorded, neighbours: tuple[str, ...]) -> Decision:
        number = protocol_of(act.transport) if act.transport else None
        if number == UNIX:
            asked = EgressRequest(_digest(act.peer or act.host), UNIX)
            return decide(self._job(task), asked, chain=act.chain)
        address = _address(act.peer) or _address(act.host)
        asked = EgressRequest(address, _UNKNOWN if number is None else number, act.port or 0)
        own = () if act.host is None or _address(act.host) else (act.host,)
        return decide(
            self._job(task), asked, names=(*own, *neighbours), chain=act.chain, resolvers=self._resolvers
        )

    def _job(self, task: Task) -> JobPolicy:
        found = self._jobs.get(task)
        if found is None:
            if len(self._jobs) >= REMEMBERED_MAX:
                self._jobs.clear()
            found = self._jobs[task] = effective(self._policy, recorded(*task))
        return found


def _digest(socket: str | None) -> Address | None:
    try:
        name = name_of(plain_name(socket)) if socket and is_socket_name(socket) else b""
    except UnicodeEncodeError:
        return None
    return IPv6Address(digest(name)) if 0 < len(name) <= NAME_MAX else None


def _address(text: str | None) -> Address | None:
    try:
        return ip_address(text or "")
    except ValueError:
        return None
