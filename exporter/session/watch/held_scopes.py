"""The scopes of a watch: the job of each, and the policy that the kernel holds it to."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from dataclasses import replace
from typing import TYPE_CHECKING, NamedTuple

from exporter.events.facts import HOST
from exporter.jobs.model import Job, TraceIds
from exporter.kernel.maps.registry import JobMode, ResumableJob
from exporter.pipeline.ruling import Terms
from exporter.policy.model import Mode
from exporter.session.job_policy import ReadyPolicy, registered

from .jobs_by_scope import WITHOUT_ROOM
from .shared_policies import SharedPolicy

if TYPE_CHECKING:
    from exporter.kernel.tracer import Tracer
    from exporter.session.guards.steering import Steering

_NO_JOB = Job(provider="", run_id="", ids=TraceIds(0, 0, None))
_OTHERS = {
    WITHOUT_ROOM: replace(_NO_JOB, task="(jobs without room)"),
    HOST: replace(_NO_JOB, task="(containers of no job)"),
}
"""Names for `ci-egress enforce status` of the scopes that are of no job; hence the brackets."""


class HeldScope(NamedTuple):
    """The policy that a scope is held to, and its job."""

    job: Job | None
    """The scope's job; None for jobs that found no room, and for containers of no job."""
    written: SharedPolicy | None
    """The policy, as it is in the kernel; None without one."""
    standing: ResumableJob | None = None


class HeldScopes:
    """A record of which scope is held to which policy; it writes the same to the kernel's maps."""

    def __init__(
        self,
        tracer: Tracer,
        seeds: Callable[[], Mapping[bytes, Collection[str]]],
        steering: Steering,
    ) -> None:
        """Hold no scope to anything yet.

        `seeds` returns the names that addresses (16 bytes) have without being looked up. `steering` notices
        when others change modes.
        """
        self._tracer, self._seeds, self._steering = tracer, seeds, steering
        self.all: dict[int, HeldScope] = {}
        """The policy and the job of each scope."""

    def hold(self, scope: int, held: HeldScope, *, is_new: bool = False) -> None:
        """Hold `scope` to a policy from now on, and register its job."""
        self._register(scope, held)
        if held.written is not None:
            number, compiled = held.written.number, held.written.compiled
            self._tracer.scopes.hold(scope, number, compiled, self._seeds().items(), is_new=is_new)
        self._steering.begin(scope)
        self.all[scope] = held  # not before: if that fails, it is tried again

    def tell(self, scope: int, held: HeldScope) -> None:
        """Register the job of `scope`; its policy isn't changed."""
        self._register(scope, held)
        self.all[scope] = held

    def unregister(self, scope: int) -> None:
        """Remove the registration of `scope` from the kernel, since its job is over."""
        self._steering.end(scope)
        self._tracer.unregister(scope)

    def terms(self, scope: int) -> Terms | None:
        """Return the terms of `scope`, with the mode that is in force; None without a policy."""
        written = self.all[scope].written
        if written is None:
            return None
        mode = Mode.ENFORCE if self.is_enforced(scope) else Mode.AUDIT
        return replace(written.terms, mode=mode.value)

    def is_enforced(self, scope: int) -> bool:
        """Whether the policy of `scope` is enforced now: others may have turned enforcement on or off."""
        return self._tracer.mode(scope) is JobMode.ENFORCE

    def _register(self, scope: int, held: HeldScope) -> None:
        written = held.written
        ready = None if written is None else ReadyPolicy(written.compiled, written.terms, written.rules)
        self._tracer.register(scope, registered(held.job or _OTHERS[scope], ready, held.standing))
