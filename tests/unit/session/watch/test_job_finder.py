"""Which jobs there are on a host, what belongs to them, and how long they last."""

from __future__ import annotations

import errno
from dataclasses import replace
from itertools import count
from pathlib import Path
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from exporter.events.facts import HOST, Act, Environment, Forked, Found, Outcome, ProcessKey
from exporter.events.programs import DEPTH_MAX
from exporter.events.wire import STANDING_MARKED, STANDING_STEP
from exporter.jobs.detect import detect
from exporter.session.watch.agents import agent_named, number_of
from exporter.session.watch.job_finder import HOST_TRACE_S
from exporter.session.watch.jobs_by_scope import JOBS_MAX, SCOPES_MAX, WITHOUT_ROOM
from exporter.session.watch.tenants import KEPT
from exporter.session.watch.watched_job import IDLE_S, QUIET_S, SETTLE_S
from tests.unit.jobs.provider_environments import documented_providers, environment
from tests.unit.records import AGGREGATE
from tests.unit.samples import CLOCK
from tests.unit.watched_host import (
    ADOPTED,
    AGENT,
    BARE,
    SECOND,
    Host,
    NoPolicyHolder,
    adopts,
    block,
    gitlab,
    job_spans,
    leaves,
    watched,
)

if TYPE_CHECKING:
    from collections.abc import Mapping

    from exporter.jobs.model import Job

IDS = detect(gitlab()).ids
TRACE, SPAN = f"{IDS.trace_id:032x}", f"{IDS.job_span_id:016x}"
"""By the formula that everybody computes."""


@pytest.mark.parametrize("provider", documented_providers())
def test_a_process_with_a_jobs_variables_is_its_root(provider: str, tmp_path: Path) -> None:
    with watched(tmp_path) as host:
        host.connects(host.starts(environment(provider)))
        account = host.stops()
    (job,), (leaf,) = job_spans(host.spans()), leaves(host.spans())
    assert leaf["traceId"] == job["traceId"]
    assert leaf["attributes"]["egress.attribution"] == "environment"
    assert [one.provider for one in host.began] == [provider]
    assert str(account) == "attempts 1 = exported 1 + aggregated 0 + dropped 0 + pending 0"


def test_the_ids_are_those_that_everybody_computes(tmp_path: Path) -> None:
    with watched(tmp_path) as host:
        host.starts(gitlab())
        host.stops()
    (job,) = job_spans(host.spans())
    assert (job["traceId"], job["spanId"]) == (TRACE, SPAN)


def test_what_is_open_when_a_job_ends_is_counted_in_the_job(tmp_path: Path) -> None:
    with watched(tmp_path) as host:
        step = host.starts(gitlab())
        scope = host.pipeline.table.of(step).scope  # type: ignore[union-attr]
        counted = AGGREGATE._replace(process=step, scope=scope, act=Act.CONNECT, outcome=Outcome.OPEN)
        host.open.append(counted)
        host.ends(step)
        host.waits(QUIET_S + SETTLE_S + 1)
        ((_, summary),) = host.ended
        assert summary.totals() == (1, counted.attempts)
        host.stops()
    (job,), (leaf,) = job_spans(host.spans()), leaves(host.spans())
    assert (leaf["traceId"], leaf["attributes"]["egress.outcome"]) == (job["traceId"], "open")


def test_steps_of_a_job_are_one_trace_under_one_span(tmp_path: Path) -> None:
    with watched(tmp_path) as host:
        for name in ("checkout", "test", "upload"):
            step = host.starts(gitlab(), name=name)
            host.connects(host.starts(gitlab(), step, "curl", exec_id=1))
            host.ends(step)
            host.waits(5)
        host.stops()
    (job,) = job_spans(host.spans())
    assert {leaf["traceId"] for leaf in leaves(host.spans())} == {job["traceId"]}
    lineages = [leaf["attributes"]["egress.lineage"] for leaf in leaves(host.spans())]
    assert lineages == [["checkout", "curl"], ["test", "curl"], ["upload", "curl"]]
    tops = [span["name"] for span in host.spans() if span.get("parentSpanId") == job["spanId"]]
    assert sorted(tops) == ["checkout", "test", "upload"]


def test_a_root_is_decided_by_its_environment_alone_and_told_when_its_turn_comes(tmp_path: Path) -> None:
    with watched(tmp_path) as host:
        process, at_ns = ProcessKey(1000, host.now_ns + 1000), host.now_ns + 3000
        early = Environment(at_ns, process, 1, block(gitlab()), is_cut=False, parent=AGENT)
        scope = host.jobs.decide(early)
        other = early._replace(process=ProcessKey(999, 7), block=block(BARE))
        assert (scope, host.jobs.decide(other), host.jobs.decide(early._replace(parent=None))) == (2, 0, None)
        assert host.began == []
        host.jobs.look_around(host.now_ns + 59 * SECOND)
        host.jobs.end_some(host.now_ns + 59 * SECOND)
        assert not host.ended  # what it did is still to come
        host.connects(host.starts(gitlab(), name="first"))
        assert [job.display_name for job in host.began] == ["build"]
        host.connects(host.starts(gitlab(), name="second"))
        host.stops()
    (job,) = job_spans(host.spans())
    roots = [span for span in host.spans() if span.get("parentSpanId") == job["spanId"]]
    assert sorted(span["name"] for span in roots) == ["first", "second"]
    assert min(int(span["startTimeUnixNano"]) for span in roots) == int(job["startTimeUnixNano"])


@pytest.mark.parametrize(
    ("variables", "agent", "detail"),
    [
        ({"GITLAB_CI": "", "CI_JOB_ID": "7"}, "gitlab-runner", "blanked"),
        (gitlab(GITHUB_ACTIONS="true"), "gitlab-runner", "contradicting"),
        (environment("github"), "gitlab-runner", "contradicting"),
        (environment("github"), "another", None),
        (environment("gitea"), "act_runner", None),
        (environment("gitea"), "gitea-runner", None),
        (environment("forgejo"), "forgejo-runner", None),
        (environment("github"), "act_runner", None),  # of versions that mark theirs no further
        (environment("github"), "Runner.Worker", None),
        (environment("github") | environment("codebuild"), "Runner.Worker", None),
        (environment("github") | {"GITEA_ACTIONS": "1"}, "Runner.Worker", "contradicting"),
        (environment("github") | {"FORGEJO_ACTIONS": "1"}, "Runner.Worker", "contradicting"),
        (environment("github") | {"GITHUB_ACTIONS": ""}, "another", "blanked"),
        (environment("woodpecker") | {"CI": "1"}, "another", None),
        (environment("woodpecker") | {"CI_SYSTEM_NAME": ""}, "another", "blanked"),
        (environment("harness"), "another", None),
        (gitlab(CIRCLECI=""), "gitlab-runner", None),
        (BARE, "gitlab-runner", None),
    ],
)
def test_of_a_step_that_says_what_its_agent_does_not_it_is_told(
    variables: dict[str, str], agent: str, detail: str | None, tmp_path: Path
) -> None:
    with watched(tmp_path) as host:
        step = Environment(
            host.now_ns,
            host.starts(BARE),
            2,
            block(variables),
            False,
            STANDING_STEP,
            number_of(agent_named(agent)),
        )
        host.happens(step)
        assert bool(host.began) is (detail != "blanked" and variables != BARE)  # there is no policy
        host.stops()
    told = (tmp_path / "logs.jsonl").read_text() if detail else ""
    assert ('"marks"' in told, f'"{detail}"' in told) == (bool(detail), bool(detail))


