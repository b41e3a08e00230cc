"""Names of running jobs and instances, for a shell to complete; none when they can't be read."""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import TYPE_CHECKING

from exporter.common.errors import CiEgressError

if TYPE_CHECKING:
    import click

    from exporter.kernel.instances.control import Instance

_PLAIN = re.compile(r"[A-Za-z0-9_./@%+-]+")
"""Names that a shell doesn't interpret. No others are offered: a pipeline's author chooses job names."""


def instance_ids(_: click.Context, __: click.Parameter, incomplete: str) -> list[str]:
    """Return the ids of all instances that begin with `incomplete`."""
    return _begun_so((instance.name for instance in _instances()), incomplete)


def job_names(_: click.Context, __: click.Parameter, incomplete: str) -> list[str]:
    """Return the names of all traced jobs that begin with `incomplete`."""
    from exporter.kernel.instances.control import jobs_of

    names = {job.job.label for each in _instances() if each.is_of_this_version for job in jobs_of(each)}
    return _begun_so(sorted(names), incomplete)


def _begun_so(names: Iterable[str], incomplete: str) -> list[str]:
    return [name for name in names if name.startswith(incomplete) and _PLAIN.fullmatch(name)]


def _instances() -> list[Instance]:
    from exporter.kernel.instances.control import instances

    try:
        return instances()
    except (CiEgressError, OSError):
        return []
