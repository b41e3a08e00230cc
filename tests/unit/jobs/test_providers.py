"""Each CI system's full environment becomes the job that its documentation describes."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable

import pytest

from exporter.jobs.detect import detect, recognise, step_of
from exporter.jobs.providers import PROVIDERS
from tests.unit.jobs.provider_environments import documented_providers, environment

_SHA = "9d59409acf479dfa0df1aa568182e43e43df8bbe"

_EXPECTED: dict[str, dict[str, str | None]] = {
    "github": {
        "run_id": "1234567890",
        "attempt": "1",
        "pipeline": "My test workflow",
        "task": "build",
        "task_run_id": "github_f681674d-e8eb-47f7-9fcb-0aee53e58da1",
        "run_url": "https://github.com/octocat/Hello-World/actions/runs/1234567890",
        "worker": "Hosted Agent",
        "repository": "octocat/Hello-World",
        "repository_url": "https://github.com/octocat/Hello-World",
        "revision": _SHA,
        "ref": "feature-branch-1",
        "ref_type": "branch",
    },
    "gitea": {
        "run_id": "512",
        "attempt": "1",
        "pipeline": "build.yaml",
        "task": "build",
        "run_url": "https://gitea.example/acme/app/actions/runs/41",
        "worker": "gitea-runner-1",
        "repository": "acme/app",
        "repository_url": "https://gitea.example/acme/app",
        "revision": _SHA,
        "ref": "main",
        "ref_type": "branch",
    },
    "forgejo": {
        "run_id": "77",
        "attempt": "2",
        "pipeline": "ci.yml",
        "task": "test",
        "run_url": "https://forgejo.example/alice/demo/actions/runs/9",
        "worker": "forgejo-runner",
        "repository": "alice/demo",
        "repository_url": "https://forgejo.example/alice/demo",
        "revision": _SHA,
        "ref": "topic",
        "ref_type": "branch",
    },
    "gitlab": {
        "run_id": "987",
        "pipeline": "group/app",
        "task": "spec: [ruby, 3.3]",
        "task_run_id": "4321",
        "run_url": "https://gitlab.example/group/app/-/pipelines/987",
        "worker": "my runner",
        "repository": "group/app",
        "repository_url": "https://gitlab.example/group/app",
        "revision": _SHA,
        "ref": "main",
        "ref_type": "branch",
    },
    "woodpecker": {
        "run_id": "8",
        "pipeline": "release",
        "task": "build package",
        "run_url": "https://ci.example/repos/7/pipeline/8",
        "repository": "john-doe/my-repo",
        "repository_url": "https://git.example/john-doe/my-repo",
        "revision": _SHA,
        "ref": "issue-branch",
        "ref_type": "branch",
    },
    "jenkins": {
        "run_id": "153",
        "pipeline": "foo/bar/PR-24",
        "task": "Integration tests",
        "task_run_id": "jenkins-foo-bar-PR-24-153",
        "run_url": "https://jenkins.example/jenkins/job/foo/job/bar/view/change-requests/job/PR-24/153/",
        "worker": "agent-7",
        "repository": "foo/bar",
        "repository_url": "https://git.example/foo/bar",
        "revision": _SHA,
        "ref": "topic",
        "ref_type": "branch",
    },
    "circleci": {
        "run_id": "d5c7444b-d4e3-4645-9a9a-df8d9b992315",
        "pipeline": "acme/app",
        "task": "build",
        "task_run_id": "fdcb397e-972e-40cd-9009-34a356764105",
        "run_url": "https://circleci.com/gh/acme/app/4",
        "repository": "acme/app",
        "repository_url": "ssh://github.com/acme/app",
        "revision": _SHA,
        "ref": "v1.2.0",
        "ref_type": "tag",
    },
    "buildkite": {
        "run_id": "4735ba57-80d0-46e2-8fa0-b28223a86586",
        "pipeline": "my-project",
        "task": ":hammer: Specs",
        "task_run_id": "e44f9784-e20e-4b93-a21d-f41fd5869db9",
        "run_url": "https://buildkite.com/acme-inc/my-project/builds/1514#e44f9784-e20e-4b93-a21d-f41fd5869db9",
        "worker": "elastic-builders-088264dc4f9",
        "repository": "acme-inc/my-project",
        "repository_url": "ssh://github.com/acme-inc/my-project",
        "revision": _SHA,
        "ref": "main",
        "ref_type": "branch",
    },
    "azure": {
        "run_id": "57",
        "attempt": "1",
        "pipeline": "fabrikam.nightly",
        "task": "Job",
        "task_run_id": "12f1170f-54f2-53f3-20dd-22fc7dff55f9",
        "run_url": "https://dev.azure.com/fabrikam/e0730109-da00-4000-8000-80abab2033a2/_build/results?buildId=57",
        "worker": "Azure Pipelines 2",
        "repository": "fabrikam/web",
        "repository_url": "https://dev.azure.com/fabrikam/web/_git/web",
        "revision": _SHA,
        "ref": "main",
        "ref_type": "branch",
    },
    "harness": {
        "run_id": "E5xTxHSpQKKGVjKh3mRpfA",
        "pipeline": "build_and_push",
        "task": "build/Run_1",
        "run_url": "https://app.harness.io/ng/#/account/a1/ci/orgs/default/projects/p1/pipelines/build/executions/"
        "E5x/pipeline",
        "repository": "octocat/hello-world",
        "repository_url": "https://github.com/octocat/hello-world",
        "revision": _SHA,
        "ref": "main",
        "ref_type": "branch",
    },
    "drone": {
        "run_id": "42",
        "pipeline": "octocat/hello-world",
        "task": "build/test",
        "run_url": "https://drone.example/octocat/hello-world/42",
        "worker": "runner-203-0-113-25.example",
        "repository": "octocat/hello-world",
        "repository_url": "https://git.example/octocat/hello-world",
        "revision": _SHA,
        "ref": "feature/develop",
        "ref_type": "branch",
    },
    "travis": {
        "run_id": "208715140",
        "pipeline": "acme/app",
        "task": "519.1",
        "task_run_id": "459962541",
        "run_url": "https://app.travis-ci.com/acme/app/builds/208715140",
        "repository": "acme/app",
        "revision": _SHA,
        "ref": "main",
        "ref_type": "branch",
    },
    "teamcity": {
        "run_id": "5",
        "pipeline": "Acme App",
        "task": "Build",
        "run_url": "https://teamcity.example/build/1234",
        "revision": _SHA,
    },
    "bitbucket": {
        "run_id": "{d32eeb5c-14fd-4162-845c-6897bdb4d2ce}",
        "attempt": "1",
        "pipeline": "acme/app",
        "task_run_id": "{19fb8a86-fad3-42a4-ab43-f9e150d7b3ab}",
        "run_url": "https://bitbucket.org/acme/app/pipelines/results/52",
        "repository": "acme/app",
        "repository_url": "http://bitbucket.org/acme/app",
        "revision": _SHA,
        "ref": "main",
        "ref_type": "branch",
    },
    "codebuild": {
        "run_id": "codebuild-demo-project:b1e6661e-e4f2-4156-9ab9-82a19EXAMPLE",
        "pipeline": "codebuild-demo-project",
        "task_run_id": "codebuild-demo-project:b1e6661e-e4f2-4156-9ab9-82a19EXAMPLE",
        "repository": "acme/app",
        "repository_url": "https://github.com/acme/app",
        "revision": _SHA,
        "ref": "test/pr-branch",
        "ref_type": "branch",
    },
    "argo": {
        "run_id": "build-x7k2p",
        "task": "compile",
        "task_run_id": "build-x7k2p-2453123412",
        "worker": "build-x7k2p-compile-2453123412",
    },
}


@pytest.mark.parametrize("provider", documented_providers())
def test_the_documented_environment_becomes_the_job(provider: str) -> None:
    job = dataclasses.asdict(detect(environment(provider)))
    del job["ids"], job["claims"], job["besides"], job["is_vouched"], job["is_partial"]
    told = {key: value for key, value in job.items() if value}
    assert told == {"provider": provider, **_EXPECTED[provider]}


_STEPS = {"github": "__run", "gitea": "0", "forgejo": "1"}


@pytest.mark.parametrize("provider", documented_providers())
def test_the_step_is_told_where_it_has_a_name_of_its_own(provider: str) -> None:
    assert step_of(environment(provider)) == _STEPS.get(provider)


@pytest.mark.parametrize("provider", _STEPS)
def test_steps_of_a_job_are_of_the_same_job(provider: str) -> None:
    told = environment(provider)
    assert detect({**told, "GITHUB_ACTION": "another"}) == detect(told)


def test_a_step_is_told_without_controls_and_secrets() -> None:
    token = "ghp_" + "a1B2" * 9
    hostile = {**environment("github"), "GITHUB_ACTION": f"\x1b[31m__run\n --token={token}"}
    told = step_of(hostile)
    assert told is not None
    assert told.isprintable()
    assert token not in told


def test_of_a_job_that_a_variable_names_no_step_is_known() -> None:
    assert step_of({**environment("github"), "BUILD": "1"}, job_env="BUILD") is None


def test_every_provider_is_documented() -> None:
    assert sorted(provider.name for provider in PROVIDERS) == documented_providers()


@pytest.mark.parametrize("provider", documented_providers())
def test_no_credential_of_the_environment_reaches_the_job(provider: str) -> None:
    assert "hidden-credential" not in repr(detect(environment(provider)))


@pytest.mark.parametrize(
    ("present", "expected"),
    [
        (("forgejo", "gitea", "github"), "forgejo"),
        (("gitea", "github"), "gitea"),
        (("github", "codebuild"), "github"),
        (("gitlab", "jenkins"), "gitlab"),
        (("woodpecker", "drone"), "woodpecker"),
        (("harness", "drone"), "harness"),
    ],
)
def test_the_more_particular_of_two_systems_is_recognised(present: tuple[str, ...], expected: str) -> None:
    together: dict[str, str] = {}
    for name in reversed(present):
        together |= environment(name)
    recognised = recognise(together)
    assert recognised is not None
    assert recognised.name == expected


def test_the_order_of_detection_is_the_documented_one() -> None:
    assert " ".join(provider.name for provider in PROVIDERS) == (
        "forgejo gitea github gitlab woodpecker jenkins circleci buildkite azure harness drone travis"
        " teamcity bitbucket codebuild argo"
    )


@pytest.mark.parametrize(
    "near_miss",
    [
        {"GITHUB_ACTIONS": "false"},
        {"CI": "true"},
        {"JENKINS_URL": "https://jenkins.example/"},
        {"BUILD_ID": "1"},
        {"GITLAB_CI": ""},
    ],
)
def test_a_mark_that_is_incomplete_is_none(near_miss: dict[str, str]) -> None:
    assert recognise(near_miss) is None


_Change = Callable[[dict[str, str]], dict[str, str]]


def _with(**changed: str) -> _Change:
    return lambda environ: environ | changed


@pytest.mark.parametrize(
    ("provider", "change"),
    [
        ("github", _with(RUNNER_TRACKING_ID="github_another-leg")),
        ("gitea", _with(RUNNER_NAME="gitea-runner-2")),
        ("gitlab", _with(CI_JOB_ID="4322")),
        ("woodpecker", _with(CI_WORKFLOW_NAME="lint")),
        ("woodpecker", _with(CI_WORKFLOW_NUMBER="2")),
        ("jenkins", _with(STAGE_NAME="Unit tests")),
        ("jenkins", _with(EXECUTOR_NUMBER="2")),
        ("circleci", _with(CIRCLE_NODE_INDEX="0")),
        ("buildkite", _with(BUILDKITE_JOB_ID="another")),
        ("azure", _with(SYSTEM_JOBID="another")),
        ("harness", _with(HARNESS_STEP_ID="Run_2")),
        ("drone", _with(DRONE_STAGE_NAME="deploy")),
        ("travis", _with(TRAVIS_JOB_ID="459962542")),
        ("bitbucket", _with(BITBUCKET_STEP_UUID="{another}")),
        ("argo", _with(ARGO_NODE_ID="build-x7k2p-99")),
    ],
)
def test_jobs_of_one_run_share_the_trace_and_not_the_span(provider: str, change: _Change) -> None:
    one, other = (detect(environ).ids for environ in (environment(provider), change(environment(provider))))
    assert one.trace_id == other.trace_id
    assert one.job_span_id != other.job_span_id


@pytest.mark.parametrize(
    ("provider", "change"),
    [
        ("github", _with(GITHUB_RUN_ATTEMPT="2")),
        ("gitea", _with(GITHUB_SERVER_URL="https://other.example")),
        ("gitlab", _with(CI_SERVER_URL="https://other.example")),
        ("woodpecker", _with(CI_REPO="john-doe/other")),
        ("jenkins", _with(JOB_NAME="foo/other/PR-24")),
        ("jenkins", _with(JENKINS_URL="https://other.example/")),
        ("azure", _with(SYSTEM_JOBATTEMPT="2")),
        ("drone", _with(DRONE_REPO="octocat/other")),
        ("drone", _with(DRONE_BUILD_LINK="https://other.example/octocat/hello-world/42")),
        ("teamcity", _with(TEAMCITY_BUILDCONF_NAME="Deploy")),
        ("bitbucket", _with(BITBUCKET_STEP_RUN_NUMBER="2")),
    ],
)
def test_runs_of_one_number_elsewhere_have_traces_of_their_own(provider: str, change: _Change) -> None:
    assert detect(environment(provider)).ids.trace_id != detect(change(environment(provider))).ids.trace_id
