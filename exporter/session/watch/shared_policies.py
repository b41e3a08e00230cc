"""Write to the kernel the part of a policy for each job: only once for jobs whose parts are equal."""

from __future__ import annotations

from collections.abc import Callable, Collection
from dataclasses import dataclass, replace

from exporter.common.errors import CiEgressError
from exporter.jobs.model import Job
from exporter.jobs.text import public_text
from exporter.kernel.scopes import Scopes
from exporter.pipeline.ruling import Terms, terms_of
from exporter.policy.compile import Compiled, compile_policy
from exporter.policy.entries import ENTRIES_ROOM
from exporter.policy.model import Address, JobPolicy
from exporter.session.job_policy import Source

from .jobs_by_scope import WITHOUT_ROOM

_Key = tuple[JobPolicy, tuple[Address, ...]]
_GROWS, _KEPT_PART = 2, 8
"""Room is kept for a policy that grows until it is read again: _GROWS times its entries, and at most one in
_KEPT_PART of the table's entries."""


@dataclass(frozen=True)
class SharedPolicy:
    """A policy in the kernel, shared by the jobs whose parts of the file are equal."""

    number: int
    compiled: Compiled
    terms: Terms
    rules: int
    """The number of rules that the file has for these jobs."""


class PolicyWriter:
    """A writer of policies to the kernel. It also removes policies that no job is held to any more."""

    def __init__(self, scopes: Scopes, warn: Callable[[str], object]) -> None:
        """Begin with no policy written; `warn` gets a line about a part that doesn't fit."""
        self._scopes = scopes
        self._warn = warn
        self._written: dict[_Key, SharedPolicy] = {}
        self._kept = 0
        """The entries for addresses that no job's own part may take."""

    def own(self, job: Job, source: Source, scope: int) -> SharedPolicy:
        """Write the part of `source` for `job`. Raises CiEgressError when it doesn't fit.

        It fits only if it leaves room for the part for no job in particular, should the policy be read again.
        """
        return self._write(source.of(job), source, scope, leaving=self._kept)

    def for_job(self, job: Job, source: Source, scope: int) -> SharedPolicy:
        """Write the part of `source` for `job`; when that doesn't fit, write the general rules of the file.

        The denials of all sections are written with the general rules. When these don't fit, either, a
        warning says that they have no effect. Raises CiEgressError when nothing fits.
        """
        policy = source.of(job)
        try:
            return self.own(job, source, scope)
        except CiEgressError as error:
            held = f"job {_shown(job)}: {error.what}: it is held to the rules of the file as a whole"
        try:
            written = self._write(replace(source.strictest, mode=policy.mode), source, scope)
        except CiEgressError:
            self._warn(f"{held}; what its sections deny doesn't hold")
            return self._write(replace(source.of_others, mode=policy.mode), source, scope)
        self._warn(f"{held}, less what any section denies")
        return written

    def for_no_job(self, source: Source, scope: int) -> SharedPolicy:
        """Write the part of `source` for processes of no job.

        Processes of WITHOUT_ROOM may turn out to be of any job. So for them, the denials of all sections are
        written, too, if they fit. Raises CiEgressError when nothing fits.
        """
        written = self._for_no_job(source, scope)
        self._kept = min(_GROWS * len(written.compiled.addresses), ENTRIES_ROOM // _KEPT_PART)
        return written

    def _for_no_job(self, source: Source, scope: int) -> SharedPolicy:
        if scope != WITHOUT_ROOM or source.strictest == source.of_others:
            return self._write(source.of_others, source, scope)
        try:
            return self._write(source.strictest, source, scope)
        except CiEgressError as error:
            self._warn(f"what the sections deny doesn't hold until a step's job is known: {error.what}")
        return self._write(source.of_others, source, scope)

    def keep_only(self, numbers: Collection[int]) -> None:
        """Remove all policies but those with `numbers`."""
        for key, written in list(self._written.items()):
            if written.number not in numbers:
                del self._written[key]
                self._scopes.remove(written.number)

    def _write(self, policy: JobPolicy, source: Source, scope: int, *, leaving: int = 0) -> SharedPolicy:
        key = (policy, source.resolvers)
        known = self._written.get(key)
        if known is not None:
            return known
        compiled = compile_policy(policy, source.resolvers)
        number, compiled, _ = self._scopes.write(compiled, scope, leaving=leaving)
        terms = terms_of(compiled, source.ruleset, policy, source.resolvers)
        written = SharedPolicy(number, compiled, replace(terms, number=number), len(policy.rules))
        self._written[key] = written
        return written


def _shown(job: Job) -> str:
    """Return a name for messages of a job that is just being decided: its reported name isn't known yet."""
    claim = job.who.claims[0]
    return public_text(claim.task or claim.pipeline or "") or job.display_name
