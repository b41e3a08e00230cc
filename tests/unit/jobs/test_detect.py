"""Detection where no row of the table applies, and under hostile values."""

from __future__ import annotations

import itertools

import pytest
from hypothesis import given

from exporter.common.errors import UsageError
from exporter.jobs.detect import detect, recognise
from exporter.jobs.ids import Identity
from exporter.jobs.model import Job
from exporter.jobs.providers import PROVIDERS
from exporter.jobs.text import MAX_CHARS, ORDINARY_CHARS
from tests.fuzz.draw import Draw
from tests.fuzz.environments import becomes_a_job, value
from tests.fuzz.strategies import draws
from tests.unit.jobs.provider_environments import VARIABLES, documented_providers, environment


def _job_fields(job: Job) -> list[str]:
    return [value for value in vars(job).values() if isinstance(value, str)]


def test_without_a_ci_system_a_job_has_a_fresh_run_id() -> None:
    numbers = itertools.count(1)
    first, second = (detect({"PATH": "/bin"}, new_run_id=lambda: f"run-{next(numbers)}") for _ in range(2))
    assert (first.provider, first.run_id, second.run_id) == ("run", "run-1", "run-2")
    assert first.ids.trace_id != second.ids.trace_id
    assert first.display_name == "run"


def test_fresh_run_ids_differ_by_themselves() -> None:
    assert detect({}).run_id != detect({}).run_id


def test_a_recognised_system_without_a_run_id_gets_a_fresh_one() -> None:
    job = detect({"GITLAB_CI": "true"}, new_run_id=lambda: "fresh")
    assert (job.provider, job.run_id) == ("gitlab", "fresh")


def test_the_named_variable_is_the_job_id_on_any_other_system() -> None:
    job = detect({"BUILD": "b-17", "GITLAB_CI": "true"}, job_env="BUILD")
    assert (job.provider, job.run_id, job.task_run_id) == ("other", "b-17", "b-17")
    assert job.ids == detect({"BUILD": "b-17"}, job_env="BUILD").ids
    assert job.ids.trace_id != detect({"BUILD": "b-18"}, job_env="BUILD").ids.trace_id


@pytest.mark.parametrize("environ", [{}, {"BUILD": ""}, {"BUILD": " \n"}, {"BUILD ": "1"}])
def test_a_named_variable_that_says_nothing_is_an_error(environ: dict[str, str]) -> None:
    with pytest.raises(UsageError, match=r"--job-env BUILD: .* not set, or empty; name the variable"):
        detect(environ, job_env="BUILD")


def test_a_tag_pipeline_says_so() -> None:
    tag_pipeline = {"CI_COMMIT_TAG": "v1", "CI_COMMIT_REF_NAME": "v1", "CI_COMMIT_BRANCH": ""}
    job = detect(environment("gitlab") | tag_pipeline)
    assert (job.ref, job.ref_type) == ("v1", "tag")


def test_a_tag_on_github_says_so() -> None:
    job = detect(environment("github") | {"GITHUB_REF": "refs/tags/v1", "GITHUB_REF_NAME": "v1"})
    assert (job.ref, job.ref_type) == ("v1", "tag")


def test_a_pull_request_on_github_is_known_by_its_own_branch() -> None:
    of_pull_request = {"GITHUB_HEAD_REF": "topic", "GITHUB_REF": "refs/pull/7/merge"}
    job = detect(environment("github") | of_pull_request)
    assert (job.ref, job.ref_type) == ("topic", "branch")


def test_a_ref_of_unknown_kind_has_no_type() -> None:
    job = detect(environment("gitlab") | {"CI_COMMIT_BRANCH": "", "CI_COMMIT_REF_NAME": "something"})
    assert (job.ref, job.ref_type) == ("something", None)


@pytest.mark.parametrize(
    ("hostile", "expected"),
    [
        ("build\x1b[31m\nred\x00", "build[31mred"),
        ("name\udce9", "name\N{REPLACEMENT CHARACTER}"),
        ("ok \u202eevil\u2066", "ok evil"),
        ("x" * 100_000, "x" * MAX_CHARS),
        ("  spaced\t", "spaced"),
        ("\x00\x1b", None),
    ],
)
def test_a_hostile_value_is_made_harmless(hostile: str, expected: str | None) -> None:
    assert detect(environment("gitlab") | {"CI_JOB_NAME": hostile}).task == expected


