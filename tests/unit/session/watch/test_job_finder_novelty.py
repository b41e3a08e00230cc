"""Jobs of a host are held against a baseline, each against its own task; what is of no job is not."""

from __future__ import annotations

from ipaddress import ip_address
from pathlib import Path

from exporter.baseline.model import Baseline, Entry, Task
from tests.unit.watched_host import ADOPTED, AGENT, BARE, Host, adopts, gitlab, leaves, watched

BUILD = Task("group/app", "build")
NOTHING = Baseline()
KNOWN = Baseline((Entry(BUILD, ip_address("192.0.2.7"), 443, "tcp", None),))


def novel(host: Host) -> list[bool | None]:
    """Of each act in its order."""
    found = sorted(leaves(host.spans()), key=lambda leaf: int(leaf["startTimeUnixNano"]))
    return [leaf["attributes"].get("egress.novel") for leaf in found]


def test_what_is_of_no_job_has_no_novelty(tmp_path: Path) -> None:
    with watched(tmp_path, baseline=KNOWN) as host:
        host.connects(AGENT, exec_id=0)
        host.connects(host.starts(gitlab()))
        host.connects(host.starts(gitlab(job="2", CI_JOB_NAME="deploy")))
        host.stops()
    assert novel(host) == [None, False, True]
    assert [summary.totals() for _, summary in host.ended] == [(1, 1), (1, 1)]
    assert [summary.told() for _, summary in host.ended] == [
        "1 attempt, 1 destination",
        "1 attempt, 1 destination, 1 novel",
    ]


def test_jobs_that_run_go_by_another_baseline_at_once(tmp_path: Path) -> None:
    with watched(tmp_path, baseline=NOTHING) as host:
        first, second = host.starts(gitlab()), host.starts(gitlab(job="2"))
        host.connects(first)
        assert host.jobs.change_baseline(KNOWN) == 2
        host.connects(first)
        host.connects(second)
        host.connects(host.starts(gitlab(job="3")))
        assert host.jobs.change_baseline(NOTHING) == 3
        host.connects(first)
        host.stops()
    assert novel(host) == [True, False, False, False, True]


def test_what_a_job_left_behind_is_held_against_its_task(tmp_path: Path) -> None:
    with watched(tmp_path, baseline=NOTHING) as host:
        worker = host.starts(BARE, name="worker")
        step = host.starts(gitlab(), worker, exec_id=1)
        daemon = host.starts(BARE, step, "daemon", exec_id=1)
        host.ends(step, worker)
        host.waits(3600)
        assert len(host.ended) == 1
        host.jobs.change_baseline(KNOWN)
        host.connects(daemon)
        host.stops()
    assert novel(host) == [False]


def test_a_job_that_another_one_watched_is_held_against_its_task(tmp_path: Path) -> None:
    with watched(tmp_path, baseline=KNOWN) as host:
        host.connects(adopts(host, ADOPTED), exec_id=3)
        host.stops()
    assert novel(host) == [False]
