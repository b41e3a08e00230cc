"""CI systems as data: to support another one, add a row to `PROVIDERS`; CONTRIBUTING.md says what else.

Only the variables named in this table are ever read from a job's environment (with TRACEPARENT, TRACESTATE
and the one that `--job-env` names). GitLab's `CI_REPOSITORY_URL` stays out: the job's token is part of it.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

from .sources import Part, Source, variables


@dataclass(frozen=True)
class Provider:
    """The variables in which one CI system has each field of a job. An empty field has no variable."""

    name: str
    """`Job.provider`, and the first field of the ids: it never changes."""
    present: tuple[str, ...]
    """The marks of the system: variables that must be set, or `NAME=value`. All must be there.

    The first is a variable that no other program sets; its name has 26 characters at most.
    """
    run_id: Source
    project: Source
    """The scope in which `run_id` is unique on its server: repository or pipeline. Only for the ids."""
    server: Source = ()
    """URL of the server, for the ids; where it is missing, the origin of `run_url` is used."""
    attempt: Source = ()
    task: Source = ()
    task_run_id: Source = ()
    siblings: tuple[Source, ...] = ()
    """Variables that tell jobs of one run apart where the task's run id or name doesn't. Only for the ids."""
    step: Source = ()
    """The name of the step, where it isn't the task's; each root of the job may have another one."""
    pipeline: Source = ()
    repository: Source = ()
    """Path of the repository; where it is missing, the path of `repository_url` is used."""
    repository_url: Source = ()
    revision: Source = ()
    tag: Source = ()
    """Name of the tag that is built; wins over `branch`."""
    branch: Source = ()
    """Name of the branch; for a pull request, of the one that it would merge. Wins over `ref`."""
    ref: Source = ()
    """Name of the branch or tag, where its kind isn't known or is part of the name (`refs/tags/v1`)."""
    run_url: Source = ()
    worker: Source = ()
    place: str = ""
    """The form of a project in keys of a policy's `jobs`; with a slash in it, the server comes first."""
    keyed: Source = ()
    """The project as keys of a policy's `jobs` name it, where `project` isn't its whole path."""
    protected: Source = ()
    """`true` or `false`: whether the branch or tag is protected."""
    agents: tuple[str, ...] = ()
    """Executables of the agent, if it sets server, project and `protected` last, so that no author can."""
    beside: tuple[str, ...] = ()
    """Other systems whose marks jobs of this one may carry, too, without contradicting themselves."""
    check_run_id: Source = ()
    """The id of the check run. Set where the Collector's `githubreceiver` may publish the run's trace, whose
    ids are then used."""


_GITHUB = Provider(
    name="github",
    present=("GITHUB_ACTIONS=true",),
    run_id="$GITHUB_RUN_ID",
    project="$GITHUB_REPOSITORY",
    server="$GITHUB_SERVER_URL",
    attempt="$GITHUB_RUN_ATTEMPT",
    task="$GITHUB_JOB",
    # GITHUB_JOB is the key in the YAML file, which all legs of a matrix share.
    task_run_id=("$CI_EGRESS_CHECK_RUN_ID", "$RUNNER_TRACKING_ID"),
    step="$GITHUB_ACTION",
    pipeline="$GITHUB_WORKFLOW",
    repository="$GITHUB_REPOSITORY",
    repository_url="$GITHUB_SERVER_URL/$GITHUB_REPOSITORY",
    revision="$GITHUB_SHA",
    branch="$GITHUB_HEAD_REF",
    ref=("$GITHUB_REF", "$GITHUB_REF_NAME"),
    run_url="$GITHUB_SERVER_URL/$GITHUB_REPOSITORY/actions/runs/$GITHUB_RUN_ID",
    worker="$RUNNER_NAME",
    place="SERVER/OWNER/REPOSITORY",
    protected="$GITHUB_REF_PROTECTED",
    # Each step gets GITHUB_* from the `github` context, after `env` and GITHUB_ENV (Handlers/ScriptHandler.cs
    # in actions/runner), and GITHUB_ACTIONS behind that (ProcessInvoker.cs).
    agents=("Runner.Worker",),
    # GitHub's runner can run in CodeBuild.
    beside=("codebuild",),
    check_run_id="$CI_EGRESS_CHECK_RUN_ID",
)

