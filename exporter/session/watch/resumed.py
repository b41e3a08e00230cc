"""Recover the facts about a job whose ci-egress is gone while the job goes on."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from itertools import product

from exporter.events.facts import Environment
from exporter.events.programs import Program
from exporter.jobs.model import Job, TraceIds
from exporter.kernel.maps.registry import Registered, run_hash
from exporter.pipeline.procfs import environment_of
from exporter.pipeline.summary import Summary

from .roots import Roots
from .watched_job import ROWS_MAX, WatchedJob, key_of

_INIT = 1
"""The pid of init, which becomes the parent of processes whose own parent ended."""


def resumed(
    told: Registered,
    members: Sequence[Program],
    above: Callable[[int], Program | None],
    roots: Roots,
    now_ns: int,
) -> WatchedJob:
    """Return the job that the earlier watch registered as `told`; its programs `members` still run.

    The job keeps its trace and its span. `above` returns the program that runs under a pid. If no member's
    environment names the job any more, only its names and its run are known; a member that has the variables
    of another job by now doesn't count. The job's policy is chosen by the identity that the earlier watch
    registered, and not by the environments that its processes have by now.
    """
    standing = told.standing
    ids = TraceIds(
        told.trace_id, told.span_id, standing.parent_id or None, derive_from=standing.below or None
    )
    run_id = told.run_id if run_hash(told.run_id) == standing.run_hash else ""  # else the run id was cut
    names = (told.pipeline or None, told.task or None)
    job = Job("", run_id, ids, *names, is_partial=standing.who == 0)
    known_ids = (standing.identity, standing.run_hash)
    workers = {program.process: above(program.parent_pid) for program in members if program.parent is None}
    environ: Mapping[str, str] = {}
    for program in sorted(members, key=lambda program: program.parent is not None):
        event = _environment(program, now_ns)
        found = roots.identify(event, workers.get(program.process))
        if found is not None and found.key.ids == known_ids:
            described, environ = roots.describe(event, found.outline)
            job = replace(_as_told(described, job, standing.who), ids=ids)
            if program.parent is None:
                program.attribution = "environment"
            break
    started = (worker.process for worker in workers.values() if worker is not None)
    known = {process for process in started if process.pid != _INIT}
    summary = Summary(environ, rows_max=ROWS_MAX)
    key = key_of(job, *known_ids)
    return WatchedJob(key, job, summary, known or None, standing.began_ns, now_ns, now_ns)


def _as_told(found: Job, told: Job, who: int) -> Job:
    """Return `found` if it still has the identity `who`; else with the names and claims of `told`."""
    for is_vouched, besides in product((found.is_vouched, True), (found.besides, ())):
        job = replace(found, is_vouched=is_vouched, besides=besides)  # both depended on the agent
        if who and job.who.digest == who:
            return job
    known = {name: getattr(told, name) for name in ("pipeline", "task", "claims", "besides", "is_partial")}
    return replace(found, **known)


def _environment(program: Program, now_ns: int) -> Environment:
    block = environment_of(program.process)
    return Environment(now_ns, program.process, program.exec_id, block, is_cut=False, is_from_proc=True)
