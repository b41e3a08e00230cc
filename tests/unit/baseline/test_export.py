"""A policy made from a baseline is valid whatever the names, and says for each task what its entries say."""

from __future__ import annotations

from fnmatch import fnmatchcase
from ipaddress import ip_address

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from exporter.baseline.export import Exported, export
from exporter.baseline.model import Baseline, Entry, Task
from exporter.baseline.sections import Patterns
from exporter.common.net.addresses import protocol_of
from exporter.jobs.claims import named
from exporter.policy.compile import check_for_kernel
from exporter.policy.decide import EgressRequest, decide
from exporter.policy.model import Effect, Mode, Name, Policy, job_names
from exporter.policy.parse import parse_policy
from exporter.policy.rule_texts import scheme_of
from exporter.policy.sections import effective
from tests.unit.baseline.files import with_entries
from tests.unit.baseline.strategies import TEXTS, baselines

PLAIN = "destination: a.example, port: 443, transport: tcp, lineage: any"
SOMEWHERE = ip_address("203.0.113.9")


def text(made: Exported) -> str:
    return "".join(f"{line}\n" for line in made.lines)


def parsed(baseline: Baseline) -> Policy:
    policy = parse_policy(text(export(baseline)).encode(), "exported")
    check_for_kernel(policy)
    return policy


def of(*tasks: Task) -> Baseline:
    """Each task with a destination of its own: its number as a port."""
    return Baseline(
        tuple(Entry(task, Name("a.example"), port, "tcp", None) for port, task in enumerate(tasks, 1))
    )


def allowed(policy: Policy, task: Task) -> set[int]:
    """The ports of a.example that a job may connect to."""
    return {port for rule in effective(policy, named(*task)).rules for port in rule.ports or ()}


def test_each_task_has_a_section_with_its_destinations_and_who_reached_them() -> None:
    made = export(
        with_entries(
            "pipeline: release, task: build, destination: 192.0.2.53, port: 53, transport: udp, "
            "lineage: [[bash, npm], [bash, curl]], runs: 412",
            f"pipeline: release, task: build, {PLAIN}, runs: 1, last_seen: 2026-11-24",
            "pipeline: release, task: test, destination: '2001:db8::1', transport: ipv6-icmp, "
            "lineage: [[ping]]",
            "pipeline: release, task: test, destination: '*.cdn.example', port: 80, transport: tcp, "
            "lineage: any",
        )
    )
    assert text(made).partition("version: 1\n")[2] == (
        """\
mode: audit
# Jobs ask 192.0.2.53 for names. Machines differ in whom
# they ask: this is for those of the machine that a job runs on.
resolvers: system
# A baseline knows jobs by names, which their authors choose. With this line they are believed: whoever
# names a job of theirs so gets what is allowed here. Better name the project in each key, as in
# "github:github.com/OWNER/REPOSITORY:PIPELINE/TASK", and remove it.
trust_names: true
jobs:
  "release/build":
    allow:
      # 412 runs: bash > curl; bash > npm
      - "udp://192.0.2.53:53"
      # 1 run, last on 2026-11-24: any program
      - "a.example:443"
  "release/test":
    allow:
      # any program
      - "*.cdn.example:80"
      # ping
      - "icmp://[2001:db8::1]"
""".replace('"release/build"', "release/build").replace('"release/test"', "release/test")
    )
    assert text(made).startswith("# Made from a baseline of 1 pipeline, 2 tasks, 4 destinations.\n")
    assert not made.wider
    assert not made.left_out


def test_what_no_rule_can_name_is_allowed_by_one_that_says_more_and_counted() -> None:
    made = export(
        with_entries(
            "task: a, destination: 192.0.2.1, port: 9, transport: sctp, lineage: [[x]]",
            "task: a, destination: 192.0.2.1, port: 10, transport: udplite, lineage: [[x]]",
            f"task: a, {PLAIN.replace('443', '0')}",
        )
    )
    sctp, udplite = (
        f"x; it was {kind}, which no rule can name, so this is every protocol and port"
        for kind in ("sctp, port 9", "udplite, port 10")
    )
    assert text(made).partition("jobs:\n")[2] == (
        "  \"/a\":\n    allow:\n"
        "      # in no rule: a.example:0: port 0, which no rule can name\n"
        f"      # {sctp}\n      # {udplite}\n"
        '      - "any://192.0.2.1"\n'
    )  # fmt: skip
    assert made.wider == {"sctp": 1, "udplite": 1}
    assert made.left_out == {"port 0, which no rule can name": 1}


def test_a_baseline_of_jobs_without_names_holds_for_all_jobs_and_says_so() -> None:
    made = export(with_entries(PLAIN))
    assert (
        "# Its jobs have no names, so that this holds for all jobs, whatever their names.\nallow:\n"
        in text(made)
    )
    assert allowed(parsed(with_entries(PLAIN)), Task(None, None)) == {443}


