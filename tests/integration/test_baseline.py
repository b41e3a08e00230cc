"""`ci-egress baseline show`, `diff` and `export`, as their users run them."""

from __future__ import annotations

import json
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import pytest

from tests.launch import PLAIN_ENVIRONMENT, Done, ci_egress, spans_in
from tests.unit.baseline.files import EXAMPLE
from tests.unit.baseline.spans import attributes as span

MORE = """\
  - pipeline: release
    task: "a/[b]*"
    destination: 192.0.2.53
    port: 53
    transport: udp
    lineage: any
pipelines:
  - pipeline: release
    runs: 412
    quiet_runs: 40
    last_run: 2026-11-24
"""
REGISTRY = span("registry.npm.example")


@pytest.fixture
def baseline(tmp_path: Path) -> Path:
    path = tmp_path / "baseline.yaml"
    path.write_text(EXAMPLE + MORE)
    return path


def record(path: Path, spans: Iterable[dict[str, Any]]) -> None:
    """As `--otlp-dir` writes them, a request a line."""
    with path.open("w") as file:
        for attributes in spans:
            pairs = [{"key": key, "value": value(told)} for key, told in attributes.items()]
            scope_spans = [{"scope": {"name": "ci_egress"}, "spans": [{"kind": 3, "attributes": pairs}]}]
            file.write(json.dumps({"resourceSpans": [{"scopeSpans": scope_spans}]}) + "\n")


def value(told: object) -> dict[str, object]:
    return {"intValue": str(told)} if isinstance(told, int) else {"stringValue": told}


def test_show_says_what_is_known_and_how_many_runs_brought_nothing_new(baseline: Path) -> None:
    done = ci_egress("baseline", "show", baseline.name, cwd=baseline.parent)
    assert (done.status, done.stderr) == (0, "")
    assert done.stdout.decode().splitlines() == [
        "pipeline  tasks  destinations  runs  nothing new for  last run",
        "release       2             2   412          40 runs  2026-11-24",
    ]


def test_show_says_why_a_pipeline_is_without_runs(baseline: Path) -> None:
    baseline.write_text(EXAMPLE)
    done = ci_egress("baseline", "show", baseline.name, cwd=baseline.parent)
    why = "Prometheus remembers days, not runs, and a person needn't write them"
    assert done.stdout.decode().splitlines() == [
        "pipeline  tasks  destinations  runs  nothing new for  last run",
        "release       1             1",
        f"without runs: baseline.yaml doesn't say how many; {why}",
    ]


def test_show_tells_that_enforcing_would_have_broken_no_recorded_run(baseline: Path) -> None:
    runs = [{**REGISTRY, "cicd.pipeline.run.id": str(number)} for number in range(412)]
    (baseline.parent / "runs").mkdir()
    record(baseline.parent / "runs/traces.jsonl", runs)
    done = ci_egress("baseline", "show", baseline.name, "runs", cwd=baseline.parent)
    assert (done.status, done.stderr) == (0, "")
    assert done.stdout.decode().splitlines()[1:] == [
        "release       2             2   412          40 runs  2026-11-24    0 of 412 runs",
        "enforcing would have denied 0 of 412 runs",
    ]


def test_show_names_what_only_the_address_of_an_allowed_name_lets_pass(baseline: Path) -> None:
    record(baseline.parent / "runs.jsonl", [REGISTRY, span("evil.example", egress_attempts=3)])
    done = ci_egress("baseline", "show", baseline.name, "runs.jsonl", cwd=baseline.parent)
    assert done.stdout.decode().splitlines()[2:] == [
        "enforcing would have denied 0 of 1 run",
        "allowed only by a rule for another name of the same address:",
        "  release, build: evil.example:443, by registry.npm.example:443  3 attempts",
    ]


def test_show_names_the_runs_and_destinations_that_it_would_have_broken(baseline: Path) -> None:
    evil = span("evil.example\x1b[2J", cicd_pipeline_run_id="7", egress_attempts=3)
    record(baseline.parent / "runs.jsonl", [REGISTRY, evil])
    done = ci_egress("baseline", "show", baseline.name, "runs.jsonl", cwd=baseline.parent)
    assert done.status == 0
    assert done.stdout.decode().splitlines()[2:] == [
        "enforcing would have denied 1 of 2 runs",
        r"  release, build: evil.example\x1b[2J:443  3 attempts",
        "  runs of release: 7",
    ]
    told = json.loads(
        ci_egress("baseline", "show", baseline.name, "runs.jsonl", "--json", cwd=baseline.parent).stdout
    )
    assert told["dry_run"] == {"runs": 2, "denied_runs": 1, "left_out": {}}
    assert told["pipelines"] == [
        {
            "pipeline": "release",
            "tasks": 2,
            "destinations": 2,
            "runs": 412,
            "quiet_runs": 40,
            "last_run": "2026-11-24",
            "dry_run": {
                "runs": 2,
                "denied_runs": 1,
                "examples": ["7"],
                "denied": [{"task": "build", "destination": "evil.example\x1b[2J:443", "attempts": 3}],
                "shared": [],
            },
        }
    ]