# Run ids of Gitea are small numbers that every server counts for itself: GitHub's formula, which knows no
# server, would put runs of two servers into one trace, and no receiver publishes that trace.
_GITEA = replace(
    _GITHUB,
    name="gitea",
    present=("GITEA_ACTIONS",),
    task_run_id=(),
    siblings=("$RUNNER_NAME",),
    # The web address counts runs per repository, GITHUB_RUN_ID counts them per server.
    run_url="$GITHUB_SERVER_URL/$GITHUB_REPOSITORY/actions/runs/$GITHUB_RUN_NUMBER",
    # Its runner merges a step's own `env` last (pkg/runner/step.go in nektos/act).
    agents=(),
    beside=("github",),
    check_run_id=(),
)

PROVIDERS: tuple[Provider, ...] = (
    replace(_GITEA, name="forgejo", present=("FORGEJO_ACTIONS",), beside=("gitea", "github")),
    _GITEA,
    _GITHUB,
    Provider(
        name="gitlab",
        present=("GITLAB_CI",),
        run_id="$CI_PIPELINE_ID",
        project="$CI_PROJECT_PATH",
        server="$CI_SERVER_URL",
        task="$CI_JOB_NAME",
        task_run_id="$CI_JOB_ID",
        pipeline=("$CI_PIPELINE_NAME", "$CI_PROJECT_PATH"),
        repository="$CI_PROJECT_PATH",
        repository_url="$CI_PROJECT_URL",
        revision="$CI_COMMIT_SHA",
        tag="$CI_COMMIT_TAG",
        branch=("$CI_MERGE_REQUEST_SOURCE_BRANCH_NAME", "$CI_COMMIT_BRANCH"),
        ref="$CI_COMMIT_REF_NAME",
        run_url="$CI_PIPELINE_URL",
        worker=("$CI_RUNNER_DESCRIPTION", "$CI_RUNNER_ID"),
        place="SERVER/GROUP/PROJECT",
        protected="$CI_COMMIT_REF_PROTECTED",
        # Variables of .gitlab-ci.yml go before predefined ones, so that an author can change any of these.
    ),
    Provider(
        name="woodpecker",
        present=("CI_SYSTEM_NAME",),  # not CI=woodpecker, which a step's `environment` may override
        run_id="$CI_PIPELINE_NUMBER",
        project="$CI_REPO",
        server="$CI_SYSTEM_URL",
        task="$CI_STEP_NAME",
        siblings=("$CI_WORKFLOW_NAME", "$CI_WORKFLOW_NUMBER", "$CI_STEP_NUMBER"),
        pipeline="$CI_WORKFLOW_NAME",
        repository="$CI_REPO",
        repository_url="$CI_REPO_URL",
        revision="$CI_COMMIT_SHA",
        tag="$CI_COMMIT_TAG",
        branch=("$CI_COMMIT_SOURCE_BRANCH", "$CI_COMMIT_BRANCH"),
        run_url="$CI_PIPELINE_URL",
        place="SERVER/OWNER/REPOSITORY",
        beside=("drone",),
    ),
    Provider(
        name="jenkins",
        present=("JENKINS_URL", "BUILD_ID"),
        run_id="$BUILD_NUMBER",
        project="$JOB_NAME",
        server="$JENKINS_URL",
        task=("$STAGE_NAME", "$JOB_BASE_NAME"),
        task_run_id="$BUILD_TAG",
        # Stages of one build share the tag; parallel stages of one name sit on different executors.
        siblings=("$STAGE_NAME", "$NODE_NAME", "$EXECUTOR_NUMBER"),
        pipeline="$JOB_NAME",
        repository_url="$GIT_URL",
        revision="$GIT_COMMIT",
        tag="$TAG_NAME",
        branch=("$CHANGE_BRANCH", "$BRANCH_NAME", "$GIT_BRANCH"),
        run_url="$BUILD_URL",
        worker="$NODE_NAME",
        place="SERVER/JOB",
    ),
    Provider(
        name="circleci",
        present=("CIRCLECI",),
        run_id="$CIRCLE_WORKFLOW_ID",
        project="$CIRCLE_PROJECT_USERNAME/$CIRCLE_PROJECT_REPONAME",
        task="$CIRCLE_JOB",
        task_run_id=("$CIRCLE_WORKFLOW_JOB_ID", "$CIRCLE_BUILD_NUM"),
        # With `parallelism` several machines run one job.
        siblings=("$CIRCLE_NODE_INDEX",),
        pipeline="$CIRCLE_PROJECT_USERNAME/$CIRCLE_PROJECT_REPONAME",
        repository="$CIRCLE_PROJECT_USERNAME/$CIRCLE_PROJECT_REPONAME",
        repository_url="$CIRCLE_REPOSITORY_URL",
        revision="$CIRCLE_SHA1",
        tag="$CIRCLE_TAG",
        branch="$CIRCLE_BRANCH",
        run_url="$CIRCLE_BUILD_URL",
        place="SERVER/OWNER/REPOSITORY",
    ),
    Provider(
        name="buildkite",
        present=("BUILDKITE",),
        run_id="$BUILDKITE_BUILD_ID",
        project="$BUILDKITE_PIPELINE_SLUG",
        task=("$BUILDKITE_LABEL", "$BUILDKITE_STEP_KEY"),
        task_run_id="$BUILDKITE_JOB_ID",
        pipeline="$BUILDKITE_PIPELINE_SLUG",
        repository_url="$BUILDKITE_REPO",
        revision="$BUILDKITE_COMMIT",
        tag="$BUILDKITE_TAG",
        branch="$BUILDKITE_BRANCH",
        run_url=("$BUILDKITE_BUILD_URL#$BUILDKITE_JOB_ID", "$BUILDKITE_BUILD_URL"),
        worker="$BUILDKITE_AGENT_NAME",
        place="SERVER/ORGANIZATION/PIPELINE",
        keyed="$BUILDKITE_ORGANIZATION_SLUG/$BUILDKITE_PIPELINE_SLUG",
        # Its own variables are merged over those of pipelines, builds and steps.
        agents=("buildkite-agent",),
    ),
    Provider(
        name="azure",
        present=("TF_BUILD",),
        run_id="$BUILD_BUILDID",
        project=("$BUILD_REPOSITORY_NAME", "$BUILD_DEFINITIONNAME"),
        server="$SYSTEM_TEAMFOUNDATIONSERVERURI",
        # The id of a job is the same at each attempt.
        attempt="$SYSTEM_JOBATTEMPT",
        task="$SYSTEM_JOBDISPLAYNAME",
        task_run_id="$SYSTEM_JOBID",
        pipeline="$BUILD_DEFINITIONNAME",
        repository="$BUILD_REPOSITORY_NAME",
        repository_url="$BUILD_REPOSITORY_URI",
        revision="$BUILD_SOURCEVERSION",
        branch="$SYSTEM_PULLREQUEST_SOURCEBRANCH",
        ref="$BUILD_SOURCEBRANCH",
        run_url="$SYSTEM_TEAMFOUNDATIONSERVERURI$SYSTEM_TEAMPROJECTID/_build/results?buildId=$BUILD_BUILDID",
        worker="$AGENT_NAME",
        place="SERVER/ORGANIZATION/REPOSITORY",
    ),
    Provider(
        name="harness",
        present=("HARNESS_BUILD_ID",),
        run_id="$HARNESS_EXECUTION_ID",
        project="$HARNESS_PIPELINE_ID",
        task=("$HARNESS_STAGE_ID/$HARNESS_STEP_ID", "$HARNESS_STAGE_ID", "$HARNESS_STEP_ID"),
        pipeline="$HARNESS_PIPELINE_ID",
        repository="$DRONE_REPO",
        repository_url="$DRONE_REPO_LINK",
        revision="$DRONE_COMMIT_SHA",
        tag="$DRONE_TAG",
        branch=("$DRONE_SOURCE_BRANCH", "$DRONE_COMMIT_BRANCH"),
        run_url="$DRONE_BUILD_LINK",
        worker="$DRONE_STAGE_MACHINE",
        place="SERVER/PIPELINE",
        beside=("drone",),
    ),
    Provider(
        name="drone",
        present=("DRONE",),
        run_id="$DRONE_BUILD_NUMBER",
        project="$DRONE_REPO",
        task=("$DRONE_STAGE_NAME/$DRONE_STEP_NAME", "$DRONE_STAGE_NAME", "$DRONE_STEP_NAME"),
        pipeline="$DRONE_REPO",
        repository="$DRONE_REPO",
        repository_url=("$DRONE_REPO_LINK", "$DRONE_GIT_HTTP_URL"),
        revision="$DRONE_COMMIT_SHA",
        tag="$DRONE_TAG",
        branch=("$DRONE_SOURCE_BRANCH", "$DRONE_COMMIT_BRANCH"),
        run_url="$DRONE_BUILD_LINK",
        worker="$DRONE_STAGE_MACHINE",
        place="SERVER/OWNER/REPOSITORY",
    ),
    Provider(
        name="travis",
        present=("TRAVIS",),
        run_id="$TRAVIS_BUILD_ID",
        project="$TRAVIS_REPO_SLUG",
        task=("$TRAVIS_JOB_NAME", "$TRAVIS_JOB_NUMBER"),
        task_run_id="$TRAVIS_JOB_ID",
        pipeline="$TRAVIS_REPO_SLUG",
        repository="$TRAVIS_REPO_SLUG",
        revision="$TRAVIS_COMMIT",
        tag="$TRAVIS_TAG",
        branch=("$TRAVIS_PULL_REQUEST_BRANCH", "$TRAVIS_BRANCH"),
        run_url=("$TRAVIS_BUILD_WEB_URL", "$TRAVIS_JOB_WEB_URL"),
        place="SERVER/OWNER/REPOSITORY",
    ),
    Provider(
        name="teamcity",
        present=("TEAMCITY_VERSION",),
        run_id="$BUILD_NUMBER",
        project="$TEAMCITY_PROJECT_NAME/$TEAMCITY_BUILDCONF_NAME",
        task="$TEAMCITY_BUILDCONF_NAME",
        pipeline="$TEAMCITY_PROJECT_NAME",
        revision="$BUILD_VCS_NUMBER",
        run_url="$BUILD_URL",
        place="SERVER/PROJECT/CONFIGURATION",
    ),
    Provider(
        name="bitbucket",
        present=("BITBUCKET_BUILD_NUMBER",),
        run_id=("$BITBUCKET_PIPELINE_UUID", "$BITBUCKET_BUILD_NUMBER"),
        project="$BITBUCKET_REPO_FULL_NAME",
        # A step that is run again keeps its id.
        attempt="$BITBUCKET_STEP_RUN_NUMBER",
        task_run_id="$BITBUCKET_STEP_UUID",
        pipeline="$BITBUCKET_REPO_FULL_NAME",
        repository="$BITBUCKET_REPO_FULL_NAME",
        repository_url="$BITBUCKET_GIT_HTTP_ORIGIN",
        revision="$BITBUCKET_COMMIT",
        tag="$BITBUCKET_TAG",
        branch="$BITBUCKET_BRANCH",
        run_url="https://bitbucket.org/$BITBUCKET_REPO_FULL_NAME/pipelines/results/$BITBUCKET_BUILD_NUMBER",
        place="SERVER/OWNER/REPOSITORY",
    ),
    Provider(
        name="codebuild",
        present=("CODEBUILD_BUILD_ARN",),
        # `project:uuid`
        run_id="$CODEBUILD_BUILD_ID",
        project=Part("CODEBUILD_BUILD_ID", r"([^:]+):"),
        task_run_id="$CODEBUILD_BUILD_ID",
        pipeline=Part("CODEBUILD_BUILD_ID", r"([^:]+):"),
        repository_url="$CODEBUILD_SOURCE_REPO_URL",
        revision="$CODEBUILD_RESOLVED_SOURCE_VERSION",
        ref="$CODEBUILD_WEBHOOK_HEAD_REF",
        run_url="$CODEBUILD_PUBLIC_BUILD_URL",
        place="PROJECT",
    ),
    Provider(
        name="argo",
        present=("ARGO_NODE_ID",),
        # The executor's containers know the workflow; in the step's own it is the node's id without its hash.
        run_id=("$ARGO_WORKFLOW_NAME", Part("ARGO_NODE_ID", r"(.+)-\d+$"), "$ARGO_NODE_ID"),
        project=(),
        task=Part("ARGO_TEMPLATE", r'\{"name":"([^"\\]+)"'),
        task_run_id="$ARGO_NODE_ID",
        worker="$ARGO_POD_NAME",
    ),
)
"""The CI systems in the order of detection, since later ones share variables with earlier ones."""
VARIABLES = frozenset(
    name.partition("=")[0]
    for provider in PROVIDERS
    for names in (provider.present, *map(variables, vars(provider).values()))
    for name in names
)
"""All variables that are read: the marks of systems, and those that describe a job."""
