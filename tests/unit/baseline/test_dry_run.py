"""What a policy would have done to recorded runs, in bounds and whatever was recorded."""

from __future__ import annotations

from ipaddress import ip_address
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from exporter.baseline import dry_run, judge, neighbours
from exporter.baseline.dry_run import ATTRIBUTES, DryRun
from exporter.baseline.export import as_policy, export
from exporter.baseline.model import Task
from tests.unit.baseline.files import with_entries
from tests.unit.baseline.spans import attributes as span
from tests.unit.baseline.strategies import ANYTHING

RELEASE = Task("release", "build")
KNOWN = with_entries(
    "pipeline: release, task: build, destination: registry.example, port: 443, transport: tcp, lineage: any",
    'pipeline: release, task: build, destination: "*.cdn.example", port: 443, transport: tcp, lineage: any',
    "pipeline: release, task: build, destination: 192.0.2.7, port: 8125, transport: udp, lineage: any",
    "pipeline: release, task: build, destination: '2001:db8::1', transport: ipv6-icmp, lineage: any",
    "pipeline: release, task: test, destination: db.example, port: 5432, transport: tcp, lineage: any",
)


def dried(*spans: dict[str, Any], resolvers: tuple[str, ...] = ()) -> DryRun:
    found = DryRun(as_policy(export(KNOWN)), map(ip_address, resolvers))
    for each in spans:
        found.add(each)
    found.settle()
    return found


def denied(*spans: dict[str, Any]) -> list[str]:
    return [where for told in dried(*spans).pipelines.values() for _, where in told.places]


@pytest.mark.parametrize(
    "known",
    [
        span("registry.example"),
        span("a.cdn.example"),
        span("192.0.2.7", 8125, "udp", network_peer_address="192.0.2.7"),
        span("2001:db8::1", None, "ipv6-icmp", network_peer_address="2001:db8::1"),
        span("localhost", 80, network_peer_address="127.0.0.1"),
        span("::1", 80, network_peer_address="::1"),
        span("db.example", 5432, cicd_pipeline_task_name="test"),
        span("/run/docker.sock", None, "unix", network_peer_address="/run/docker.sock"),
        span("@bus", None, "unix", network_peer_address="@bus"),
        span("@\ud800", None, "unix", network_peer_address="@\ud800"),
        span("elsewhere.example", None, "udp"),  # port 0: to find out the way
        span("192.0.2.9", 4000, "udp", egress_rule="answer"),
        span("192.0.2.9", 4000, "udp", egress_rule="nothing sent"),
    ],
)
def test_what_the_baseline_has_would_go_on(known: dict[str, Any]) -> None:
    assert denied(known) == []


@pytest.mark.parametrize(
    ("unknown", "shown"),
    [
        (span("evil.example"), "evil.example:443"),
        (span("registry.example", 80), "registry.example:80"),
        (span("registry.example", transport="udp"), "udp://registry.example:443"),
        (span("cdn.example"), "cdn.example:443"),
        (span("db.example", 5432), "db.example:5432"),
        (span("registry.example", cicd_pipeline_name="other"), "registry.example:443"),
        (span("2001:db8::2", network_peer_address="2001:db8::2"), "[2001:db8::2]:443"),
        (span("_other", None, network_peer_address=None), "_other"),
        (span("192.0.2.9", 9, "sctp", network_peer_address="192.0.2.9"), "sctp://192.0.2.9:9"),
        (span("192.0.2.9", 4000, egress_rule="answer"), "192.0.2.9:4000"),
        (span(None, None, "new", network_peer_address=None), "new://an unknown destination"),
    ],
)
def test_what_it_has_not_would_be_denied(unknown: dict[str, Any], shown: str) -> None:
    assert denied(unknown) == [shown]


def test_runs_are_counted_by_id_and_attempt_and_the_broken_ones_are_named() -> None:
    found = dried(
        span("registry.example", cicd_pipeline_run_id="1"),
        span("evil.example", cicd_pipeline_run_id="2", egress_attempts=7),
        span("evil.example", cicd_pipeline_run_id="2"),
        span("registry.example", cicd_pipeline_run_id="2", egress_job_attempt="2"),
        span("evil.example", cicd_pipeline_run_id="1", cicd_pipeline_name="nightly"),
    )
    release, nightly = found.pipelines["release"], found.pipelines["nightly"]
    assert (len(release.runs), len(release.denied_runs), release.examples) == (3, 1, ["2"])
    assert release.places == {(RELEASE, "evil.example:443"): 8}
    assert (len(nightly.runs), len(nightly.denied_runs)) == (1, 1)


def test_what_was_denied_already_and_what_no_job_did_is_not_judged() -> None:
    found = dried(
        span("evil.example", egress_verdict="deny", egress_attempts=3),
        span("evil.example", cicd_pipeline_run_id=None),
    )
    assert not found.pipelines["release"].denied_runs
    assert found.left_out == {"denied already when they were recorded": 3, "of no job: without a run": 1}


