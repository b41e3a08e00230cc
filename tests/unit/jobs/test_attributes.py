"""A job as OpenTelemetry attributes."""

from __future__ import annotations

from exporter.jobs.attributes import resource_attributes, span_attributes
from exporter.jobs.detect import detect
from tests.unit.jobs.provider_environments import environment


def test_a_span_names_its_job() -> None:
    assert span_attributes(detect(environment("azure"))) == {
        "cicd.pipeline.name": "fabrikam.nightly",
        "cicd.pipeline.run.id": "57",
        "cicd.pipeline.task.name": "Job",
        "cicd.pipeline.task.run.id": "12f1170f-54f2-53f3-20dd-22fc7dff55f9",
        "egress.job.attempt": "1",
    }


def test_the_resource_names_job_worker_and_revision() -> None:
    job = detect(environment("gitlab"))
    assert resource_attributes(job) == span_attributes(job) | {
        "cicd.pipeline.run.url.full": "https://gitlab.example/group/app/-/pipelines/987",
        "cicd.worker.name": "my runner",
        "vcs.owner.name": "group",
        "vcs.repository.name": "app",
        "vcs.repository.url.full": "https://gitlab.example/group/app",
        "vcs.ref.head.name": "main",
        "vcs.ref.head.type": "branch",
        "vcs.ref.head.revision": "9d59409acf479dfa0df1aa568182e43e43df8bbe",
    }


def test_the_owner_of_a_nested_repository_is_the_whole_group() -> None:
    attributes = resource_attributes(detect(environment("gitlab") | {"CI_PROJECT_PATH": "group/sub/app"}))
    assert (attributes["vcs.owner.name"], attributes["vcs.repository.name"]) == ("group/sub", "app")


def test_what_is_unknown_is_left_out() -> None:
    assert resource_attributes(detect({}, new_run_id=lambda: "fresh")) == {"cicd.pipeline.run.id": "fresh"}
