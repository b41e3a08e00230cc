"""`ci-egress policy`, as its users run it."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import pytest

from tests.launch import ci_egress
from tests.unit.policy.files import EXAMPLE

GITHUB = "{host: github.com, ports: [443], lineage: [git]}"


@pytest.fixture
def policy(tmp_path: Path) -> Path:
    path = tmp_path / "policy.yaml"
    path.write_text(EXAMPLE)
    return path


def explained(policy: Path, *arguments: str) -> tuple[int, Any]:
    done = ci_egress("policy", "explain", policy.name, *arguments, "--json", cwd=policy.parent)
    assert done.stderr == ""
    return done.status, json.loads(done.stdout)


def test_a_valid_policy_is_told_to_be_one(policy: Path) -> None:
    done = ci_egress("policy", "check", "policy.yaml", cwd=policy.parent)
    assert (done.status, done.stdout) == (0, b"")
    *remarks, last = done.stderr.splitlines()
    assert last == "ci-egress: policy.yaml is valid: 10 rules, 1 section for jobs, mode audit"
    assert remarks == [
        "policy.yaml:15:3: what `release/*` allows doesn't count: a job's author chooses this name; name the "
        "project, as in `github:github.com/OWNER/REPOSITORY:release/*`, or add `trust_names: true`"
    ]


def test_all_errors_are_told_with_places_for_editors(policy: Path) -> None:
    policy.write_text('version: 1\nallows: []\nallow: ["*.com", "\\e[2J"]\n')
    done = ci_egress("policy", "check", "policy.yaml", cwd=policy.parent)
    assert (done.status, done.stdout) == (2, b"")
    *errors, last = done.stderr.splitlines()
    assert [line.partition("; ")[0] for line in errors] == [
        "policy.yaml:2:1: unknown key `allows`",
        "policy.yaml:3:9: `*.com`: com is a public suffix",
        r"policy.yaml:3:18: `\x1b[2J` is not a host's name",
    ]
    assert last == "ci-egress: error: policy.yaml is not a valid policy: 3 errors"


def test_what_the_kernel_cannot_hold_together_is_an_error_of_the_file(policy: Path) -> None:
    rules = ", ".join(f"{{host: 192.0.2.1, lineage: [tool-{n}]}}" for n in range(17))
    policy.write_text(f"version: 1\njobs: {{a: {{allow: [{rules}]}}}}\n")
    done = ci_egress("policy", "check", "policy.yaml", cwd=policy.parent)
    assert done.status == 2
    assert done.stderr.startswith("policy.yaml:2:20: 17 rules for one address; ")


@pytest.mark.parametrize("command", ["check", "explain"])
def test_a_policy_that_cannot_be_read_is_an_error(tmp_path: Path, command: str) -> None:
    destination = ["a.example"] if command == "explain" else []
    done = ci_egress("policy", command, "none.yaml", *destination, cwd=tmp_path)
    assert (done.status, done.stdout) == (2, b"")
    assert "cannot read the policy none.yaml: No such file or directory" in done.stderr


@pytest.mark.skipif(os.geteuid() != 0, reason="gives a file away")
def test_a_policy_that_this_user_may_not_read_is_told_to_be_one(policy: Path) -> None:
    os.chown(policy, 65534, 65534)
    policy.chmod(0o600)
    without = ("setpriv", "--bounding-set=-dac_override,-dac_read_search")
    done = ci_egress("policy", "check", policy.name, cwd=policy.parent, under=without)
    hint = "name a file that this user can read"
    assert done.stderr == f"ci-egress: error: cannot read the policy policy.yaml: Permission denied; {hint}\n"


def test_the_rule_that_decides_is_told_with_those_that_do_not(policy: Path) -> None:
    not_git = {"rule": GITHUB, "line": 11, "why_not": "the chain of processes lacks git"}
    assert explained(policy, "github.com") == (
        1,
        {"verdict": "deny", "rule": "default", "line": None, "others": [not_git]},
    )
    assert explained(policy, "github.com:443", "--process", "bash > /usr/bin/git") == (
        0,
        {"verdict": "allow", "rule": GITHUB, "line": 11, "others": []},
    )


@pytest.mark.parametrize(
    ("destination", "status", "line"),
    [
        ("169.254.169.254:80", 1, 13),
        ("udp://192.0.2.53:53", 0, 8),
        ("icmp://192.0.2.1", 0, 9),
        ("[2001:db8::1]:443", 0, 7),
        ("[2001:db9::1]:443", 1, None),
        ("MIRROR.example:8080", 0, 10),
        ("[::1]:22", 0, None),
    ],
)
def test_a_destination_is_a_name_or_an_address(
    policy: Path, destination: str, status: int, line: int | None
) -> None:
    found, told = explained(policy, destination)
    assert (found, told["line"]) == (status, line)


def test_sections_count_for_the_job_that_is_named(policy: Path) -> None:
    policy.write_text(f"trust_names: true\n{EXAMPLE}")
    assert explained(policy, "upload.packages.example")[0] == 1
    assert explained(policy, "upload.packages.example", "--job", "release/build")[0] == 0
    assert explained(policy, "upload.packages.example", "--job", "nightly/build")[0] == 1


def test_where_lookups_are_refused_it_says_whether_a_name_may_be_asked_for(tmp_path: Path) -> None:
    (tmp_path / "policy.yaml").write_text(
        "version: 1\ndns: deny\nsearch_domains: [lan]\nallow: [a.example]\n"
    )
    for name, may in (
        ("a.example", True),
        ("a.example.lan", True),
        ("b.example", False),
        ("192.0.2.1", None),
    ):
        said = ci_egress("policy", "explain", "policy.yaml", name, cwd=tmp_path).stdout.decode().splitlines()
        words = {True: "may be", False: "are not"}
        lines = [] if may is None else [f"Resolvers {words[may]} asked for it: `dns: deny`."]
        assert [line for line in said if "dns" in line] == lines


KEYED = """\
version: 1
jobs:
  "github:github.com/octo/app:release/*": {allow: [upload.example]}
  "release/*": {mode: enforce, allow: [upload.example]}