def test_all_errors_of_a_baseline_are_told_with_places_for_editors(baseline: Path) -> None:
    baseline.write_text("version: 1\nentries: [{destination: a..b}, x]\n")
    done = ci_egress("baseline", "show", baseline.name, cwd=baseline.parent)
    assert (done.status, done.stdout) == (2, b"")
    *errors, last = done.stderr.splitlines()
    assert [line.partition("; ")[0] for line in errors] == [
        "baseline.yaml:2:11: an entry without `transport`",
        "baseline.yaml:2:11: an entry without `lineage`",
        "baseline.yaml:2:25: `a..b` is not a host's name",
        "baseline.yaml:2:32: an entry can't be a text",
    ]
    assert last == "ci-egress: error: baseline.yaml is not a valid baseline: 4 errors"


@pytest.mark.parametrize(
    ("command", "hint"),
    [
        (["baseline", "export", "bad.yaml"], ""),
        (["baseline", "diff", "bad.yaml", "bad.yaml"], ""),
        (["report", "spans", "--baseline", "bad.yaml"], ""),
        (
            ["run", "--baseline", "bad.yaml", "--", "true"],
            "; `ci-egress baseline show` shows them without starting anything",
        ),
    ],
)
def test_how_to_see_the_errors_of_a_baseline_is_told_where_a_job_would_start(
    tmp_path: Path, command: list[str], hint: str
) -> None:
    (tmp_path / "bad.yaml").write_text("version: 1\nentries: [x]\n")
    done = ci_egress(*command, cwd=tmp_path)
    assert done.status == 2
    last = f"ci-egress: error: bad.yaml is not a valid baseline: 1 error{hint}"
    assert done.stderr.splitlines()[-1] == last


def test_diff_ends_with_1_when_two_baselines_know_different_things(baseline: Path) -> None:
    text = baseline.read_text()
    (baseline.parent / "same.yaml").write_text(text.replace("412", "500").replace("11-24", "11-25"))
    (baseline.parent / "other.yaml").write_text(
        text.replace("npm, node", "node").replace("port: 53", "port: 54")
    )
    same = ci_egress("baseline", "diff", baseline.name, "same.yaml", cwd=baseline.parent)
    assert (same.status, same.stdout, same.stderr) == (0, b"", "")
    other = ci_egress("baseline", "diff", baseline.name, "other.yaml", cwd=baseline.parent)
    assert (other.status, other.stderr) == (1, "")
    assert other.stdout.decode().splitlines() == [
        "- release, a/[b]*: udp://192.0.2.53:53  any program",
        "+ release, a/[b]*: udp://192.0.2.53:54  any program",
        "~ release, build: registry.npm.example:443  now also bash > node, no longer bash > npm > node",
    ]
    told = ci_egress("baseline", "diff", baseline.name, "other.yaml", "--json", cwd=baseline.parent)
    assert told.status == 1
    assert {key: len(found) for key, found in json.loads(told.stdout).items()} == {
        "added": 1,
        "removed": 1,
        "changed": 1,
        "folded": 0,
    }


def test_a_difference_of_many_lines_is_bounded(baseline: Path) -> None:
    entry = "- {destination: h%d.example, port: 443, transport: tcp, lineage: any}\n"
    baseline.write_text("version: 1\nentries:\n" + "".join(entry % number for number in range(1200)))
    (baseline.parent / "none.yaml").write_text("version: 1\nentries: []\n")
    done = ci_egress("baseline", "diff", "none.yaml", baseline.name, cwd=baseline.parent)
    lines = done.stdout.decode().splitlines()
    assert (done.status, len(lines), lines[-1]) == (1, 1001, "… and 200 more")


def test_an_exported_policy_passes_check_and_explain_explains_it(baseline: Path) -> None:
    folder = baseline.parent
    done = ci_egress("baseline", "export", baseline.name, "--output", "policy.yaml", cwd=folder)
    assert (done.status, done.stdout, done.stderr) == (0, b"", "")
    assert (
        ci_egress("baseline", "export", baseline.name, cwd=folder).stdout
        == (folder / "policy.yaml").read_bytes()
    )
    checked = ci_egress("policy", "check", "policy.yaml", cwd=folder)
    assert checked.stderr == "ci-egress: policy.yaml is valid: 2 rules, 2 sections for jobs, mode audit\n"
    for destination, job, rule in (
        ("registry.npm.example:443", "release/build", "registry.npm.example:443"),
        ("registry.npm.example:443", "release/a/[b]*", "default"),
        ("udp://192.0.2.53:53", "release/a/[b]*", "udp://192.0.2.53:53"),
        ("registry.npm.example:80", "release/build", "default"),
    ):
        asked = ("policy", "explain", "policy.yaml", destination, "--job", job, "--json")
        assert json.loads(ci_egress(*asked, cwd=folder).stdout)["rule"] == rule


