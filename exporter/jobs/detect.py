"""Find out which CI job a process is the root of, by its environment alone.

job = detect(os.environ)
job.provider, job.pipeline, job.task, job.run_id
job.ids.trace_id

`outlined` quickly finds the facts that the choice of a policy needs. `described` adds the texts that
telemetry reports of the job; redacting these takes longer.
"""

from __future__ import annotations

import uuid
from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace
from typing import NamedTuple

from exporter.common.errors import UsageError

from .claims import Claim, besides, claims_of, server_url
from .ids import GithubRun, Identity, trace_ids
from .model import HOST, Job, TraceIds
from .providers import PROVIDERS, Provider
from .sources import Source, read, resolve
from .text import Publishing, clean_repository_url, clean_url, path_of, public_text

UNRECOGNISED = "run"
"""The provider of a job that no known CI system started."""
NAMED_BY_USER = "other"
"""The provider of a job whose id comes from `--job-env`."""

MARKS = frozenset(mark.partition("=")[0] for provider in PROVIDERS for mark in provider.present)
"""The variables that mark a CI system; each system sets at least one of them."""

_REF_PREFIXES = {"refs/heads/": "branch", "refs/tags/": "tag"}


class Outline(NamedTuple):
    """The facts about a job by which its policy is chosen."""

    job: Job
    """The job with its system, ids and claims, without names and run id: these may have secrets."""
    run_id: str
    """The id of its run, not redacted."""


def detect(
    environ: Mapping[str, str],
    *,
    job_env: str | None = None,
    new_run_id: Callable[[], str] = lambda: uuid.uuid4().hex,
) -> Job:
    """Return the job whose root has the environment `environ`, which may hold any text.

    `job_env` names the variable that holds the job id, and wins over the provider table. Without it and
    without a known provider the job has the provider `run` and a fresh run id. Where the system's agent lets
    nobody change the project's variables, the agent is assumed to have made the root. Raises UsageError when
    the variable that `job_env` names isn't set.
    """
    return described(outlined(environ, job_env=job_env, new_run_id=new_run_id), environ, job_env=job_env)


def outlined(environ: Mapping[str, str], *, job_env: str | None, new_run_id: Callable[[], str]) -> Outline:
    """Return the facts by which the job's policy is chosen. Arguments and errors are as for `detect`."""
    if job_env is not None:
        return _named_by_user(environ, job_env)
    provider = recognise(environ)
    if provider is None:
        run_id = new_run_id()
        ids, claims = _own_ids(environ, UNRECOGNISED, run_id), (Claim(UNRECOGNISED, None, None, None),)
        return Outline(Job(UNRECOGNISED, "", ids, claims=claims), run_id)
    return _recognised(provider, environ, new_run_id)


def described(outline: Outline, environ: Mapping[str, str], *, job_env: str | None) -> Job:
    """Return the job of `outline` with the texts that telemetry reports of it; its root has `environ`.

    Every text is redacted, which takes some 30 ms if they are long.
    """
    job, run_id = outline
    if job_env is not None:
        told = public_text(run_id) or run_id
        return replace(job, run_id=told, task_run_id=told)
    provider = recognise(environ)
    return replace(job, run_id=run_id) if provider is None else _described(provider, environ, outline)


def step_of(environ: Mapping[str, str], *, job_env: str | None = None) -> str | None:
    """Return the CI system's name for the step whose root has `environ`. None: the step has no name."""
    provider = recognise(environ) if job_env is None else None
    return resolve(provider.step, environ, public_text) if provider else None


def host(trace_name: str) -> Job:
    """Return the job under which acts of no job are reported; each `trace_name` has a trace of its own."""
    return Job(provider=HOST, run_id="", ids=_own_ids({}, HOST, trace_name))


def recognise(environ: Mapping[str, str]) -> Provider | None:
    """Return the first provider of the table whose marks `environ` carries."""
    return next(recognised(environ), None)


def recognised(environ: Mapping[str, str]) -> Iterator[Provider]:
    """Return all providers whose marks `environ` carries, in the order of the table."""
    return (each for each in PROVIDERS if _is_present(each, environ))