"""


def test_a_section_that_a_job_could_claim_by_its_name_does_not_count_and_that_is_told(policy: Path) -> None:
    policy.write_text(KEYED)
    status, told = explained(policy, "upload.example", "--job", "release/build")
    assert (status, told["verdict"], told["rule"]) == (1, "deny", "default")
    assert [(other["line"], other["why_not"].partition(";")[0]) for other in told["others"]] == [
        (3, "its section doesn't count: which project, or what kind of branch, the job is of isn't known"),
        (4, "its section doesn't count: a job's author chooses this name"),
    ]
    ours, theirs = (f"github:github.com/{owner}/app:release/build" for owner in ("octo", "evil"))
    assert explained(policy, "upload.example", "--job", ours)[0] == 0
    assert explained(policy, "upload.example", "--job", theirs)[0] == 1


def test_a_job_that_cannot_be_one_is_an_error(policy: Path) -> None:
    done = ci_egress("policy", "explain", policy.name, "a.example", "--job", "gihub:a:b", cwd=policy.parent)
    assert (done.status, done.stdout) == (2, b"")
    assert done.stderr == "ci-egress: error: --job: unknown CI system `gihub`; did you mean github?\n"


def test_for_a_person_it_is_said_in_words(policy: Path) -> None:
    policy.write_text('version: 1\nallow: ["*.example", a.example]\ndeny: [10.0.0.0/8]\n')
    done = ci_egress("policy", "explain", "policy.yaml", "a.example", cwd=policy.parent)
    assert (done.status, done.stderr) == (0, "")
    assert done.stdout.decode().splitlines() == [
        "allowed: tcp://a.example:443 by a.example, line 2",
        "not  *.example  line 2  a more specific destination wins",
        "An address that it leads to may be denied by itself: ask about that, too.",
    ]
    done = ci_egress("policy", "explain", "policy.yaml", "udp://b.test:53", cwd=policy.parent)
    assert done.status == 1
    assert done.stdout.decode().splitlines() == [
        "would be denied: udp://b.test:53 by default: no rule allows it (mode audit)"
    ]
    policy.write_text("version: 1\nmode: enforce\nallow: [a.example]\n")
    done = ci_egress("policy", "explain", "policy.yaml", "udp://b.test:53", cwd=policy.parent)
    assert done.status == 1
    assert done.stdout.decode().splitlines() == ["denied: udp://b.test:53 by default: no rule allows it"]


@pytest.mark.parametrize("name", ["localhost", "db.localhost"])
def test_localhost_is_the_machine_itself(policy: Path, name: str) -> None:
    status, told = explained(policy, f"{name}:80")
    assert (status, told["rule"]) == (0, "loopback")
    policy.write_text(f"version: 1\ndeny: [{name}]\n")
    status, told = explained(policy, f"{name}:80")
    assert (status, told["rule"]) == (1, name)
    policy.write_text("version: 1\ndeny: [127.0.0.1]\n")
    assert explained(policy, f"{name}:80")[0] == 1
    assert explained(policy, "localhost.example:80")[0] == 1


@pytest.mark.parametrize(
    "destination", ["10.0.0.0/8", "*.a.example", "a.example:*", "any://a.example", "https://a.example", ""]
)
def test_what_is_no_single_destination_is_a_usage_error(policy: Path, destination: str) -> None:
    done = ci_egress("policy", "explain", policy.name, destination, cwd=policy.parent)
    assert (done.status, done.stdout) == (2, b"")
    assert done.stderr.startswith("ci-egress: error: ")


@pytest.mark.kernel
def test_a_draft_of_a_traced_job_allows_what_it_did(tmp_path: Path) -> None:
    act = "echo x >/dev/udp/203.0.113.9/8125; exec 3<>/dev/tcp/127.0.0.1/1"
    traced = ci_egress("run", "--otlp-dir", "out", "--", "bash", "-c", f"{act} || true", cwd=tmp_path)
    assert traced.status == 0, traced.stderr
    drafted = ci_egress("policy", "init", "out", cwd=tmp_path)
    assert (drafted.status, drafted.stderr) == (0, "")
    (tmp_path / "policy.yaml").write_bytes(drafted.stdout)
    assert ci_egress("policy", "check", "policy.yaml", cwd=tmp_path).status == 0
    status, told = explained(tmp_path / "policy.yaml", "udp://203.0.113.9:8125")
    assert (status, told["rule"]) == (0, "udp://203.0.113.9:8125")
    assert b": bash\n" in drafted.stdout
    assert b"loopback, which is always allowed" in drafted.stdout


@pytest.mark.parametrize("text", ["", '{"resourceSpans": []}\n'], ids=["empty", "other-spans"])
def test_no_draft_is_made_of_files_without_egress(tmp_path: Path, text: str) -> None:
    (tmp_path / "logs.jsonl").touch()
    (tmp_path / "out").mkdir()
    (tmp_path / "out/traces.jsonl").write_text(text)
    done = ci_egress("policy", "init", "logs.jsonl", "out", cwd=tmp_path)
    assert (done.status, done.stdout) == (2, b"")
    what = "no egress span, as traces.jsonl has them, in logs.jsonl, out; "
    assert done.stderr.startswith(f"ci-egress: error: {what}")


def test_a_draft_of_what_holds_no_spans_is_an_error(tmp_path: Path) -> None:
    (tmp_path / "traces.jsonl").write_text("{}\n")
    done = ci_egress("policy", "init", "traces.jsonl", cwd=tmp_path)
    assert (done.status, done.stdout) == (2, b"")
    assert "traces.jsonl:1:1: not a line of OTLP spans" in done.stderr
