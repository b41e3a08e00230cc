"""Name instances that stay after their exporters, and say how to get rid of each."""

from __future__ import annotations

from contextlib import suppress

from exporter.common.errors import KernelError
from exporter.kernel.instances.control import Instance, described, instances, leftovers
from exporter.kernel.pins import UNREADABLE, is_enforcing, is_of_watch

from .messages import warn


def tell_leftovers() -> None:
    """Warn of each instance that stays, with the command that ends it.

    Instances that only trace aren't mentioned: they end with the last process of their jobs.
    """
    with suppress(KernelError):
        for instance in leftovers(instances()):
            if _stays(instance):
                warn(f"{described(instance)}; {_ways_out(instance)}")


def _ways_out(instance: Instance) -> str:
    end = f"`ci-egress stop {instance.name}` ends it"
    with suppress(*UNREADABLE):
        if instance.is_of_this_version and is_of_watch(instance.directory):
            return f"`ci-egress watch --adopt` takes it over, {end}"
    return end


def _stays(instance: Instance) -> bool:
    if not instance.is_of_this_version:
        return True
    with suppress(*UNREADABLE):
        return is_enforcing(instance.directory)
    return False
