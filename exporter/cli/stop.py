"""`ci-egress stop`: detach and remove what exporters attached, whether they run or not."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING

import click

from exporter.common.console import print_lines
from exporter.common.errors import UsageError
from exporter.session.messages import Messages, warn
from exporter.session.users import caller

from .completion_names import instance_ids
from .options import NAME

if TYPE_CHECKING:
    from exporter.kernel.instances.control import Instance


@click.command(
    "stop",
    epilog="Exit status: 0, also when there was nothing to stop; 1 when there is no such instance, or it "
    "couldn't be removed; 2 usage; 91 without the right.",
)
@click.option("--all", "is_all", is_flag=True, help="All instances, those whose exporters run as well.")
@click.argument("instance", required=False, type=NAME, metavar="[INSTANCE]", shell_complete=instance_ids)
def command(*, instance: str | None, is_all: bool) -> int:
    """Detach and unpin instances: those of dead exporters, or INSTANCE, or all.

    What they deny is allowed from then on, and what they trace isn't traced any more. An exporter that lives
    says so and goes on until its job ends. The beginning of an instance's id is enough.

    \b
    ci-egress stop                 # what killed exporters left
    ci-egress stop 3f9c            # this one, in whatever state
    ci-egress stop --all           # this host as if ci-egress had never run
    """  # noqa: D301 - click wants a real backspace
    if instance is not None and is_all:
        raise UsageError("INSTANCE and --all are both given", hint="give one of them")
    from exporter.kernel.instances.control import instances, matching

    found = instances()
    if instance is not None:
        chosen = [matching(found, instance)]
    else:
        chosen = [each for each in found if is_all or not each.is_alive]
    if not chosen:
        print_lines("nothing to stop" if is_all else "nothing to stop: no dead exporter left anything")
    stopped = [_is_stopped(each) for each in chosen]
    return 0 if all(stopped) else 1


def _is_stopped(instance: Instance) -> bool:
    from exporter.kernel.instances.control import stop

    if not stop(instance, by=caller(), tell=warn):
        hint = f"see who goes on making files there: `fuser -v {instance.directory}`"
        what = f"instance {instance.name} couldn't be removed; {hint}"
        Messages.current().say(what, level=logging.ERROR)
        return False
    whose = ", whose exporter runs" if instance.is_alive else ""
    print_lines(f"instance {instance.name}{whose}: detached and removed")
    return True
