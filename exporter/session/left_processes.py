"""Let no process out of an enforced policy when tracing ends.

Processes that a job leaves behind are ended. The jobs of a watch that fails stay under their policies.
"""

from __future__ import annotations

import logging
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

from exporter.common.errors import CANNOT_TRACE_STATUS
from exporter.kernel.instances.scope_end import EndResult, end_scope
from exporter.kernel.maps.registry import JobMode

from .messages import Messages

if TYPE_CHECKING:
    from exporter.events.facts import ProcessKey
    from exporter.kernel.tracer import Tracer

_SHOWN = 10


def end_what_is_left(
    tracer: Tracer,
    scope: int,
    meanwhile: Callable[[], object] = lambda: None,
    *,
    goes_on: Callable[[ProcessKey], bool] = lambda _: False,
    left_by: str = "COMMAND",
) -> None:
    """End the job's processes if its policy is enforced: no policy holds them once programs are detached.

    A process that can't be ended stays held if the programs may outlive this process: then they stay
    attached, for such processes alone. `meanwhile` is called now and then. `goes_on` returns whether a
    process is spared. `left_by` says, for messages, who left the other processes behind.
    """
    if tracer.mode(scope) is not JobMode.ENFORCE or not tracer.is_attached():
        return
    came = end_scope(tracer, scope, meanwhile, goes_on)
    if came.ended:
        _tell(came, left_by)
    if not came.is_over:
        is_denied = tracer.let_it_go_on()
        if is_denied:
            tracer.processes.let_go_of_others(goes_on)
        what = _of_left(came.left, left_by, is_denied=is_denied)
        if is_denied:
            gone = "it is gone" if len(came.left) == 1 else "they are gone"
            what += f"; once {gone}: `ci-egress stop {tracer.name}`"
        Messages.current().say(what, level=logging.ERROR)


@contextmanager
def held_unless_asked(tracer: Tracer) -> Iterator[None]:
    """Leave policies in force when the block raises, as if this process had been killed."""
    try:
        yield
    except BaseException:
        try:
            if tracer.denies():
                tracer.let_it_go_on()
                tracer.detach()
        except BaseException:  # noqa: BLE001 - as for lack of memory: then nothing is tidied up
            os._exit(CANNOT_TRACE_STATUS)
        raise


def _tell(came: EndResult, left_by: str) -> None:
    number = len(came.ended)
    why = f"since nothing would hold {'it' if number == 1 else 'them'} to the policy"
    told = f"ended {_processes(number)} that {left_by} left behind, {why}"
    Messages.current().say(f"{told}: {_listed(came.ended)}")


def _of_left(left: list[str], left_by: str, *, is_denied: bool) -> str:
    who, listed = f"processes left behind by {left_by} fork faster than they can be ended", ""
    if left:
        who, listed = f"{_processes(len(left))} left behind by {left_by} can't be ended", f": {_listed(left)}"
    is_one = len(left) == 1
    stay = f"{'stays' if is_one else 'stay'} denied"
    go = f"{'is' if is_one else 'are'} held to nothing any more, for `--on-exporter-death open`"
    return f"{who} and {stay if is_denied else go}{listed}"


def _processes(number: int) -> str:
    return "1 process" if number == 1 else f"{number} processes"


def _listed(names: list[str]) -> str:
    more = f" and {len(names) - _SHOWN} more" if len(names) > _SHOWN else ""
    return ", ".join(names[:_SHOWN]) + more