def twice(first: str, environ: Mapping[str, str]) -> bytes:
    """A block that has `first`, an entry, before an environment that has its name, too."""
    return first.encode() + b"\0" + block(environ)


@pytest.mark.parametrize(
    "entry",
    [
        "GITHUB_REPOSITORY=octo/infra-=x",  # `env` has the key "GITHUB_REPOSITORY=octo/infra-"
        "GITHUB_REPOSITORY=octo/app",  # the same with a NUL behind it
        "GITHUB_ACTIONS==x",
        "GITHUB_JOB=publish",
    ],
)
@pytest.mark.parametrize("standing", [STANDING_STEP, STANDING_MARKED])
def test_a_variable_that_stands_twice_is_vouched_for_by_nobody_and_told(
    entry: str, standing: int, tmp_path: Path
) -> None:
    """Authors choose the names in `env`, and GitHub's runner adds its own variables behind."""
    with watched(tmp_path, holder=HoldingToPolicies()) as host:
        step = host.starts(BARE, host.starts(BARE, name="Runner.Worker"), exec_id=1)
        number = number_of(agent_named("Runner.Worker")) if standing == STANDING_STEP else 0
        told = Environment(host.now_ns, step, 2, twice(entry, environment("github")), False, standing, number)
        assert host.jobs.decide(told, comes_again=False) == WITHOUT_ROOM
        identified = host.jobs._roots.identify(told, host.pipeline.table.of(step))
        assert identified is None or (identified.job.is_vouched, identified.job.is_partial) == (False, True)
        host.happens(told)
        host.stops()
    assert '"contradicting"' in (tmp_path / "logs.jsonl").read_text()


def test_a_variable_that_stands_twice_alike_is_as_good_as_once(tmp_path: Path) -> None:
    with watched(tmp_path) as host:
        worker = host.starts(BARE, name="Runner.Worker")
        standing = (STANDING_STEP, number_of(agent_named("Runner.Worker")))
        same = twice("GITHUB_JOB=" + environment("github")["GITHUB_JOB"], environment("github"))
        told = Environment(host.now_ns, host.starts(BARE, worker, exec_id=1), 2, same, False, *standing)
        host.happens(told)
        host.stops()
    assert [(job.is_vouched, job.is_partial) for job in host.began] == [(True, False)]


@pytest.mark.parametrize("has_policy", [True, False])
@pytest.mark.parametrize(
    ("changed", "is_told"),
    [
        ({"CI_JOB_NAME": "publish"}, True),
        ({"CI_COMMIT_REF_PROTECTED": "true"}, True),
        ({"CIRCLECI": ""}, True),
        ({"CI_JOB_NAME": ""}, False),  # it says less: as a container that is given the ids alone
    ],
)
def test_who_has_a_jobs_ids_and_says_something_else_of_itself_is_not_of_that_job(
    changed: dict[str, str], is_told: bool, has_policy: bool, tmp_path: Path
) -> None:
    """Whichever comes first: a step can set the ids of any other job."""
    first, second = gitlab(CI_COMMIT_REF_PROTECTED="false"), gitlab(CI_COMMIT_REF_PROTECTED="false") | changed
    for number, (one, other) in enumerate([(first, second), (second, first)]):
        holder = HoldingToPolicies() if has_policy else NoPolicyHolder()
        with watched(tmp_path / str(number), holder=holder) as host:
            scopes = [scope_of_step(host, environ) for environ in (one, other, one, other)]
            host.stops()
        assert scopes == [WITHOUT_ROOM + 1, WITHOUT_ROOM + 2] * 2
        parts = job_spans(host.spans())
        assert (len(parts), len({part["spanId"] for part in parts})) == (2, 2)
        assert {part["traceId"] for part in parts} == {TRACE}
        logs = host.directory / "logs.jsonl"
        assert (logs.exists() and '"ids"' in logs.read_text()) == is_told


def scope_of_step(
    host: Host, environ: Mapping[str, str], *, is_cut: bool = False, maker: str | None = None
) -> int:
    """The scope of a new step with `environ`; `maker` is the agent that makes it."""
    above = host.starts(BARE, name=maker) if maker else AGENT
    standing = (STANDING_STEP, number_of(agent_named(maker))) if maker else (STANDING_MARKED,)
    step = host.starts(BARE, above, exec_id=1 if maker else 0)
    host.happens(Environment(host.now_ns, step, 2, block(environ), is_cut, *standing))
    program = host.pipeline.table.of(step)
    assert program
    return program.scope


@pytest.mark.parametrize("order", [1, -1])
@pytest.mark.parametrize("other", [{"is_cut": True}, {"maker": None}], ids=["cut", "container"])
def test_whom_nobody_vouches_for_is_no_part_of_a_job_that_is_vouched_for(
    other: dict[str, Any], order: int, tmp_path: Path
) -> None:
    """Else whoever comes first would say what the job may, and who comes later would get that."""
    told, ours = environment("github"), {"maker": "Runner.Worker"}
    with watched(tmp_path) as host:
        steps = [ours, ours | other][::order]
        scopes = [scope_of_step(host, told, **how) for how in steps * 2]
        host.stops()
    assert scopes == [WITHOUT_ROOM + 1, WITHOUT_ROOM + 2] * 2
    assert [(job.is_vouched, job.is_partial) for job in host.began][::order] == [
        (True, False),
        (False, "is_cut" in other),
    ]


