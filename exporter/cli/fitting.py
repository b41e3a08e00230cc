"""What of a policy each job gets, in the kernel: the same for jobs of which it says the same."""

from __future__ import annotations

from collections.abc import Callable, Collection
from dataclasses import dataclass, replace

from exporter.cli.governing import Source
from exporter.errors import CiEgressError
from exporter.jobs.model import Job
from exporter.kernel.scopes import Scopes
from exporter.policy.compile import Compiled, compile_policy
from exporter.policy.model import Address, JobPolicy
from exporter.terms import Terms, terms_of

_Key = tuple[JobPolicy, tuple[Address, ...]]


@dataclass(frozen=True)
class Written:
    """A policy in the kernel; jobs that it says the same for share it."""

    number: int
    compiled: Compiled
    terms: Terms
    rules: int
    """How many there are in the file for it."""


class Fitting:
    """Writes policies that fit, and removes those by which nobody goes."""

    def __init__(self, scopes: Scopes, warn: Callable[[str], object]) -> None:
        """None is written yet; `warn` says a line of what doesn't fit."""
        self._scopes = scopes
        self._warn = warn
        self._written: dict[_Key, Written] = {}

    def for_job(self, job: Job, source: Source, scope: int) -> Written:
        """What `source` says for `job`; where sections are too much together, what is no laxer."""
        policy = source.of(job)
        try:
            return self._write(policy, source, scope)
        except CiEgressError as error:
            held = f"job {job.display_name}: {error.what}: it is held to the rules of the file as a whole"
        try:
            written = self._write(replace(source.strictest, mode=policy.mode), source, scope)
        except CiEgressError:
            self._warn(f"{held}; what its sections deny doesn't hold")
            return self._write(replace(source.of_others, mode=policy.mode), source, scope)
        self._warn(f"{held}, less what any section denies")
        return written

    def for_no_job(self, source: Source, scope: int, *, may_be_any: bool) -> Written:
        """What `source` says for what is of no job, or of one that isn't known: then it `may_be_any`."""
        if not may_be_any or source.strictest == source.of_others:
            return self._write(source.of_others, source, scope)
        try:
            return self._write(source.strictest, source, scope)
        except CiEgressError as error:
            self._warn(f"what the sections deny doesn't hold until a step's job is known: {error.what}")
        return self._write(source.of_others, source, scope)

    def keep_only(self, numbers: Collection[int]) -> None:
        """Remove what is written under others than these."""
        for key, written in list(self._written.items()):
            if written.number not in numbers:
                del self._written[key]
                self._scopes.remove(written.number)

    def _write(self, policy: JobPolicy, source: Source, scope: int) -> Written:
        key = (policy, source.resolvers)
        known = self._written.get(key)
        if known is not None:
            return known
        number, compiled, _ = self._scopes.write(compile_policy(policy, source.resolvers), scope)
        terms = terms_of(compiled, source.ruleset, policy, source.resolvers)
        written = Written(number, compiled, replace(terms, number=number), len(policy.rules))
        self._written[key] = written
        return written
