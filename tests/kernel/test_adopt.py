"""A watch that is killed and started again: denial stands all the while, and nothing goes untold."""

from __future__ import annotations

import os
import signal
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from exporter.jobs.detect import detect

from .lab import V4
from .steered import Host, own_host
from .test_watch_policy import (
    PEER,
    Steps,
    job,
    known,
    policy,
    run_id,
    runner,
    steps,
)
from .watching import Watch, watching

if TYPE_CHECKING:
    from collections.abc import Iterator

    from .lab import Lab

pytestmark = pytest.mark.kernel

__all__ = ["runner", "steps"]
"""Fixtures that are used here, too."""

ROUNDS = int(os.environ.get("ADOPT_ROUNDS", "5"))
"""How often a watch is killed and started again while a job connects."""


@pytest.fixture
def host() -> Iterator[Host]:
    with own_host() as made:
        yield made


class Watches:
    """One watch after the other on the same host."""

    def __init__(self, host: Host, folder: Path, *options: str) -> None:
        self._host, self._folder, self._options = host, folder, options
        self._number = 0

    @contextmanager
    def watching(self, *options: str, until_ready: bool = True) -> Iterator[Watch]:
        """The next one, with files of its own."""
        self._number += 1
        folder = self._folder / f"watch{self._number}"
        folder.mkdir()
        options = (*self._options, *options)
        with watching(folder, *options, under=self._host.under, until_ready=until_ready) as watch:
            yield watch


def kill(watch: Watch) -> None:
    """As the kernel does when memory runs out."""
    watch.process.send_signal(signal.SIGKILL)
    watch.process.wait()


HELD = f"""
jobs:
  "*/held": {{mode: enforce, allow: ["{PEER}"]}}
"""


def test_what_a_dead_watch_denies_is_told_by_its_jobs_alone(host: Host, steps: Steps, tmp_path: Path) -> None:
    run = run_id("dead")
    watches = Watches(host, tmp_path, "--policy", str(policy(tmp_path, HELD)), "--host-enforce")
    with watches.watching() as watch:
        name = steps.start(job(run, "held"), steps.act(V4.evil))
        known(watch, run)
        kill(watch)
    (instance,) = host.instances()
    modes = {row["job"]: row["effective"] for row in host.status()}
    no_jobs = {"(jobs without room)", "(containers of no job)"}
    assert {modes[each] for each in (*no_jobs, "group/app/held")} == {"enforce"}
    (check,) = (check for check in host.doctor() if check["name"] == f"instance {instance}")
    denies = check["lost"].partition(" still denies for ")[2].partition(", although")[0].split(", ")
    assert "group/app/held" in denies
    assert no_jobs.isdisjoint(denies)
    assert steps.go(name) == "EPERM\n"


def test_a_watch_goes_on_where_another_was_killed(host: Host, steps: Steps, lab: Lab, tmp_path: Path) -> None:
    run = run_id("adopted")
    watches = Watches(host, tmp_path, "--policy", str(policy(tmp_path, HELD)))
    evil, peer = steps.act(V4.evil), steps.act(V4.peer)
    with lab.watch() as arrivals:
        with watches.watching() as first:
            name = steps.start(job(run, "held"), evil, evil, peer, evil)
            known(first, run)
            assert steps.go(name) == "EPERM\n"
            first.wait_for(lambda: bool(first.egress(run)))
            kill(first)
        (instance,) = host.instances()
        assert (steps.go(name, 1), steps.go(name, 2)) == ("EPERM\n", "ok\n")
        with watches.watching("--adopt") as second:
            second.wait_until_said(f"adopted instance {instance} of a watch that was killed: ")
            second.wait_until_said("job held of group/app goes on", run_id=run)
            assert host.instances() == [instance]
            assert steps.go(name, 3) == "EPERM\n"
            seen = second.stop()
    assert arrivals.arrivals.packets_to(V4.evil) == 0
    told = [
        (span["network.peer.address"], span["egress.verdict"], span["egress.rule"])
        for span in seen.egress(run)
    ]
    assert told == [
        (V4.evil, "deny", "default"),
        (V4.peer, "allow", PEER),
        (V4.evil, "deny", "default"),
    ]
    ids = detect(job(run, "held")).ids
    assert {span.trace_id for span in seen.of_run(run)} == {f"{ids.trace_id:032x}"}
    assert [span.span_id for span in seen.jobs(run)] == [f"{ids.job_span_id:016x}"]
    by_id = {span.span_id: span for span in seen.spans}
    assert all(by_id[span.parent_id].name == "act" for span in seen.egress(run))
    assert host.instances() == []
