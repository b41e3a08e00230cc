"""Stop the frames of a job whose policy is about to be enforced, in the process that turns that on."""

from __future__ import annotations

import errno
import os
from collections.abc import Callable, Iterator
from contextlib import ExitStack, closing, contextmanager
from pathlib import Path
from typing import NamedTuple

from exporter.common.errors import KernelError
from exporter.events.facts import Tampered
from exporter.kernel.frames.packet_frames import Frames
from exporter.kernel.pins import open_map


class Gap(NamedTuple):
    """A way by which frames still leave, and a hint how to close it."""

    what: str
    hint: str


_LEFT = Gap(
    "there wasn't time to stop what packet sockets send in all of its networks",
    "an exporter that runs does it within seconds; without one, do this again",
)


@contextmanager
def stopping(instance: Path, scope: int) -> Iterator[Callable[[float], list[Gap]]]:
    """Yield a function that stops the frames of `scope`, as if its policy were enforced.

    The function gets the seconds that it may take, or little more, and does as much as it can in them. The
    next call goes on from there. It returns the gaps that are known so far. Raises OSError.
    """
    gaps, late = list[Gap](), list[Tampered]()
    with ExitStack() as stack:
        names = ("procs", "modes", "candidates", "jobs")
        maps = {name: stack.enter_context(open_map(instance, name)) for name in names}
        frames = stack.enter_context(closing(Frames(instance, maps)))

        def stop(most_s: float) -> list[Gap]:
            frames.most_s = most_s
            frames.look(about_to_be={scope})
            for told in frames.found():
                if told.detail == errno.EINPROGRESS:
                    late.append(told)
                else:
                    gaps.append(_gap(told))
            left = [_LEFT] if late or frames.is_looking else []
            return [*gaps, *_options_left(frames), *left]

        yield stop


def _options_left(frames: Frames) -> list[Gap]:
    """Deny the socket options that lead past the programs; return a gap where that fails."""
    try:
        frames.require_options()
    except KernelError as error:
        return [Gap(error.what, error.hint or "")]
    return []


def _gap(told: Tampered) -> Gap:
    where = f"in a network of process {told.process.pid} what packet sockets send can't be stopped"
    return Gap(f"{where}: {os.strerror(told.detail)}", "take CAP_NET_RAW from the job, or end that process")