def test_names_that_are_patterns_match_themselves_alone() -> None:
    star, letters, question, plain = (Task("p", name) for name in ("*", "[ab]", "?", "a"))
    colons = Task("github", "github.com/octo/app:x:y")
    policy = parsed(of(star, letters, question, plain, colons))
    assert allowed(policy, colons) == {5}
    assert allowed(policy, star) == {1}
    assert allowed(policy, letters) == {2}
    assert allowed(policy, question) == {3}
    assert allowed(policy, plain) == {4}
    assert allowed(policy, Task("p", "b")) == set()


@pytest.mark.parametrize(
    ("tasks", "told"),
    [
        ((Task("a", None), Task("a", "b")), {Task("a", "b"): {2}, Task("a", None): set()}),
        ((Task("a", None),), {Task("a", None): {1}}),
        ((Task("a/b", "c"), Task("a", "b/c")), {Task("a/b", "c"): set(), Task("a", "b/c"): set()}),
        ((Task("a", "b"), Task("a/b", "c")), {Task("a", "b"): set(), Task("a/b", "c"): {2}}),
        ((Task(None, None), Task(None, "t")), {Task(None, None): set(), Task(None, "t"): {2}}),
    ],
)
def test_a_task_that_no_pattern_is_for_alone_gets_no_section(
    tasks: tuple[Task, ...], told: dict[Task, set[int]]
) -> None:
    policy = parsed(of(*tasks))
    assert {task: allowed(policy, task) for task in told} == told
    made = export(of(*tasks))
    assert made.left_out.total() == sum(not ports for ports in told.values())
    assert text(made).count("# In no section: ") == made.left_out.total()


def test_of_many_tasks_without_a_section_the_first_are_told() -> None:
    tasks = [
        Task(name, task)
        for number in range(60)
        for name, task in ((f"{number}/a", "b"), (f"{number}", "a/b"))
    ]
    lines = [line for line in export(of(*tasks)).lines if line.startswith("# In no section")]
    assert len(lines) == 101
    assert lines[-1] == "# In no section: 20 more tasks"


@given(baselines.filter(lambda baseline: bool(baseline.entries)))
@example(Baseline((Entry(Task("x" * 2000, '"'), Name("a.example"), 443, "tcp", None),)))
@example(Baseline((Entry(Task("\x1b[2J\n- a", "\u2028"), Name("a.b"), 443, "tcp", frozenset({("\r#",)})),)))
def test_whatever_the_names_it_is_valid_and_allows_each_task_its_own_alone(baseline: Baseline) -> None:
    policy = parsed(baseline)
    assert policy.mode is Mode.AUDIT
    assert all(line.isprintable() for line in export(baseline).lines)
    patterns = Patterns(baseline.tasks)
    is_nameless = set(baseline.tasks) == {Task(None, None)}
    for task, entries in baseline.tasks.items():
        has_section = is_nameless or patterns.of(task) is not None
        job = effective(policy, named(*task))
        known = {entry for entry in entries if has_section and is_in_a_rule(entry)}
        for entry in baseline.entries:
            act, names = asked(entry)
            is_allowed = decide(job, act, names=names).effect is Effect.ALLOW
            assert is_allowed == any(covers(each, entry) for each in known)
        assert len(job.rules) <= len(known)


def is_in_a_rule(entry: Entry) -> bool:
    return entry.port != 0 or scheme_of(entry.transport) == "any"


def asked(entry: Entry) -> tuple[EgressRequest, set[str]]:
    """A connect that the entry is about."""
    host = entry.host
    protocol = protocol_of(entry.transport)
    assert protocol is not None
    if not isinstance(host, Name):
        return EgressRequest(host, protocol, entry.port or 0), set()
    return EgressRequest(SOMEWHERE, protocol, entry.port or 0), {
        f"x.{host.text}" if host.is_wildcard else host.text
    }


def covers(entry: Entry, other: Entry) -> bool:
    """Whether the rule of `entry` is for what `other` is about."""
    _, names = asked(other)
    if isinstance(entry.host, Name):
        is_host = any(entry.host.covers(name) for name in names)
    else:
        is_host = entry.host == other.host
    scheme = scheme_of(entry.transport)
    if scheme == "any":
        return is_host
    return is_host and scheme == scheme_of(other.transport) and entry.port == other.port


@given(st.lists(st.builds(Task, st.none() | TEXTS, st.none() | TEXTS), max_size=6, unique=True))
def test_a_pattern_matches_its_task_and_none_other(tasks: list[Task]) -> None:
    patterns = Patterns(tasks)
    for task in tasks:
        pattern = patterns.of(task)
        if pattern is not None:
            matched = [each for each in tasks if any(fnmatchcase(name, pattern) for name in job_names(*each))]
            assert matched == [task]


def test_a_fleet_fits_into_the_kernel() -> None:
    entries = [
        Entry(Task(f"team/{pipeline}", "build"), Name(f"host-{number}.example"), 443, "tcp", None)
        for pipeline in range(100)
        for number in range(50)
    ]
    policy = parsed(Baseline(tuple(entries)))
    assert len(effective(policy, named("team/99", "build")).rules) == 50
