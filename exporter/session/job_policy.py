"""The policy of a job that is about to start: read, made to fit the job, and made ready for the kernel."""

from __future__ import annotations

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
from exporter.policy.resolvers import system_resolvers
from exporter.policy.sections import effective, withheld

from .fail_on import futile
from .messages import warn
from .settings import FailOn, RunConfig, WatchConfig

_ENDPOINTS = "--allowed-endpoints"


class ReadyPolicy(NamedTuple):
    """A job's policy."""

    compiled: Compiled
    """For the kernel."""
    terms: Terms
    """For telemetry."""
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
        """The general rules without those of sections, in the strictest mode that the file has anywhere.

        They are for processes of no job, and for jobs whose sections don't fit into the kernel.
        """
        return self._strict(self.policy.held_to(self.policy.sections, ()))

    @property
    def strictest(self) -> JobPolicy:
        """A policy at least as strict as that of every job, for processes that may be of any job."""
        return self._strict(strictest(self.policy))

    def _strict(self, policy: JobPolicy) -> JobPolicy:
        return replace(policy, mode=Mode.ENFORCE) if self.is_enforced else policy


def requested(config: RunConfig | WatchConfig) -> Policy | None:
    """Read the policy that the options ask for; None when they ask for none.

    Raises UsageError for a policy that isn't valid, and for options that need a policy and have none.
    """
    if config.policy is None and config.allowed_endpoints is None:
        needing = _needing(config)
        if needing:
            option = needing[0]
            hint = "name one with --policy FILE or --allowed-endpoints TEXT"
            raise UsageError(f"{option} needs a policy", hint=hint)
        return None
    from exporter.policy.parse import load_policy, parse_allowed_endpoints

    policy = load_policy(config.policy) if config.policy is not None else None
    if config.allowed_endpoints is not None:
        policy = with_endpoints(policy, parse_allowed_endpoints(config.allowed_endpoints))
    return policy


def _needing(config: RunConfig | WatchConfig) -> list[str]:
    """Return the options that were given and mean nothing without a policy."""
    asked = {"--enforce": config.enforce, "--host-enforce": config.host_enforce}
    asked |= {f"--fail-on {what}": what in config.fail_on for what in (FailOn.AUDIT, FailOn.DENY)}
    return [option for option, is_given in asked.items() if is_given]


def ready_policy(config: RunConfig, policy: Policy | None, job: Job) -> ReadyPolicy | None:
    """Compile the part of the policy that is for `job`; None without a policy.

    Warns of sections whose `allow` doesn't count for the job, of executables in `lineage` that aren't here,
    of settings that keep names from being seen, and of values of --fail-on that can't happen. Raises
    UsageError for executables that can't count.
    """
    if policy is None:
        return None
    of_job = effective(policy, job.who)
    for each in withheld(policy, job.who):
        warn(str(each))
    if config.enforce:
        of_job = replace(of_job, mode=Mode.ENFORCE)
    if (in_vain := futile(config.fail_on, of_job.mode)) is not None:
        warn(in_vain)
    for what in require_executables(of_job.rules):
        warn(what)
    compiled = compile_policy(of_job, system_resolvers())
    for obstacle in dns_obstacles() if compiled.names else ():
        warn(str(obstacle))
    for other in others_that_ask() if compiled.refuses_lookups else ():
        warn(str(other))
    return ReadyPolicy(compiled, terms_of(compiled, ruleset_of(config)), len(of_job.rules))


def ruleset_of(config: RunConfig | WatchConfig) -> str:
    """Return the policy's name in telemetry: its file, or the option that it came from."""
    return _ENDPOINTS if config.policy is None else str(config.policy)


def registered(job: Job, ready: ReadyPolicy | None, standing: ResumableJob | None = None) -> Registered:
    """Return the facts about `job` that `ci-egress enforce`, and a watch that adopts the instance, read."""
    names = (job.pipeline or "", job.task or "")
    standing = standing or ResumableJob(run_hash(job.run_id), job.ids.job_span_id)
    known = Registered(*names, job.ids.trace_id, job.ids.job_span_id, run_id=job.run_id, standing=standing)
    if ready is None:
        return known
    requested = JobMode.ENFORCE if ready.compiled.mode is Mode.ENFORCE else JobMode.AUDIT
    return replace(known, requested=requested, rules=ready.rules)


def source_of(config: WatchConfig) -> Source | None:
    """Read the policy of a watch as it is now; None without one. Raises UsageError."""
    policy = requested(config)
    if policy is None:
        return None
    check_for_kernel(policy)
    return Source(policy, config.enforce, ruleset_of(config), system_resolvers(), config.host_enforce)
