"""Variables of a job, those that a build script pretends, and values of TRACEPARENT."""

from __future__ import annotations

GITLAB = {
    "GITLAB_CI": "true",
    "CI_SERVER_URL": "https://gitlab.example",
    "CI_PROJECT_PATH": "group/app",
    "CI_PIPELINE_ID": "987",
    "CI_JOB_ID": "4321",
    "CI_JOB_NAME": "build",
}
PRETENDED = {
    **GITLAB,
    "CI_PROJECT_PATH": "someone/else",
    "CI_PIPELINE_ID": "1",
    "CI_JOB_ID": "2",
    "CI_JOB_NAME": "innocent",
    "GITHUB_ACTIONS": "true",
    "GITHUB_RUN_ID": "77",
    "OTEL_SDK_DISABLED": "true",
    "OTEL_RESOURCE_ATTRIBUTES": "service.name=innocent",
}
TRACEPARENTS = ["00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01", "00-zz-zz-zz", "", "\x1b[31m"]
