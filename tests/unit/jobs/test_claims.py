"""Who a job says it is, by its environment; and what of that nobody but its agent can have said."""

from __future__ import annotations

import pytest

from exporter.jobs.claims import Claim
from exporter.jobs.detect import detect
from exporter.jobs.providers import PROVIDERS
from exporter.policy.model import Mode
from exporter.policy.parse import parse_policy
from exporter.policy.sections import effective, withheld
from tests.unit.jobs.provider_environments import documented_providers, environment

PROJECTS = {
    "argo": None,
    "azure": "dev.azure.com/fabrikam/fabrikam/web",
    "bitbucket": "bitbucket.org/acme/app",
    "buildkite": "buildkite.com/acme-inc/my-project",
    "circleci": "circleci.com/acme/app",
    "codebuild": "codebuild-demo-project",
    "drone": "drone.example/octocat/hello-world",
    "forgejo": "forgejo.example/alice/demo",
    "gitea": "gitea.example/acme/app",
    "github": "github.com/octocat/Hello-World",
    "gitlab": "gitlab.example/group/app",
    "harness": "app.harness.io/build_and_push",
    "jenkins": "jenkins.example/jenkins/foo/bar/PR-24",
    "teamcity": "teamcity.example/Acme App/Build",
    "travis": "app.travis-ci.com/acme/app",
    "woodpecker": "ci.example/john-doe/my-repo",
}


@pytest.mark.parametrize("provider", documented_providers())
def test_the_documented_environment_claims_one_project_of_one_system(provider: str) -> None:
    job = detect(environment(provider))
    protected = True if provider in {"github", "gitlab"} else None
    assert job.claims == (Claim(provider, PROJECTS[provider], job.pipeline, job.task, protected),)
    (row,) = [each for each in PROVIDERS if each.name == provider]
    project = job.claims[0].project or ""
    assert row.place.count("/") <= project.count("/")


@pytest.mark.parametrize(
    ("told", "expected"), [("true", True), ("false", False), ("", None), ("True", None), ("yes", None)]
)
def test_whether_a_branch_is_protected_is_known_where_it_is_told(told: str, expected: bool | None) -> None:
    assert detect(environment("github") | {"GITHUB_REF_PROTECTED": told}).claims[0].is_protected is expected


def test_only_systems_whose_agents_let_no_author_change_it_vouch_for_a_project() -> None:
    vouching = {name for name in documented_providers() if detect(environment(name)).is_vouched}
    assert vouching == {"github", "buildkite"}


@pytest.mark.parametrize(
    ("environ", "claimed"),
    [
        (environment("gitlab") | environment("github"), ["github", "gitlab"]),
        (environment("gitlab") | {"GITHUB_ACTIONS": "true"}, ["github", "gitlab"]),
        (environment("gitlab") | environment("github") | {"GITLAB_CI": ""}, ["github", "gitlab"]),
        (environment("gitea") | {"GITEA_ACTIONS": ""}, ["github", "gitea"]),
        (environment("github") | {"JENKINS_URL": "", "BUILD_ID": ""}, ["github", "jenkins"]),
        (environment("gitlab") | {"GITHUB_ACTIONS": "false"}, ["gitlab"]),
        (environment("github") | {"CI_SYSTEM_NAME": "woodpecker"}, ["github", "woodpecker"]),
        (environment("gitlab") | {"GITHUB_ACTIONS": ""}, ["gitlab", "github"]),
        (environment("github") | environment("codebuild"), ["github"]),
        (environment("drone") | environment("harness"), ["harness"]),
        (environment("github") | environment("gitea") | environment("forgejo"), ["forgejo"]),
    ],
)
def test_marks_of_two_systems_are_a_contradiction_also_where_one_is_blanked(
    environ: dict[str, str], claimed: list[str]
) -> None:
    job = detect(environ)
    assert [claim.provider for claim in job.claims] == claimed
    assert job.who.is_contradictory == (len(claimed) > 1)


@pytest.mark.parametrize(
    "raw",
    ["octo/app\x01", "octo/\u202eapp", " octo/app", "octo/app ", "octo/app" + "x" * 2000, "octo/\udc80"],
)
def test_a_project_that_is_not_told_letter_by_letter_is_none(raw: str) -> None:
    assert detect(environment("github") | {"GITHUB_REPOSITORY": raw}).claims[0].project is None


@pytest.mark.parametrize(
    ("url", "project"),
    [
        ("https://GitLab.Example:8443/", "gitlab.example:8443/group/app"),
        ("https://user:secret@gitlab.example/Sub", "gitlab.example/Sub/group/app"),
        ("javascript:alert(1)", "gitlab.example/group/app"),
    ],
)
def test_the_server_comes_first_without_scheme_and_credentials(url: str, project: str) -> None:
    assert detect(environment("gitlab") | {"CI_SERVER_URL": url}).claims[0].project == project


def test_without_a_server_no_project_is_known() -> None:
    environ = environment("github") | {"GITHUB_SERVER_URL": ""}
    assert detect(environ).claims[0].project is None


def test_a_job_of_no_system_has_no_names() -> None:
    assert detect({}).claims == (Claim("run", None, None, None),)
    assert detect({"BUILD": "1"}, job_env="BUILD").claims == (Claim("other", None, None, None),)


def test_a_job_named_by_a_variable_stays_what_it_is_and_nobody_vouches_for_it() -> None:
    """Any job may set the variable."""
    environ = environment("github")
    named, plain = detect(environ | {"BUILD": "1"}, job_env="BUILD"), detect(environ)
    assert (named.claims, named.is_vouched) == (plain.claims, False)


def test_a_job_is_held_to_what_is_denied_to_the_system_whose_marks_it_has_beside_its_own() -> None:
    """A job of GitHub's can set GITEA_ACTIONS; one of Gitea's has GITHUB_ACTIONS anyway."""
    section = "{mode: enforce, deny: [registry.example], allow: [cdn.example], trust_names: true}"
    text = f"version: 1\nmode: audit\njobs: {{'github:github.com/octocat/*:*': {section}}}\n"
    policy = parse_policy(text.encode(), "p")
    who = detect(environment("github") | {"GITEA_ACTIONS": "1"}).who
    assert [claim.provider for claim in (*who.claims, *who.besides)] == ["gitea", "github"]
    held = effective(policy, who)
    assert (held.mode, [rule.text for rule in held.rules]) == (Mode.ENFORCE, ["registry.example"])
    assert list(withheld(policy, who)) == []
    assert who.digest != who._replace(besides=()).digest