def test_what_the_policy_says_otherwise_is_told(baseline: Path) -> None:
    sctp = "{task: a, destination: 192.0.2.1, port: 9, transport: sctp, lineage: any}"
    baseline.write_text(f"version: 1\nentries: [{sctp}, {sctp.replace('task: a, ', '')}]\n")
    done = ci_egress("baseline", "export", baseline.name, cwd=baseline.parent)
    assert done.status == 0
    no_rule = "allowed with every protocol and port, since no rule can name the protocol"
    assert done.stderr.splitlines() == [
        f"ci-egress: warning: 1 entry {no_rule}: sctp",
        "ci-egress: warning: 1 entry in no rule: a job without names can't be told from others",
    ]


def test_a_policy_that_would_deny_everything_is_not_made(baseline: Path) -> None:
    baseline.write_text("version: 1\nentries: []\n")
    done = ci_egress("baseline", "export", baseline.name, "--output", "policy.yaml", cwd=baseline.parent)
    assert (done.status, done.stdout) == (2, b"")
    assert done.stderr.startswith("ci-egress: error: baseline.yaml knows no destination; ")
    assert not (baseline.parent / "policy.yaml").exists()


def test_a_policy_that_no_kernel_can_hold_is_not_made(baseline: Path) -> None:
    rest = "transport: tcp, lineage: any"
    entries = [f"{{task: a, destination: h{n}.example, port: {n + 1}, {rest}}}" for n in range(200)]
    baseline.write_text(f"version: 1\nentries: [{', '.join(entries)}]\n")
    (baseline.parent / "policy.yaml").write_text("before\n")
    done = ci_egress("baseline", "export", baseline.name, "--output", "policy.yaml", cwd=baseline.parent)
    assert done.status == 2
    what = "the policy of this baseline can't be held: names with more than 128 different sets of ports"
    assert what in done.stderr
    assert (baseline.parent / "policy.yaml").read_text() == "before\n"


@pytest.mark.parametrize("command", ["show", "diff", "export"])
def test_a_baseline_that_cannot_be_read_is_an_error(tmp_path: Path, command: str) -> None:
    again = ["none.yaml"] if command == "diff" else []
    done = ci_egress("baseline", command, "none.yaml", *again, cwd=tmp_path)
    assert (done.status, done.stdout) == (2, b"")
    assert "cannot read the baseline none.yaml: No such file or directory" in done.stderr


@pytest.mark.kernel
def test_under_the_policy_of_what_was_learnt_the_job_goes_on_and_another_task_does_not(
    tmp_path: Path,
) -> None:
    def run(task: str, *options: str) -> Done:
        env = {
            **PLAIN_ENVIRONMENT,
            "GITHUB_ACTIONS": "true",
            "GITHUB_RUN_ID": "7",
            "GITHUB_WORKFLOW": "release",
            "GITHUB_REPOSITORY": "shop/cart",
        }
        act = ("bash", "-c", "echo x >/dev/udp/203.0.113.9/8125")
        return ci_egress("run", *options, "--", *act, cwd=tmp_path, env={**env, "GITHUB_JOB": task})

    assert run("build [x]*", "--otlp-dir", "runs").status == 0
    learnt = ci_egress("baseline", "learn", "runs", "--output", "baseline.yaml", cwd=tmp_path)
    assert (learnt.status, learnt.stdout) == (0, b"")
    assert learnt.stderr == "ci-egress: baseline.yaml: 1 pipeline, 1 destination, 1 run\n"
    of_repository = ("baseline", "learn", "runs", "--repository")
    assert ci_egress(*of_repository, "shop/cart", cwd=tmp_path).status == 0
    assert ci_egress(*of_repository, "bank/ledger", cwd=tmp_path).status == 2
    shown = ci_egress("baseline", "show", "baseline.yaml", "runs", cwd=tmp_path)
    assert shown.stdout.decode().splitlines()[-1] == "enforcing would have denied 0 of 1 run"
    made = ci_egress("baseline", "export", "baseline.yaml", "--output", "policy.yaml", cwd=tmp_path)
    assert (made.status, made.stderr) == (0, "")
    enforced = ("--otlp-dir", "enforced", "--policy", "policy.yaml", "--enforce")
    assert run("build [x]*", *enforced).status == 0
    assert run("build xx", *enforced).status == 1
    told = [span["attributes"] for span in spans_in(tmp_path / "enforced") if span["kind"] == 3]
    assert [(span["egress.verdict"], span["egress.rule"]) for span in told] == [
        ("allow", "udp://203.0.113.9:8125"),
        ("deny", "default"),
    ]
    shown = ci_egress("baseline", "show", "baseline.yaml", "enforced", cwd=tmp_path)
    last = "not judged: 1 attempt denied already when they were recorded"
    assert shown.stdout.decode().splitlines()[-1] == last
