"""Prepare the policy of a job that is about to start: read it, choose the job's part, and compile it."""

from __future__ import annotations

from collections.abc import Collection, Iterator
from contextlib import contextmanager
from dataclasses import replace
from typing import NamedTuple

from exporter.common.errors import UsageError
from exporter.common.net.name_service import dns_obstacles, others_that_ask
from exporter.jobs.model import Job
from exporter.kernel.maps.registry import JobMode, Registered, ResumableJob, run_hash
from exporter.pipeline.ruling import Terms, terms_of
from exporter.policy.compile import Compiled, check_for_kernel, compile_policy
from exporter.policy.executables import require_executables
from exporter.policy.model import Address, JobPolicy, Mode, Policy, strictest, with_endpoints
from exporter.policy.problems import PolicyError
from exporter.policy.resolvers import system_resolvers
from exporter.policy.sections import effective, withheld

from .fail_on import futile
from .messages import warn
from .settings import FailOn, TraceConfig, WatchConfig

_ENDPOINTS = "--allowed-endpoints"
_CHECK_HINT = "`ci-egress policy check` shows them without starting anything"
"""The hint when a command starts nothing because a file isn't valid; "them" are the errors in it."""


class ReadyPolicy(NamedTuple):
    """A job's part of a policy, compiled."""

    compiled: Compiled
    """The policy as it is written to the kernel."""
    terms: Terms
    """The policy as telemetry reports it."""
    rules: int
    """The number of rules that the file and the options have for the job."""


class Source(NamedTuple):
    """A policy as it was read, with the options that change it."""

    policy: Policy
    is_enforced: bool
    """Whether `--enforce` was given: then every mode counts as `enforce`."""
    ruleset: str
    """The policy's name in telemetry: its file, or the option that it came from."""
    resolvers: tuple[Address, ...]
    """The addresses of the system's resolvers."""
    is_for_host: bool = False
    """Whether containers of no job are held to the policy, too."""

    def of(self, job: Job) -> JobPolicy:
        """Return the part of the policy that is for `job`."""
        return self._strict(effective(self.policy, job.who))

    @property
    def of_others(self) -> JobPolicy:
        """The general rules without the rules of sections, in the strictest mode that the file has anywhere.

        They are for processes of no job, and for jobs whose sections don't fit into the kernel.
        """
        return self._strict(self.policy.held_to(self.policy.sections, ()))

    @property
    def strictest(self) -> JobPolicy:
        """A policy at least as strict as that of every job, for processes that may be of any job."""
        return self._strict(strictest(self.policy))

    def _strict(self, policy: JobPolicy) -> JobPolicy:
        return replace(policy, mode=Mode.ENFORCE) if self.is_enforced else policy


def requested(config: TraceConfig) -> Source | None:
    """Read the policy that the options ask for; None when they ask for none.

    Raises UsageError for a policy that isn't valid, and for options that need a policy and have none.
    """
    from exporter.policy.parse import load_policy, parse_allowed_endpoints

    with _check_hint():
        policy = load_policy(config.policy) if config.policy is not None else None
    if config.allowed_endpoints is not None:
        policy = with_endpoints(policy, parse_allowed_endpoints(config.allowed_endpoints))
    if policy is None:
        if config.needing_policy:
            hint = "name one with --policy FILE or --allowed-endpoints TEXT"
            raise UsageError(f"{config.needing_policy[0]} needs a policy", hint=hint)
        return None
    ruleset = _ENDPOINTS if config.policy is None else str(config.policy)
    return Source(policy, config.enforce, ruleset, system_resolvers(), config.host_enforce)


def ready_policy(source: Source | None, job: Job, fail_on: Collection[FailOn]) -> ReadyPolicy | None:
    """Compile the part of the policy that is for `job`; None without a policy.

    Warns of sections whose `allow` doesn't count for the job, of executables in `lineage` that don't exist,
    of settings that keep names from being seen, and of values of --fail-on that can't happen. Raises
    UsageError for executables that exist, but of which no file counts.
    """
    if source is None:
        return None
    of_job = source.of(job)
    for each in withheld(source.policy, job.who):
        warn(str(each))
    if (in_vain := futile(fail_on, of_job.mode)) is not None:
        warn(in_vain)
    for what in require_executables(of_job.rules):
        warn(what)
    compiled = compile_policy(of_job, source.resolvers)
    for obstacle in dns_obstacles() if compiled.names else ():
        warn(str(obstacle))
    for other in others_that_ask() if compiled.refuses_lookups else ():
        warn(str(other))
    return ReadyPolicy(compiled, terms_of(compiled, source.ruleset), len(of_job.rules))


def registered(job: Job, ready: ReadyPolicy | None, standing: ResumableJob | None = None) -> Registered:
    """Return the facts about `job` for `ci-egress enforce`, and for a watch that adopts the instance."""
    names = (job.pipeline or "", job.task or "")
    standing = standing or ResumableJob(run_hash(job.run_id), job.ids.job_span_id)
    known = Registered(*names, job.ids.trace_id, job.ids.job_span_id, run_id=job.run_id, standing=standing)
    if ready is None:
        return known
    requested = JobMode.ENFORCE if ready.compiled.mode is Mode.ENFORCE else JobMode.AUDIT
    return replace(known, requested=requested, rules=ready.rules)


def source_of(config: WatchConfig) -> Source | None:
    """Read the policy of a watch from its file, as it is now; None without one. Raises UsageError."""
    source = requested(config)
    if source is not None:
        with _check_hint():
            check_for_kernel(source.policy)
    return source


@contextmanager
def _check_hint() -> Iterator[None]:
    try:
        yield
    except PolicyError as error:
        error.hint = _CHECK_HINT
        raise