def test_a_name_at_the_address_of_an_allowed_one_goes_on_as_in_the_kernel() -> None:
    found = dried(span("registry.example"), span("evil.example", egress_attempts=3), span("evil.example", 80))
    told = found.pipelines["release"]
    assert told.shared == {(RELEASE, "evil.example:443", "registry.example:443"): 3}
    assert told.places == {(RELEASE, "evil.example:80"): 1}


@pytest.mark.parametrize(
    ("first", "then", "at_ns"),
    [
        (span("registry.example", network_peer_address="198.51.100.8"), span("evil.example"), (1, 2)),
        (span("registry.example", cicd_pipeline_run_id="2"), span("evil.example"), (1, 2)),
        (span("db.example", 5432, cicd_pipeline_task_name="test"), span("evil.example"), (1, 2)),
        (span("registry.example"), span("evil.example"), (2, 1)),
        (span("registry.example"), span("198.51.100.7"), (2, 1)),
    ],
    ids=["another address", "another run", "another task", "before it", "by address before it"],
)
def test_a_name_that_its_job_had_not_met_there_before_says_nothing(
    first: dict[str, Any], then: dict[str, Any], at_ns: tuple[int, int]
) -> None:
    found = DryRun(as_policy(export(KNOWN)))
    for each, began_ns in zip((first, then), at_ns, strict=True):
        found.add(each, began_ns)
    found.settle()
    told = found.pipelines["release"]
    assert (len(told.places), told.shared) == (1, {})


@pytest.mark.parametrize(
    "rule",
    ["registry.example:443", "*.cdn.example", '{host: "*.cdn.example", ports: [443], lineage: [git]}'],
)
def test_the_rule_that_let_an_act_pass_tells_the_name_that_led_there(rule: str) -> None:
    told = dried(span("evil.example", egress_rule=rule, egress_verdict="allow")).pipelines["release"]
    assert not told.places
    assert [where for _, where, _ in told.shared] == ["evil.example:443"]


@pytest.mark.parametrize(
    "rule",
    ["default", "answer", "loopback", "192.0.2.0/24:443", "resolvers: system", "{host: }", "{", "x" * 9000],
    ids=lambda rule: rule[:20],
)
def test_what_is_no_rule_for_a_name_tells_none(rule: str) -> None:
    assert denied(span("evil.example", egress_rule=rule)) == ["evil.example:443"]


def test_what_waits_for_others_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(dry_run, "WAITING_MAX", 2)
    monkeypatch.setattr(neighbours, "MET_MAX", 2)
    hosts = [span(f"{n}.other", network_peer_address=f"198.51.100.{n}") for n in range(1, 6)]
    found = dried(*hosts, span("registry.example"), span("evil.example"))
    assert not found.pipelines["release"].shared
    assert found.pipelines["release"].places.total() == 6


def test_the_systems_resolvers_are_those_that_are_given() -> None:
    asked = span("192.0.2.53", 53, "udp", network_peer_address="192.0.2.53")
    with_dns = with_entries(
        "pipeline: release, task: build, destination: 203.0.113.53, port: 53, transport: udp, lineage: any"
    )
    policy = as_policy(export(with_dns))
    for resolvers, told in (("192.0.2.53",), 0), ((), 1):
        found = DryRun(policy, map(ip_address, resolvers))
        found.add(asked)
        found.settle()
        assert len(found.pipelines["release"].denied_runs) == told


def test_what_is_remembered_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("RUNS_MAX", "PLACES_MAX", "EXAMPLES_MAX"):
        monkeypatch.setattr(dry_run, name, 2)
    monkeypatch.setattr(judge, "REMEMBERED_MAX", 2)
    runs = (span(f"{n}.example", cicd_pipeline_run_id=f"{n}", cicd_pipeline_name=f"p{n}") for n in range(5))
    found = dried(*runs)
    assert list(found.pipelines) == ["p0", "p1"]
    assert found.left_out == {"beyond 2 runs": 3}
    more = dried(*(span(f"{n}.example", cicd_pipeline_task_name=f"t{n}") for n in range(5)))
    assert len(more.pipelines["release"].places) == 2
    assert len(more.pipelines["release"].denied_runs) == 1


@given(st.lists(st.dictionaries(st.sampled_from(sorted(ATTRIBUTES)), ANYTHING)))
def test_attributes_of_any_kind_are_judged_or_left_out(spans: list[dict[str, Any]]) -> None:
    found = dried(*spans)
    judged = sum(told.places.total() for told in found.pipelines.values())
    assert judged + found.left_out.total() <= sum(attempts(each.get("egress.attempts")) for each in spans)


def attempts(told: object) -> int:
    return told if isinstance(told, int) and not isinstance(told, bool) and told > 0 else 1
