"""What `run` does with processes that COMMAND leaves behind while its policy is enforced."""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import TYPE_CHECKING

from exporter.cli.messages import Messages
from exporter.kernel.ending import Ended, end_scope
from exporter.kernel.registry import JobMode
from exporter.text import counted

if TYPE_CHECKING:
    from exporter.kernel.tracer import Tracer

_SHOWN = 10


def end_what_is_left(tracer: Tracer, scope: int, meanwhile: Callable[[], object] = lambda: None) -> None:
    """When enforcing, end what is left of the job: once the programs are detached nothing would hold it.

    What can't be ended stays held: then the programs are left attached.
    """
    if tracer.mode(scope) is not JobMode.ENFORCE or not tracer.live_pids(scope) or not tracer.is_attached():
        return
    came = end_scope(tracer, scope, meanwhile)
    if came.ended:
        _tell(came)
    if came.left:
        tracer.let_it_go_on()
        which = _listed(came.left)
        told = f"{counted(len(came.left), 'process')}es" if len(came.left) > 1 else "1 process"
        what = f"{told} left behind by COMMAND can't be ended and stays denied: {which}"
        Messages.current().say(
            f"{what}; once it is gone: `ci-egress stop {tracer.name}`", level=logging.ERROR
        )


def _tell(came: Ended) -> None:
    number = len(came.ended)
    what = "1 process" if number == 1 else f"{number} processes"
    told = (
        f"ended {what} that COMMAND left behind, since nothing would hold {'it' if number == 1 else 'them'}"
    )
    Messages.current().say(f"{told} to the policy: {_listed(came.ended)}")


def _listed(names: list[str]) -> str:
    more = f" and {len(names) - _SHOWN} more" if len(names) > _SHOWN else ""
    return ", ".join(names[:_SHOWN]) + more
