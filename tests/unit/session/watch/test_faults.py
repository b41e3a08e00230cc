"""What goes wrong in a part of a watch is told once, and ends nothing."""

from __future__ import annotations

import errno
import os

from exporter.common.errors import KernelError
from exporter.session.watch.faults import Faults

GOES_ON = "the watch goes on, and what is denied stays denied"


def raising(error: Exception) -> list[str]:
    """What is told of it when it comes up twice."""
    told: list[str] = []
    faults = Faults(lambda line, where: told.append(line if "in part" in where else where))

    def part() -> None:
        raise error

    faults.stand(part)
    faults.stand(part)
    faults.stand(lambda: told.append("done"))
    assert told.pop() == "done"
    return told


def test_a_limit_is_named_with_what_to_do() -> None:
    more = "raise the limit of processes and threads (ulimit -u, or the container's)"
    assert raising(RuntimeError("can't start new thread")) == [
        f"RuntimeError: can't start new thread; {GOES_ON}; {more}"
    ]
    (told,) = raising(OSError(errno.EMFILE, os.strerror(errno.EMFILE)))
    assert told.endswith(f"{GOES_ON}; raise the limit of open files (ulimit -n)")
    (told,) = raising(MemoryError())
    assert told.startswith(f"Cannot allocate memory; {GOES_ON}; free memory")


def test_an_error_of_ours_keeps_its_hint_and_a_bug_is_to_be_reported() -> None:
    assert raising(KernelError("it is away", hint="get it")) == [f"it is away; {GOES_ON}; get it"]
    assert raising(ValueError("x")) == [f"ValueError: x; {GOES_ON}; please report this"]


def test_different_ones_are_told_in_bounds() -> None:
    told: list[str] = []
    faults = Faults(lambda line, _: told.append(line))
    for number in range(100):

        def part(number: int = number) -> None:
            raise KernelError(f"number {number}")

        faults.stand(part)
    assert len(told) == 16
