"""The job of the sample pipeline, started as a runner would: in a workspace, with a CI system's variables."""

from __future__ import annotations

import shutil
import sys
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING, NamedTuple

from demo.names import JOB_TOKEN, PIPELINE
from demo.paths import made_reachable

if TYPE_CHECKING:
    from collections.abc import Mapping

    from demo.network import Build

CI_EGRESS = Path(sys.executable).with_name("ci-egress")
COMMAND = "./ci.sh"


class Run(NamedTuple):
    """The ids of one run of the pipeline."""

    pipeline_id: int
    job_id: int


FIRST_RUN = Run(1207, 4811)


def environment(run: Run) -> dict[str, str]:
    """Return the variables that GitLab's runner gives a job, and none of this machine's environment."""
    return {
        "PATH": "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin",
        "HOME": "/root",
        "LANG": "C.UTF-8",
        "CI": "true",
        "GITLAB_CI": "true",
        "CI_SERVER_URL": "https://gitlab.example",
        "CI_PROJECT_PATH": "shop/checkout",
        "CI_PROJECT_URL": "https://gitlab.example/shop/checkout",
        "CI_PIPELINE_ID": str(run.pipeline_id),
        "CI_PIPELINE_NAME": "release",
        "CI_PIPELINE_URL": f"https://gitlab.example/shop/checkout/-/pipelines/{run.pipeline_id}",
        "CI_JOB_ID": str(run.job_id),
        "CI_JOB_NAME": "build",
        "CI_JOB_STAGE": "build",
        "CI_JOB_TOKEN": JOB_TOKEN,
        "CI_COMMIT_SHA": "5f0c3bd8e1a94c7f9d2b6a0e4c8d1f3a7b9e2c60",
        "CI_COMMIT_REF_NAME": "main",
        "CI_COMMIT_BRANCH": "main",
        "CI_RUNNER_ID": "7",
        "CI_RUNNER_DESCRIPTION": "runner-7.example",
    }


def trace_job(
    build: Build,
    scratch: Path,
    *options: str | Path,
    run: Run = FIRST_RUN,
    settings: Mapping[str, str] = MappingProxyType({}),
) -> int:
    """Run the job under `ci-egress run` with these options, in a new workspace below `scratch`.

    Paths among the options may be relative to this directory. `settings` are variables for ci-egress, beside
    the job's own. Returns the exit status.
    """
    workspace = scratch / "workspace"
    workspace.mkdir()
    shutil.copy(PIPELINE / "ci.sh", workspace)
    typed = (made_reachable(each, workspace) if isinstance(each, Path) else each for each in options)
    command = [str(CI_EGRESS), "run", *typed, "--", COMMAND]
    return build.run(command, directory=workspace, environment={**environment(run), **settings})
