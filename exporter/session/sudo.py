"""Find out whether sudo kept back the variables by which ci-egress would know its job.

Missing variables alone don't show that: ci-egress may run in no job at all. sudo clears the environment
unless `-E` is given; sudo-rs ignores that option, with a warning.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator, Mapping

from exporter.common.errors import UsageError
from exporter.events.environments import variables
from exporter.jobs.detect import recognise
from exporter.pipeline.procfs import ancestors, environment_of
from exporter.policy.model import Policy

from .messages import warn

HINT = "hand them on by `sudo -E`, or, to sudo-rs, which ignores that, by `sudo --preserve-env=NAME,…`"


def tell_kept_back(environment: Mapping[str, str], policy: Policy | None) -> None:
    """Warn when sudo was started with variables that show the job, and ci-egress didn't get them.

    Raises UsageError if the policy has sections for jobs: none would match a job that isn't known.
    """
    system = kept_back(environment, _environments_above())
    if system is None:
        return
    what = f"sudo kept back the variables of {system}, by which the job would be known"
    if policy is not None and policy.sections:
        raise UsageError(f"{what}, and the policy has sections for jobs", hint=HINT)
    warn(f"{what}; {HINT}")


def kept_back(environment: Mapping[str, str], above: Iterable[Mapping[str, str]]) -> str | None:
    """Return the CI system whose variables sudo had; None if it had none, or `environment` names a system.

    `above` are the environments of the processes above ci-egress, the nearest first. All processes below sudo
    have the same SUDO_ variables, so the first process above with others is sudo. Returns None without sudo.
    """
    if "SUDO_UID" not in environment or recognise(environment) is not None:
        return None
    ours = _of_sudo(environment)
    for each in above:
        if _of_sudo(each) != ours:
            found = recognise(each)
            return found.name if found else None
    return None


def _of_sudo(environment: Mapping[str, str]) -> dict[str, str]:
    return {name: value for name, value in environment.items() if name.startswith("SUDO_")}


def _environments_above() -> Iterator[dict[str, str]]:
    for process in ancestors(os.getpid()):
        yield variables(environment_of(process))