def _is_present(provider: Provider, environ: Mapping[str, str]) -> bool:
    marks = (mark.partition("=") for mark in provider.present)
    return all(environ.get(name) == value if equals else environ.get(name) for name, equals, value in marks)


def _named_by_user(environ: Mapping[str, str], job_env: str) -> Outline:
    job_id = read(job_env, environ)
    if job_id is None:
        raise UsageError(
            f"--job-env {job_env}: this variable is not set, or empty",
            hint="name the variable that holds the job's id, or leave the option out",
        )
    ids = _own_ids(environ, NAMED_BY_USER, job_id, job_id)
    provider = recognise(environ)  # any job may set the variable, so the CI system decides on its policy
    claims = claims_of(provider, environ) if provider else (Claim(NAMED_BY_USER, None, None, None),)
    also = besides(provider, environ) if provider else ()
    return Outline(Job(NAMED_BY_USER, "", ids, claims=claims, besides=also), job_id)


def _own_ids(environ: Mapping[str, str], provider: str, run_id: str, job_id: str = "") -> TraceIds:
    identity = Identity(provider, server="", project="", run_id=run_id, attempt="", job_id=job_id)
    return trace_ids(identity, environ, github=None, check_run_id=None)


def _recognised(provider: Provider, environ: Mapping[str, str], new_run_id: Callable[[], str]) -> Outline:
    # Without a run id every run would share a trace: a fresh one keeps them apart. The trace's ids are made
    # of unredacted values, since others compute the same ids and redact nothing.
    run_id = resolve(provider.run_id, environ) or new_run_id()
    job = Job(
        provider=provider.name,
        run_id="",
        ids=_ids(provider, environ, run_id),
        claims=claims_of(provider, environ),
        besides=besides(provider, environ),
        is_vouched=bool(provider.agents),
    )
    return Outline(job, run_id)


def _described(provider: Provider, environ: Mapping[str, str], outline: Outline) -> Job:
    clean = Publishing()

    def get(source: Source) -> str | None:
        return resolve(source, environ, clean)

    run_id, pipeline, task = (get(each) for each in (provider.run_id, provider.pipeline, provider.task))
    repository_url = clean_repository_url(get(provider.repository_url) or "")
    ref, ref_type = _head(provider, get)
    return replace(
        outline.job,
        run_id=run_id or outline.run_id,
        pipeline=pipeline,
        task=task,
        task_run_id=get(provider.task_run_id),
        attempt=get(provider.attempt),
        run_url=clean_url(get(provider.run_url) or ""),
        worker=get(provider.worker),
        repository=get(provider.repository) or path_of(repository_url or ""),
        repository_url=repository_url,
        revision=get(provider.revision),
        ref=ref,
        ref_type=ref_type,
    )


def _ids(provider: Provider, environ: Mapping[str, str], run_id: str) -> TraceIds:
    attempt = resolve(provider.attempt, environ)
    identity = Identity(
        provider=provider.name,
        server=server_url(provider, environ) or "",
        project=resolve(provider.project, environ) or "",
        run_id=run_id,
        attempt=attempt or "",
        job_id=_job_id(provider, environ),
    )
    check_run_id = resolve(provider.check_run_id, environ)
    github = GithubRun(run_id, attempt) if provider.check_run_id and attempt else None
    return trace_ids(identity, environ, github=github, check_run_id=check_run_id)


def _job_id(provider: Provider, environ: Mapping[str, str]) -> str:
    own = resolve(provider.task_run_id, environ) or resolve(provider.task, environ)
    siblings = [value for source in provider.siblings if (value := resolve(source, environ))]
    return "/".join([own or "", *siblings])


def _head(provider: Provider, get: Callable[[Source], str | None]) -> tuple[str | None, str | None]:
    """Return name and type of the branch or tag that is built; a name may come in full, as `refs/tags/v1`."""
    told = ((provider.tag, "tag"), (provider.branch, "branch"), (provider.ref, None))
    found = ((get(source), kind) for source, kind in told)
    name, ref_type = next((each for each in found if each[0]), (None, None))
    for prefix, kind in _REF_PREFIXES.items():
        if name and name.startswith(prefix):
            return name.removeprefix(prefix) or None, kind
    return name, ref_type