@pytest.mark.parametrize(("told", "task"), [(" build ", "build"), ("  ", None)])
def test_a_part_of_a_value_has_no_blanks_around_it_and_is_never_empty(told: str, task: str | None) -> None:
    environ = {"ARGO_NODE_ID": "ci-1", "ARGO_TEMPLATE": f'{{"name":"{told}","inputs":{{}}}}'}
    assert detect(environ).task == task


def test_a_value_is_not_a_template() -> None:
    job = detect(environment("codebuild") | {"CODEBUILD_BUILD_ID": "$HOME:1", "HOME": "/root"})
    assert job.run_id == "$HOME:1"


@pytest.mark.parametrize("provider", documented_providers())
@given(draw=draws())
def test_no_value_of_any_variable_makes_detection_raise(provider: str, draw: Draw) -> None:
    environ = environment(provider)
    becomes_a_job(environ | {draw.choice(sorted(environ)): value(draw) for _ in range(draw.randrange(5))})


@given(draws())
def test_no_environment_makes_detection_raise(draw: Draw) -> None:
    becomes_a_job({draw.choice(VARIABLES): value(draw) for _ in range(draw.length(30))})


_SECRET = "https://u:s3c/retD@h.example --password s3cretE ghp_" + "a1B2" * 9


@pytest.mark.parametrize("provider", documented_providers())
def test_no_field_of_a_job_has_a_secret_of_its_environment(provider: str) -> None:
    marks = {mark.partition("=")[0] for each in PROVIDERS for mark in each.present}
    environ = {
        name: value
        if name in marks
        else f"{value}?access_token=s3cretF"
        if value.startswith("http")
        else f"{value} {_SECRET}"
        for name, value in environment(provider).items()
    }
    told = "\n".join(_job_fields(detect(environ)))
    assert "<redacted>" in told
    assert not [secret for secret in ("s3c", "retD", "cretE", "cretF", "a1B2") if secret in told]


def test_of_many_long_values_the_first_are_kept_as_long_as_any() -> None:
    """Redacting them takes time, in which nobody else is told of."""
    names = ("CI_PIPELINE_ID", "CI_PIPELINE_NAME", "CI_JOB_NAME", "CI_JOB_ID", "CI_COMMIT_SHA")
    job = detect(environment("gitlab") | dict.fromkeys(names, "ab " * 2000))
    told = [len(value or "") for value in (job.run_id, job.pipeline, job.task, job.task_run_id, job.revision)]
    assert [length > ORDINARY_CHARS for length in told] == [True, False, False, False, False]
    assert min(told) > 0
    ordinary = dict.fromkeys(names, "x" * ORDINARY_CHARS) | {"CI_COMMIT_SHA": "y" * MAX_CHARS}
    job = detect(environment("gitlab") | ordinary)
    assert len(job.revision or "") == MAX_CHARS


def test_redaction_changes_no_id() -> None:
    job = detect({"BUILD": f"b-17 {_SECRET}"}, job_env="BUILD")
    assert job.run_id == "b-17 https://<redacted>@h.example --password <redacted> <redacted>"
    raw = f"b-17 {_SECRET}"
    assert job.ids.job_span_id == Identity("other", "", "", raw, "", raw).job_span_id


def test_only_variables_of_the_table_are_read() -> None:
    class Recording(dict[str, str]):
        def get(self, key: str, default: object = None) -> str:
            asked.add(key)
            return super().get(key, str(default or ""))

    asked: set[str] = set()
    for provider in documented_providers():
        detect(Recording(environment(provider)))
    assert asked <= set(VARIABLES)
    assert "CI_REPOSITORY_URL" not in asked


def test_recognition_alone_tells_the_provider() -> None:
    provider = recognise({"TRAVIS": "true"})
    assert provider is not None
    assert provider.name == "travis"
