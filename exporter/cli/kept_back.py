"""Whether sudo kept from ci-egress by which its job is known: that isn't seen by what is missing alone.

sudo clears the environment. `-E` has it hand all on, and sudo-rs warns of that option and goes on without.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator, Mapping

from exporter.cli.notices import warn
from exporter.environments import variables
from exporter.errors import UsageError
from exporter.jobs.detect import recognise
from exporter.policy.model import Policy
from exporter.procfs import ancestors, environment_of

HINT = "hand them on by `sudo -E`, or, to sudo-rs, which ignores that, by `sudo --preserve-env=NAME,…`"


def tell_kept_back(environment: Mapping[str, str], policy: Policy | None) -> None:
    """Warn where a job would be known by variables that sudo had, and ci-egress has not.

    Raises UsageError where the policy has sections: nothing of them would hold for a job that isn't known.
    """
    system = kept_back(environment, _environments_above())
    if system is None:
        return
    what = f"sudo kept back the variables of {system}, by which the job would be known"
    if policy is not None and policy.sections:
        raise UsageError(f"{what}, and the policy has sections for jobs", hint=HINT)
    warn(f"{what}; {HINT}")


def kept_back(environment: Mapping[str, str], above: Iterable[Mapping[str, str]]) -> str | None:
    """The CI system by whose variables sudo itself was started, where `environment` has none's; else None.

    `above` are environments of the processes above, the nearest first. What sudo executes has its variables.
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
