"""OpenTelemetry attributes of a job (semantic conventions 1.44: cicd and vcs registries)."""

from __future__ import annotations

from .model import Job

WORKER = "cicd.worker.name"


def resource_attributes(job: Job) -> dict[str, str]:
    """Return the attributes for the resource of all spans of `job`; what is unknown is left out."""
    owner, _, name = (job.repository or "").rpartition("/")
    return span_attributes(job) | _known(
        {
            "cicd.pipeline.run.url.full": job.run_url,
            WORKER: job.worker,
            "vcs.owner.name": owner,
            "vcs.repository.name": name,
            "vcs.repository.url.full": job.repository_url,
            "vcs.ref.head.name": job.ref,
            "vcs.ref.head.type": job.ref_type if job.ref else None,
            "vcs.ref.head.revision": job.revision,
        }
    )


def worker_attributes(job: Job) -> dict[str, str]:
    """Return attributes of `job` for the resource of metrics: the worker alone, which lasts over runs."""
    return _known({WORKER: job.worker})


def span_attributes(job: Job) -> dict[str, str]:
    """Return the attributes of `job` for each egress span; what is unknown is left out."""
    return _known(
        {
            "cicd.pipeline.name": job.pipeline,
            "cicd.pipeline.run.id": job.run_id,
            "cicd.pipeline.task.name": job.task,
            "cicd.pipeline.task.run.id": job.task_run_id,
            "egress.job.attempt": job.attempt,
        }
    )


def _known(attributes: dict[str, str | None]) -> dict[str, str]:
    return {key: value for key, value in attributes.items() if value}