def test_what_is_over_says_nothing_of_a_job_that_says_something_else(tmp_path: Path) -> None:
    """Not even in which trace it is."""
    squatter = gitlab(CI_JOB_NAME="publish", TRACEPARENT=f"00-{'a' * 32}-{'1' * 16}-01")
    with watched(tmp_path) as host:
        host.ends(host.starts(squatter))
        host.waits(IDLE_S + 2)
        assert len(host.ended) == 1
        host.starts(gitlab())
        host.stops()
    traces = {span["name"]: (span["traceId"], span.get("parentSpanId")) for span in job_spans(host.spans())}
    assert traces == {"publish": ("a" * 32, "1" * 16), "build": (TRACE, None)}


def test_nothing_is_redacted_before_a_job_is_held(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """It takes long, and others wait to be decided."""
    redacted = list[str]()

    def note(arguments: list[str]) -> list[str]:
        redacted.extend(arguments)
        return ["redacted"] * len(arguments)

    monkeypatch.setattr("exporter.jobs.text.redact_arguments", note)
    names = {"CI_JOB_NAME": "login -p so-long", "CI_PROJECT_PATH": "group/never-redacted-before"}
    with watched(tmp_path) as host:
        process = ProcessKey(1000, host.now_ns + 1000)
        early = Environment(host.now_ns, process, 1, block(gitlab(**names)), is_cut=False, parent=AGENT)
        assert host.jobs.decide(early) == WITHOUT_ROOM + 1
        assert redacted == []
        host.starts(gitlab(**names))
        assert redacted
        host.stops()
    assert [job.task for job in host.began] == ["redacted"]
    assert [job.claims[0].task for job in host.began] == ["login -p so-long"]


def test_a_job_whose_roots_are_never_told_of_ends_all_the_same(tmp_path: Path) -> None:
    with watched(tmp_path) as host:
        late = Environment(host.now_ns, ProcessKey(777, 7), 1, block(gitlab()), False, STANDING_MARKED)
        assert host.jobs.decide(late, comes_again=False) == WITHOUT_ROOM + 1
        host.waits(IDLE_S + 2)
        assert (len(host.began), len(host.ended)) == (1, 1)
        host.stops()
    assert [span["spanId"] for span in job_spans(host.spans())] == []  # it has no names, nor a run


def test_jobs_that_end_at_once_end_one_after_the_other(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Others wait to be decided meanwhile, so each call ends a few."""
    seconds = count()
    with watched(tmp_path) as host:
        host.ends(*(host.starts(gitlab(job=str(number))) for number in range(5)))
        monkeypatch.setattr(
            "exporter.session.watch.job_finder.time", SimpleNamespace(monotonic=lambda: next(seconds) / 250)
        )
        host.jobs.look_around(host.now_ns + 60 * SECOND)
        ended = list[int]()
        while host.jobs.end_some(host.now_ns + 60 * SECOND):
            ended.append(len(host.ended))
        assert (ended, len(host.ended)) == ([2, 4], 5)
        host.stops()


def test_a_job_that_goes_on_before_its_end_comes_does_not_end(tmp_path: Path) -> None:
    with watched(tmp_path) as host:
        host.ends(host.starts(gitlab()))
        host.now_ns += 60 * SECOND
        host.jobs.look_around(host.now_ns)
        host.starts(gitlab())
        assert not host.jobs.end_some(host.now_ns)
        assert host.ended == []
        host.stops()


def test_stages_that_a_variable_of_the_users_makes_one_job_are_of_it(tmp_path: Path) -> None:
    """Whatever they are called; but another project's isn't."""
    stage = environment("jenkins") | {"STAGE_NAME": "Build"}
    with watched(tmp_path, job_env="BUILD_TAG", holder=HoldingToPolicies()) as host:
        host.starts(stage)
        scopes = []
        for changed in ({"STAGE_NAME": "Deploy"}, {"JOB_NAME": "another"}):
            told = Environment(
                host.now_ns, host.starts(BARE), 2, block(stage | changed), False, STANDING_MARKED
            )
            scopes.append(host.jobs.decide(told, comes_again=False))
        host.stops()
    assert scopes == [WITHOUT_ROOM + 1, WITHOUT_ROOM + 2]


def test_what_an_agent_that_is_known_made_is_no_job_of_a_system_besides(tmp_path: Path) -> None:
    """Marks of GitHub's are in Gitea's jobs, too; nobody has to hold them to sections for that."""
    with watched(tmp_path) as host:
        for run, below in (("1", "act_runner"), ("2", "another")):
            runner = host.starts(BARE, name=below)
            host.starts(environment("gitea") | {"GITHUB_RUN_ID": run}, runner, exec_id=1, below=below)
        host.stops()
    assert [len(job.besides) for job in host.began] == [0, 1]


def test_a_job_ends_though_more_of_it_was_decided_early(tmp_path: Path) -> None:
    """What a root made before it was known told of itself, too; by now it is of the job anyway."""
    with watched(tmp_path) as host:
        root = host.starts(gitlab())
        child = ProcessKey(1001, host.now_ns + 1000)
        told = Environment(host.now_ns + 3000, child, 1, block(gitlab()), is_cut=False, parent=root)
        assert host.jobs.decide(told) == 2
        assert host.starts(gitlab(), root, exec_id=1) == child
        host.ends(child, root, AGENT)
        host.waits(SETTLE_S + 2)
        assert len(host.ended) == 1
        host.stops()


@pytest.mark.parametrize("is_told", [True, False], ids=["known", "decided-early"])
def test_what_a_jobs_process_makes_is_of_that_job_whatever_it_says_early(
    tmp_path: Path, *, is_told: bool
) -> None:
    with watched(tmp_path) as host:
        if is_told:
            root = host.starts(gitlab("thief"))
        else:  # it has been forked, and what it executed is still to be told
            root = ProcessKey(999, host.now_ns)
            host.happens(Forked(host.now_ns, root, AGENT, 0, AGENT.pid, HOST))
            own = Environment(host.now_ns + 500, root, 1, block(gitlab("thief")), is_cut=False, parent=AGENT)
            assert host.jobs.decide(own) == WITHOUT_ROOM + 1
        child = ProcessKey(1001, host.now_ns + 1000)
        lies = Environment(host.now_ns + 3000, child, 2, block(gitlab("victim")), is_cut=False, parent=root)
        assert host.jobs.decide(lies) == WITHOUT_ROOM + 1
        before = lies._replace(process=ProcessKey(1002, root.started_ns - 1))
        assert host.jobs.decide(before) == WITHOUT_ROOM + 2, "it was made before, and may be another's"
        host.stops()


def test_a_root_of_which_nothing_else_was_told_begins_its_job(tmp_path: Path) -> None:
    with watched(tmp_path) as host:
        unknown = ProcessKey(777, host.now_ns)
        host.happens(Environment(host.now_ns, unknown, 1, block(gitlab()), is_cut=False))
        assert len(host.began) == 0  # nothing is known of it, not even that it runs
        host.stops()


def test_a_project_is_believed_of_a_job_that_its_agent_made_and_of_no_other(tmp_path: Path) -> None:
    """An engine makes the first process of a service container, with variables of the author's."""
    told, ours = environment("github"), "Runner.Worker"
    with watched(tmp_path) as host:
        worker = host.starts(BARE, name="Runner.Worker")
        host.starts(told, worker, exec_id=1, below=ours)
        engine = host.starts(BARE, name="containerd-shim-runc-v2")
        host.starts({**told, "GITHUB_RUN_ID": "2"}, engine, exec_id=1, below=ours)
        host.starts({**environment("buildkite"), "BUILDKITE_JOB_ID": "3"}, worker, exec_id=1, below=ours)
        host.starts({**environment("gitlab"), "CI_JOB_ID": "4"}, worker, exec_id=1, below=ours)
        imitation = host.starts(BARE, worker, name="Runner.Worker", exec_id=1)
        host.starts({**told, "GITHUB_RUN_ID": "6"}, imitation, exec_id=1, below=ours)
        host.finds({**told, "GITHUB_RUN_ID": "5"}, worker)  # by now it may say anything
        host.finds({**told, "GITHUB_RUN_ID": "7"})
        host.stops()
    assert [(job.provider, job.is_vouched) for job in host.began] == [
        ("github", True),
        ("github", False),
        ("buildkite", False),
        ("gitlab", False),
        ("github", False),
        ("github", False),
        ("github", False),
    ]


def test_what_an_agent_makes_at_once_waits_until_that_is_known_as_one(tmp_path: Path) -> None:
    """It has been forked, and that it executed something since is still to be told."""
    with watched(tmp_path) as host:
        agent = ProcessKey(999, host.now_ns)
        host.happens(Forked(host.now_ns, agent, AGENT, 0, AGENT.pid, HOST))
        standing = (STANDING_STEP, number_of(agent_named("Runner.Worker")))
        root = ProcessKey(1000, host.now_ns + 1000)
        told = Environment(root.started_ns + 2000, root, 1, block(environment("github")), False, *standing)
        assert host.jobs.decide(told._replace(parent=agent)) is None
        host.executes(agent, BARE, name="Runner.Worker")
        assert host.jobs.decide(told._replace(parent=agent)) == WITHOUT_ROOM + 1
        host.stops()
    assert [job.is_vouched for job in host.began] == [True]


@pytest.mark.parametrize("below", [None, "another", "gitlab-runner", "act_runner"])
def test_no_name_makes_an_agent_of_what_the_kernel_takes_for_none(below: str | None, tmp_path: Path) -> None:
    """As in a container, where a job chooses what its programs are called."""
    with watched(tmp_path) as host:
        name = "act_runner" if below == "act_runner" else "Runner.Worker"
        host.starts(environment("github"), host.starts(BARE, name=name), exec_id=1, below=below)
        host.stops()
    assert [job.is_vouched for job in host.began] == [False]


@pytest.mark.parametrize(("is_cut", "is_from_proc"), [(True, False), (False, True)])
def test_what_may_say_something_else_is_vouched_for_by_nobody(
    is_cut: bool, is_from_proc: bool, tmp_path: Path
) -> None:
    with watched(tmp_path) as host:
        step = host.starts(BARE, host.starts(BARE, name="Runner.Worker"), exec_id=1)
        standing = (STANDING_STEP, number_of(agent_named("Runner.Worker")))
        told = Environment(host.now_ns, step, 2, block(environment("github")), is_cut, *standing)
        host.happens(told._replace(is_from_proc=is_from_proc))
        host.stops()
    assert [(job.is_vouched, job.who.is_partial) for job in host.began] == [(False, is_cut)]


class HoldingToPolicies(NoPolicyHolder):
    """There is a policy."""

    def overflow(self) -> int:  # type: ignore[override]
        return WITHOUT_ROOM


def test_nobody_gets_into_a_job_that_is_vouched_for_by_what_proc_says(tmp_path: Path) -> None:
    """Into other jobs it may."""
    with watched(tmp_path, holder=HoldingToPolicies()) as host:
        worker = host.starts(BARE, name="Runner.Worker")
        scopes = []
        for told, below in ((environment("github"), "Runner.Worker"), (gitlab(), None)):
            host.starts(told, worker, exec_id=1, below=below)
            late = Environment(host.now_ns, host.starts(BARE), 1, block(told), False, is_from_proc=True)
            host.happens(late)
            program = host.pipeline.table.of(late.process)
            assert program
            scopes.append(program.scope)
        host.stops()
    assert [job.is_vouched for job in host.began] == [True, False, False]
    assert scopes == [WITHOUT_ROOM + 2, WITHOUT_ROOM + 3]


def test_what_a_step_does_says_which_step_whatever_its_programs_execute_with(tmp_path: Path) -> None:
    def step(name: str) -> dict[str, str]:
        return {**environment("github"), "GITHUB_ACTION": name}

    with watched(tmp_path) as host:
        for name in ("checkout", "__run", "__run_2"):
            root = host.starts(step(name))
            host.executes(root, step("another"), name="node")  # by itself
            host.connects(root)
            child = host.starts(step("a-lie"), root, "curl", exec_id=1)
            host.connects(child)
            host.ends(child, root)
        host.stops()
    (job,) = job_spans(host.spans())
    assert "egress.job.step" not in job["attributes"]
    told = [leaf["attributes"]["egress.job.step"] for leaf in leaves(host.spans())]
    assert told == ["checkout", "checkout", "__run", "__run", "__run_2", "__run_2"]
    programs = [span for span in host.spans() if span["name"] == "curl"]
    assert [span["attributes"]["egress.job.step"] for span in programs] == ["checkout", "__run", "__run_2"]


def test_where_the_system_names_no_step_none_is_told(tmp_path: Path) -> None:
    with watched(tmp_path) as host:
        host.connects(host.starts(gitlab(GITHUB_ACTION="a-lie")))
        host.stops()
    (leaf,) = leaves(host.spans())
    assert "egress.job.step" not in leaf["attributes"]


def test_jobs_at_the_same_time_are_kept_apart(tmp_path: Path) -> None:
    with watched(tmp_path) as host:
        roots = [host.starts(gitlab(job=str(number), run=str(number // 4))) for number in range(20)]
        for root in roots * 2:
            host.connects(host.starts(BARE, root, "curl", exec_id=1))
        host.stops()
    per_job: dict[str, int] = {}
    for leaf in leaves(host.spans()):
        job_id = leaf["attributes"]["cicd.pipeline.task.run.id"]
        per_job[job_id] = per_job.get(job_id, 0) + 1
    assert per_job == {str(number): 2 for number in range(20)}
    assert len({leaf["traceId"] for leaf in leaves(host.spans())}) == 5


def test_what_a_build_sets_does_not_move_it_to_another_job(tmp_path: Path) -> None:
    lies = gitlab(job="666", TRACEPARENT=f"00-{'b' * 32}-{'c' * 16}-01")
    with watched(tmp_path) as host:
        victim, build = host.starts(gitlab(job="666")), host.starts(gitlab(job="1"))
        thief = host.starts(lies, build, "thief", exec_id=1)
        host.executes(thief, lies, build, "thief")
        host.connects(thief)
        host.connects(host.starts(lies, thief, "curl", exec_id=1))
        host.ends(victim)
        host.stops()
    assert len(job_spans(host.spans())) == 2
    assert {leaf["attributes"]["cicd.pipeline.task.run.id"] for leaf in leaves(host.spans())} == {"1"}
    assert {leaf["traceId"] for leaf in leaves(host.spans())} == {TRACE}


def test_a_step_with_another_traceparent_is_still_the_same_job(tmp_path: Path) -> None:
    with watched(tmp_path) as host:
        host.connects(host.starts(gitlab(TRACEPARENT=f"00-{'a' * 32}-{'1' * 16}-01")))
        host.connects(host.starts(gitlab(TRACEPARENT=f"00-{'b' * 32}-{'2' * 16}-01")))
        host.stops()
    (job,) = job_spans(host.spans())
    assert (job["traceId"], job["parentSpanId"]) == ("a" * 32, "1" * 16)
    assert {leaf["traceId"] for leaf in leaves(host.spans())} == {"a" * 32}


def test_what_is_of_no_job_is_told_in_the_hosts_trace_and_counted(tmp_path: Path) -> None:
    with watched(tmp_path) as host:
        host.connects(host.starts(BARE, name="chronyd"))
        host.stops()
    (leaf,) = leaves(host.spans())
    (root,) = (span for span in host.spans() if span["name"] == "host")
    assert (leaf["traceId"], leaf["parentSpanId"]) == (root["traceId"], root["spanId"])
    assert leaf["attributes"]["egress.attribution"] == "host"
    assert '"cicd.egress.exporter.unattributed"' in (tmp_path / "metrics.jsonl").read_text()
    assert '"no_job"' in (tmp_path / "metrics.jsonl").read_text()


def test_the_host_is_no_job_in_the_number_of_jobs(tmp_path: Path) -> None:
    with watched(tmp_path) as host:
        host.connects(host.starts(BARE))
        host.stops()
    assert '"cicd.egress.jobs"' not in (tmp_path / "metrics.jsonl").read_text()


def test_a_job_ends_some_seconds_after_its_worker(tmp_path: Path) -> None:
    with watched(tmp_path) as host:
        worker = host.starts(BARE, name="worker")
        host.ends(host.starts(gitlab(), worker, exec_id=1), worker)
        host.waits(SETTLE_S - 0.5)
        assert host.ended == []
        host.waits(1)
        assert len(host.ended) == 1


def test_a_job_whose_worker_lives_ends_when_it_has_been_idle(tmp_path: Path) -> None:
    with watched(tmp_path) as host:
        host.ends(host.starts(gitlab()))
        host.waits(IDLE_S - 1)
        host.ends(host.starts(gitlab()))
        host.waits(IDLE_S - 1)
        assert host.ended == []
        host.waits(2)
        assert len(host.ended) == 1


def test_a_jobs_span_ends_with_its_last_process_whenever_that_shows(tmp_path: Path) -> None:
    with watched(tmp_path) as host:
        first, second = host.starts(gitlab()), host.starts(gitlab())
        host.ends(first)
        host.waits(5)
        host.ends(second)
        ended_ns = CLOCK.wall_ns(host.now_ns)
        host.waits(IDLE_S + 2)
        host.stops()
    (job,) = job_spans(host.spans())
    assert int(job["endTimeUnixNano"]) == ended_ns


def test_a_job_goes_on_with_its_next_worker(tmp_path: Path) -> None:
    """As where each stage of a job has a shell of its own."""
    with watched(tmp_path) as host:
        for _ in range(3):
            stage = host.starts(BARE, name="stage")
            for _ in range(2):
                host.ends(host.starts(gitlab(), stage, exec_id=1))
                host.waits(10)
            host.ends(stage)
        host.waits(SETTLE_S)
        host.stops()
    assert len(job_spans(host.spans())) == 1


def test_a_worker_that_executes_another_program_is_not_gone(tmp_path: Path) -> None:
    with watched(tmp_path) as host:
        worker = host.starts(BARE, name="launcher")
        host.ends(host.starts(gitlab(), worker, exec_id=1))
        host.executes(worker, BARE, name="runner")
        host.waits(IDLE_S - 2)
        assert host.ended == []
        host.ends(worker)
        host.waits(1)
        assert len(host.ended) == 1


def test_what_creates_a_container_and_ends_does_not_end_its_job(tmp_path: Path) -> None:
    with watched(tmp_path) as host:
        creator = host.starts(BARE, name="runc")
        step = host.starts(gitlab(), creator, exec_id=1)
        host.ends(creator)
        host.waits(QUIET_S - 5)
        host.connects(step)
        host.waits(QUIET_S - 5)
        host.ends(step)
        host.stops()
    assert len(job_spans(host.spans())) == 1


def test_what_a_job_leaves_behind_keeps_its_job_but_not_its_span_open(tmp_path: Path) -> None:
    with watched(tmp_path) as host:
        worker = host.starts(BARE, name="worker")
        step = host.starts(gitlab(), worker, exec_id=1)
        daemon = host.starts(BARE, step, "daemon", exec_id=1)
        host.connects(daemon)
        host.ends(step, worker)
        host.waits(QUIET_S + 2)
        assert len(host.ended) == 1
        notes = host.ended[0][1].fields()["notes"]
        assert notes == ["1 process was left behind, still traced:", f"  {daemon.pid} daemon"]
        host.waits(3600)
        host.connects(daemon)
        host.connects(host.starts(BARE, daemon, "curl", exec_id=1))
        host.ends(daemon)
        host.stops()
    first, second = job_spans(host.spans())
    assert (first["traceId"], first["spanId"]) == (TRACE, SPAN)
    assert second["traceId"] == TRACE
    assert second["spanId"] != SPAN
    before, late, later = sorted(leaves(host.spans()), key=lambda leaf: int(leaf["startTimeUnixNano"]))
    assert late["attributes"]["egress.lineage"] == ["sh", "daemon"]
    assert later["attributes"]["egress.lineage"] == ["sh", "daemon", "curl"]
    ids = {span["spanId"]: span["name"] for span in host.spans()}
    assert len(ids) == len(host.spans())
    assert [ids[leaf["parentSpanId"]] for leaf in (before, late, later)] == ["daemon", "daemon", "curl"]
    assert all(span["parentSpanId"] in ids for span in host.spans() if span.get("parentSpanId"))


def test_a_step_after_the_end_is_another_part_of_the_job_beside_the_first(tmp_path: Path) -> None:
    parent = f"00-{'a' * 32}-{'1' * 16}-01"
    with watched(tmp_path) as host:
        for _ in range(3):
            step = host.starts(gitlab(TRACEPARENT=parent))
            host.connects(step)
            host.ends(step)
            host.waits(IDLE_S + 1)
        host.stops()
    parts = job_spans(host.spans())
    assert len({part["spanId"] for part in parts}) == 3
    assert {(part["traceId"], part["parentSpanId"]) for part in parts} == {("a" * 32, "1" * 16)}
    assert parts[0]["spanId"] == SPAN
    ends = [(part["startTimeUnixNano"], part["endTimeUnixNano"]) for part in parts]
    assert [end for pair in ends for end in pair] == sorted(end for pair in ends for end in pair)
    assert len({span["spanId"] for span in host.spans()}) == len(host.spans())


def test_a_job_that_runs_already_is_taken_in_whole_under_a_span_of_its_own(tmp_path: Path) -> None:
    with watched(tmp_path) as host:
        step = host.finds(gitlab())
        bare = host.finds(BARE, step)
        liar = host.finds(gitlab(job="666"), bare)
        for process in (step, bare, liar):
            host.connects(process, exec_id=0)
        host.starts(gitlab())
        host.stops()
    (job,) = job_spans(host.spans())
    assert job["traceId"] == TRACE
    assert job["spanId"] != SPAN  # whoever watched before may have told that one
    assert {leaf["attributes"]["cicd.pipeline.task.run.id"] for leaf in leaves(host.spans())} == {"4321"}


def test_the_hosts_trace_is_renewed_and_what_goes_on_stays_where_it_began(tmp_path: Path) -> None:
    with watched(tmp_path) as host:
        service = host.starts(BARE, name="chronyd")
        first = host.connects(service)
        host.waits(HOST_TRACE_S + 1)
        host.connects(service)
        host.stops()
    before, after = (span for span in host.spans() if span["name"] == "host")
    assert before["traceId"] != after["traceId"]
    assert before["endTimeUnixNano"] == after["startTimeUnixNano"]
    by_start = sorted(leaves(host.spans()), key=lambda leaf: int(leaf["startTimeUnixNano"]))
    assert [(leaf["traceId"], leaf["parentSpanId"]) for leaf in by_start] == [
        (before["traceId"], before["spanId"]),
        (after["traceId"], after["spanId"]),
    ]
    assert first.at_ns < host.now_ns - HOST_TRACE_S * SECOND


def test_a_variable_of_ones_own_makes_a_job(tmp_path: Path) -> None:
    with watched(tmp_path, job_env="BUILD") as host:
        host.connects(host.starts({"BUILD": "b-17"}))
        host.connects(host.starts({"BUILD": "b-17"}))
        for empty in ("", " \n", "\x01"):
            host.connects(host.starts({"BUILD": empty}))
        host.connects(host.starts(gitlab(job="7")))
        host.stops()
    assert sorted(job.run_id for job in host.began) == ["987", "b-17"]


def test_runs_without_an_id_are_told_apart_by_their_workers(tmp_path: Path) -> None:
    with watched(tmp_path) as host:
        first, second = host.starts(BARE, name="worker"), host.starts(BARE, name="worker")
        for worker in (first, first, second):
            host.starts({"GITLAB_CI": "true"}, worker, exec_id=1)
        host.stops()
    assert len(job_spans(host.spans())) == 2


def test_a_lost_exit_does_not_keep_a_job_open(tmp_path: Path) -> None:
    with watched(tmp_path) as host:
        step = host.starts(gitlab())
        host.connects(step)
        host.vanishes(step)
        host.waits(25 + IDLE_S)
        assert len(host.ended) == 1


def test_more_jobs_than_there_is_room_for_are_told_with_the_host(tmp_path: Path) -> None:
    with watched(tmp_path) as host:
        for number in range(JOBS_MAX + 5):
            host.connects(host.starts(gitlab(job=str(number))))
        assert len(host.began) == JOBS_MAX
        assert host.jobs.turned_away == 5
        account = host.stops()
    assert sum(leaf["attributes"]["egress.attribution"] == "host" for leaf in leaves(host.spans())) == 5
    assert account.exported == JOBS_MAX + 5


def test_one_step_leaves_room_for_others_jobs(tmp_path: Path) -> None:
    """However many ids its commands say that they have."""
    with watched(tmp_path) as host:
        flooding, quiet = (host.starts(BARE, name="bash") for _ in range(2))
        for number in range(JOBS_MAX + 5):
            host.starts(gitlab(job=str(number)), flooding, exec_id=1)
        assert len(host.began) == JOBS_MAX // 2, "more than its share, while there is plenty"
        assert host.jobs.turned_away == JOBS_MAX // 2 + 5
        for number in range(KEPT + 1):
            host.starts(gitlab(run="another", job=str(number)), quiet, exec_id=1)
        assert len(host.began) == JOBS_MAX // 2 + KEPT
        host.starts(gitlab(run="its own"))
        assert len(host.began) == JOBS_MAX // 2 + KEPT + 1, "what an agent makes is a tenant of its own"
        host.stops()


def filled(host: Host) -> None:
    """With jobs of others, to half of the room."""
    for number in range(JOBS_MAX // 2):
        host.starts(gitlab(run="others", job=str(number)))


def began(host: Host, run: str, *makers: ProcessKey, exec_id: int = 0) -> int:
    """How many jobs begin where each of `makers` makes a root of one more."""
    before = len(host.began)
    for number, maker in enumerate(makers):
        host.starts(gitlab(run, job=str(number)), maker, exec_id=exec_id)
    return len(host.began) - before


INIT = ProcessKey(1, 1)


def test_no_way_to_make_a_process_makes_another_tenant_of_it(tmp_path: Path) -> None:
    with watched(tmp_path) as host:
        filled(host)
        host.happens(Found(host.now_ns, INIT, 0))
        bash = host.starts(BARE, name="bash")
        orphans = [host.starts(BARE, bash, exec_id=1) for _ in range(KEPT + 5)]
        host.ends(bash)
        assert began(host, "orphans", *orphans, exec_id=1) == KEPT
        host.stops()


def test_whose_room_it_is_shows_before_that_is_scarce_and_else_with_its_fork(tmp_path: Path) -> None:
    """The kernel's parent may be who adopted it."""
    with watched(tmp_path) as host:
        host.happens(Found(host.now_ns, INIT, 0))
        bash = host.starts(BARE, name="bash")
        orphan = ProcessKey(777, host.now_ns + 1)
        told = Environment(host.now_ns + 2, orphan, 1, block(gitlab()), is_cut=False, parent=INIT)
        known = host.jobs.decide(told)
        assert known is not None
        assert host.jobs.running[known].tenant == orphan
        host.happens(Forked(orphan.started_ns, orphan, bash, 1, 1, HOST))
        host.executes(orphan, gitlab(), INIT)
        assert host.jobs.running[known].tenant == bash
        filled(host)
        told = told._replace(process=ProcessKey(779, host.now_ns + 1))
        assert host.jobs.decide(told) == known
        told = told._replace(block=block(gitlab(job="2")))
        assert host.jobs.decide(told) is None
        child = told._replace(process=ProcessKey(778, host.now_ns + 1), block=block(gitlab(job="3")))
        assert host.jobs.decide(child._replace(parent=bash)) is not None
        host.happens(Forked(told.process.started_ns, told.process, bash, 1, 1, HOST))
        assert host.jobs.decide(told) is not None
        assert {watched.tenant for watched in list(host.jobs.running.values())[-2:]} == {bash}
        host.stops()


def forks(host: Host, creator: ProcessKey, exec_id: int = 0) -> ProcessKey:
    """A process that `creator` makes, in its `exec_id`th program, and that has executed nothing yet."""
    child = host._new()
    host.happens(Forked(child.started_ns, child, creator, exec_id, creator.pid, HOST))
    return child


def test_what_a_jobs_root_made_before_takes_the_room_of_the_same(tmp_path: Path) -> None:
    with watched(tmp_path) as host:
        filled(host)
        bash = host.starts(BARE, name="bash")
        roots = [forks(host, bash, 1) for _ in range(KEPT)]
        children = [forks(host, root) for root in roots]
        for number, root in enumerate(roots):
            host.executes(root, gitlab(run="roots", job=str(number)), bash)
        before = len(host.began)
        for number, (root, child) in enumerate(zip(roots, children, strict=True)):
            told = gitlab(run="children", job=str(number))
            early = Environment(host.now_ns, child, 1, block(told), is_cut=False, parent=root)
            assert host.jobs.decide(early, comes_again=False) == HOST
            unknown = early._replace(process=ProcessKey(child.pid, child.started_ns - 1))
            assert host.jobs.decide(unknown, comes_again=False) == HOST
            host.executes(child, told, root)
        assert (before, len(host.began)) == (JOBS_MAX // 2 + KEPT, JOBS_MAX // 2 + KEPT)
        host.stops()


def test_who_makes_the_jobs_of_all_is_no_tenant(tmp_path: Path) -> None:
    """An agent, by whatever it is known; init; an engine, whose containers have a shim each."""
    with watched(tmp_path) as host:
        filled(host)
        host.happens(Found(host.now_ns, INIT, 0))
        java, dockerd = host.starts(BARE, INIT, name="java"), host.starts(BARE, INIT, name="dockerd")
        host._agents.add(java)
        containerd = host.starts(BARE, dockerd, name="containerd", exec_id=1)
        shims = [
            host.starts(BARE, containerd, name="containerd-shim-runc-v2", exec_id=1) for _ in range(KEPT + 1)
        ]
        assert began(host, "java", *[java] * (KEPT + 1), exec_id=1) == KEPT + 1
        assert began(host, "systemd", *[INIT] * (KEPT + 1)) == KEPT + 1
        assert began(host, "dockerd", *shims, exec_id=1) == KEPT + 1
        unknown = host.starts(BARE, INIT, name="java")
        assert began(host, "unknown", *[unknown] * (KEPT + 1), exec_id=1) == KEPT
        host.stops()


def test_nobody_is_a_tenant_by_hiding_who_made_him(tmp_path: Path) -> None:
    """What was made too far down is told as made at the top, and of what gets lost nobody knows."""
    with watched(tmp_path) as host:
        filled(host)
        host.happens(Found(host.now_ns, INIT, 0))
        deep = host.starts(BARE, INIT, name="unknown-agent")
        deep = forks(host, deep, 1)
        for _ in range(DEPTH_MAX + 1):
            deep = forks(host, deep)
        lost = [ProcessKey(host._new().pid, 7) for _ in range(KEPT)]
        found = began(host, "deep", *[deep] * (KEPT + 1)) + began(host, "lost", *lost)
        for number in range(KEPT + 1):
            host.finds(gitlab(run="found", job=str(number)), INIT)
        assert len(host.began) == JOBS_MAX // 2 + KEPT
        assert found == KEPT
        host.stops()


def test_what_is_left_and_begins_again_is_counted_as_before(tmp_path: Path) -> None:
    with watched(tmp_path) as host:
        bash = host.starts(BARE, name="bash")
        left = []
        for number in range(KEPT + 1):
            root = host.starts(gitlab(run="left", job=str(number)), bash, exec_id=1)
            left.append(host.starts(BARE, root, exec_id=1))
            host.ends(root)
        host.ends(bash)
        host.waits(QUIET_S + 5)
        assert len(host.ended) == KEPT + 1
        filled(host)
        for process in left:
            host.connects(process)
        assert len(host.began) == KEPT + 1 + JOBS_MAX // 2 + KEPT
        host.stops()


class Refusing:
    """The kernel has no memory for what a job would be held to."""

    refuses = True
    over, others = NoPolicyHolder.over, NoPolicyHolder.others

    def __init__(self) -> None:
        self.begun, self.ended = list[int](), list[int]()

    def begin(self, scope: int, _job: Job, _standing: object, *, is_new: bool = False) -> None:  # noqa: ARG002
        self.begun.append(scope)
        if self.refuses:
            raise OSError(errno.ENOMEM, "no memory")

    def end(self, scope: int) -> None:
        self.ended.append(scope)

    def overflow(self) -> int:
        return WITHOUT_ROOM


def test_a_job_that_cannot_be_held_is_of_those_without_room_until_it_can(tmp_path: Path) -> None:
    holder = Refusing()
    with watched(tmp_path, holder=holder) as host:

        def scope_of_a_step() -> int:
            program = host.pipeline.table.of(host.starts(gitlab()))
            assert program
            return program.scope

        assert [scope_of_a_step(), scope_of_a_step()] == [WITHOUT_ROOM] * 2
        assert (host.began, host.jobs.turned_away) == ([], 2)
        holder.refuses = False
        assert scope_of_a_step() > WITHOUT_ROOM
        assert len(host.began) == 1
        host.stops()


def test_jobs_that_cannot_be_held_take_no_room_from_others(tmp_path: Path) -> None:
    holder = Refusing()
    with watched(tmp_path, holder=holder) as host:
        for number in range(SCOPES_MAX + 1000):
            host.ends(host.starts(gitlab(job=str(number))))
        assert set(holder.begun) == {WITHOUT_ROOM + 1}
        assert holder.ended == holder.begun
        holder.refuses = False
        host.starts(gitlab())
        assert (len(host.began), holder.begun[-1]) == (1, WITHOUT_ROOM + 1)
        host.starts(gitlab(job="another"))
        assert holder.begun[-1] == WITHOUT_ROOM + 2
        host.stops()


def test_a_job_that_is_held_and_cannot_be_told_of_is_told_of_later(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    holder = Refusing()
    holder.refuses = False
    with watched(tmp_path, holder=holder) as host:

        def no_memory(*_: object) -> None:
            raise MemoryError

        with monkeypatch.context() as patch:
            patch.setattr(host.pipeline.jobs, "begin", no_memory)
            step = host.starts(gitlab())
        assert (holder.ended, host.began, host.jobs.turned_away) == ([], [], 0)
        host.ends(step)
        host.connects(host.starts(gitlab()))
        assert set(holder.begun) == {WITHOUT_ROOM + 1}
        host.stops()
    assert len(job_spans(host.spans())) == 1


@given(
    st.dictionaries(
        st.sampled_from(
            ["GITLAB_CI", "CI_JOB_ID", "CI_PIPELINE_ID", "GITHUB_ACTIONS", "TRACEPARENT", "BUILD"]
        ),
        st.binary(max_size=40),
    ),
    st.binary(max_size=200),
)
def test_no_environment_is_an_error(
    tmp_path_factory: pytest.TempPathFactory, values: dict[str, bytes], tail: bytes
) -> None:
    text = b"".join(name.encode() + b"=" + value + b"\0" for name, value in values.items()) + tail
    with watched(tmp_path_factory.mktemp("otlp"), job_env="BUILD") as host:
        process = host.starts(BARE)
        host.happens(Environment(host.now_ns, process, 1, text, is_cut=True))
        host.connects(process)
        account = host.stops()
    assert account.exported == 1


def test_nothing_is_kept_of_jobs_that_are_over(tmp_path: Path) -> None:
    with watched(tmp_path) as host:
        for number in range(2000):
            root = host.starts(gitlab(job=str(number), run=str(number)))
            host.connects(root)
            host.ends(root)
            if number % 100 == 99:
                host.waits(IDLE_S + 1)
        kept = vars(host.jobs)
        assert len(host.ended) == 2000
        by_scope, decided = vars(kept["_jobs"]), vars(kept["_decisions"])["_decided"]
        assert [by_scope[name] for name in ("running", "over", "_scope_of")] == [{}, {}, {}]
        assert (kept["_untold"], decided) == ({}, {})
        jobs = vars(host.pipeline.jobs)
        assert list(jobs["_jobs"]) == list(jobs["_names"]) == [0]
        assert len(host.flows) == 0
        assert list(vars(host.pipeline.table)["_programs"]) == [AGENT.pid]
        assert len(vars(host.metrics)["_jobs"]) == 2  # the host's, and that of all jobs of this name
        account = host.stops()
    assert str(account) == "attempts 2000 = exported 2000 + aggregated 0 + dropped 0 + pending 0"


def test_the_block_of_an_environment_is_read_as_c_does(tmp_path: Path) -> None:
    """Of a name that is there twice, the first counts."""
    with watched(tmp_path) as host:
        process = host.starts(BARE)
        twice = block(gitlab(job="1")) + b"CI_JOB_ID=2\0"
        host.happens(Environment(host.now_ns, process, 1, twice, is_cut=False))
        host.stops()
    assert [job.task_run_id for job in host.began] == ["1"]


def test_a_job_that_another_one_watched_keeps_its_trace_and_its_span(tmp_path: Path) -> None:
    with watched(tmp_path) as host:
        process = adopts(host, ADOPTED)
        host.connects(process, exec_id=3)
        new = host.starts(gitlab())
        host.connects(new)
        host.stops()
    (adopted,) = (span for span in host.spans() if span["spanId"] == f"{0xDEF:016x}")
    assert (adopted["traceId"], adopted["parentSpanId"]) == (f"{0xABC:032x}", f"{0x456:016x}")
    assert (adopted["name"], adopted["attributes"]["cicd.pipeline.run.id"]) == ("build", "987")
    by_id = {span["spanId"]: span for span in host.spans()}
    found = [span for span in leaves(host.spans()) if span["traceId"] == adopted["traceId"]]
    assert [by_id[span["parentSpanId"]]["name"] for span in found] == ["make"]
    assert len(leaves(host.spans())) == 2


def test_a_job_whose_span_was_told_goes_on_in_another_part(tmp_path: Path) -> None:
    with watched(tmp_path) as host:
        told = replace(ADOPTED, standing=ADOPTED.standing._replace(told_ns=host.now_ns + SECOND))
        process = adopts(host, told)
        assert host.began == []
        host.connects(process, exec_id=3)
        assert len(host.began) == 1
        host.stops()
    parts = [span for span in job_spans(host.spans()) if span["name"] == "build"]
    assert [span["traceId"] for span in parts] == [f"{0xABC:032x}"]
    assert parts[0]["spanId"] != f"{0xDEF:016x}"
    assert [span["name"] for span in host.spans() if span["name"] == "make"] == []  # it was told, too
