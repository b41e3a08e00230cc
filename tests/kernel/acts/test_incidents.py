"""Attacks on builds as they happened, replayed with synthetic hosts.

They are told in audit, denied once enforced, and novel where a baseline knows the builds without them.

Each is a job with honest traffic and a theft in it, which hides its failures, so that the build goes on.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from tests.kernel.incidents import (
    BOTH,
    BUILD,
    INCIDENTS,
    RECORDS,
    REGISTRY,
    TOKEN,
    Incident,
    connections_at_evil,
    thefts,
    workspace,
)
from tests.kernel.lab import PORT, V4
from tests.kernel.policy_runs import MODES, Ruled, under
from tests.kernel.resolver import lab_with_resolver
from tests.kernel.tracing import logs, trace
from tests.launch import ci_egress

if TYPE_CHECKING:
    from pathlib import Path

    from tests.kernel.arrivals import Arrivals
    from tests.kernel.tracing import Span, Trace

pytestmark = pytest.mark.kernel


@MODES
@pytest.mark.parametrize("incident", INCIDENTS.values(), ids=INCIDENTS)
def test_an_incident_is_told_with_its_lineage_and_denied_once_enforced(
    tmp_path: Path, incident: Incident, mode: str
) -> None:
    job = tmp_path / "job"
    job.mkdir()
    env = {"PATH": workspace(job, incident), "BUILD_TOKEN": TOKEN, "BUILD_ID": BUILD}
    command = ["sh", "-c", f"cd {job}; {incident.command}; exit 0"]
    allow, options = [f"{REGISTRY}:{PORT}", *incident.allow], ("--job-env", "BUILD_ID")
    with lab_with_resolver(V4.peer, RECORDS, tmp_path) as lab, lab.watch() as watch:
        ruled = under(
            lab, mode, allow, command, tmp_path, *options, more="resolvers: system\n", is_inside=True, env=env
        )
    told = thefts(ruled.seen.egress, incident)
    assert ruled.seen.status == 0
    assert_theft_is_told(ruled, incident, told)
    assert_records_and_lines(ruled, incident, told)
    assert_honest_part_works(ruled, incident)
    assert_arrivals(watch.arrivals, ruled, incident)


@pytest.mark.parametrize("incident", INCIDENTS.values(), ids=INCIDENTS)
def test_an_incident_is_novel_to_a_baseline_of_the_honest_build(tmp_path: Path, incident: Incident) -> None:
    """Without any policy: all that is novel is what the thief does, its lookups included."""
    job = tmp_path / "job"
    job.mkdir()
    env = {"PATH": workspace(job, incident), "BUILD_TOKEN": TOKEN, "BUILD_ID": BUILD}
    command = ["sh", "-c", f"cd {job}; {incident.command}; exit 0"]
    thief = job / incident.poisoned
    with lab_with_resolver(V4.peer, RECORDS, tmp_path) as lab:

        def run(name: str, *options: str) -> Trace:
            more = ("--job-env", "BUILD_ID", *options)
            return lab.build.call(trace, None, command, tmp_path / name, *more, env=env).result()

        thief.write_text("")
        honest = run("honest")
        file = str(tmp_path / "baseline.yaml")
        learnt = ci_egress("baseline", "learn", "honest", "--output", file, cwd=tmp_path)
        known = ("--baseline", file)
        again = run("again", *known)
        thief.write_text(incident.files[incident.poisoned])
        seen = run("stolen", *known, "--fail-on", "novel")
    assert (honest.status, learnt.status, again.status, seen.status) == (0, 0, 0, 90)
    assert_nothing_is_novel(again, tmp_path / "again")
    novel = [span for span in seen.egress if span["egress.novel"]]
    assert_theft_alone_is_novel(seen, incident, novel)
    assert_novelty_is_told(seen, incident, novel, logs(tmp_path / "stolen"))


def assert_nothing_is_novel(seen: Trace, directory: Path) -> None:
    """In the build as it was learnt."""
    assert {span["egress.novel"] for span in seen.egress} == {False}
    assert {point.attributes["egress.novel"] for point in seen.metrics["cicd.egress.connections"]} == {False}
    assert [record for record in logs(directory) if record["eventName"] == "cicd.egress.novel"] == []
    assert "novel: " not in seen.stderr
    assert "that the baseline doesn't have" not in seen.stderr


def assert_theft_alone_is_novel(seen: Trace, incident: Incident, novel: list[Span]) -> None:
    """Over both IP versions; the rest of the build does what it ever did."""
    assert all(str(span["process.command_line"]).startswith(incident.culprit) for span in novel)
    evil = {network.evil for network in BOTH}
    kind = "tcp" if incident.act == "connect" else "udp"
    stolen = [
        span for span in novel if span["network.peer.address"] in evil and span["network.transport"] == kind
    ]
    assert sorted(span.name for span in stolen) == sorted(
        f"{incident.act} {incident.destination(network)}" for network in BOTH
    )
    thieves = {span["process.pid"] for span in novel}
    honest = [span for span in seen.egress if span["process.pid"] not in thieves]
    assert set(incident.honest) <= {span["server.address"] for span in honest}


def assert_novelty_is_told(
    seen: Trace, incident: Incident, novel: list[Span], records: list[dict[str, Any]]
) -> None:
    """Each destination by a line and a record, in the trace of the job; each attempt by the metric."""
    chain = f"{incident.chain[-1]} ({' → '.join(incident.chain)})"
    wheres = {(span["server.address"], span["server.port"], span["network.transport"]) for span in novel}
    lines = [line for line in seen.stderr.splitlines() if line.startswith("ci-egress: novel: ")]
    assert len(lines) == len(records) == len(wheres)
    assert all(line.startswith(f"ci-egress: novel: {chain} → ") for line in lines)
    assert {f"ci-egress: {record['body']['stringValue']}" for record in records} == {*lines}
    assert {record["eventName"] for record in records} == {"cicd.egress.novel"}
    assert {(record["traceId"], record["spanId"]) for record in records} <= {
        (seen.job.trace_id, span.span_id) for span in novel
    }
    points = seen.metrics["cicd.egress.connections"]
    assert sum(point.value for point in points if point.attributes["egress.novel"]) == len(novel)
    assert {
        (where["server.address"], where["server.port"], where["network.transport"])
        for where in (point.attributes for point in points)
        if where["egress.novel"]
    } == wheres


def assert_arrivals(arrivals: Arrivals, ruled: Ruled, incident: Incident) -> None:
    """At evil: in audit the theft, over both IP versions; once it is denied not a packet of it."""
    stolen = 0 if ruled.is_enforced else len(BOTH)
    assert connections_at_evil(arrivals) == stolen + incident.honest_at_evil
    if ruled.is_enforced and not incident.honest_at_evil:
        assert [arrivals.packets_to(network.evil) for network in BOTH] == [0] * len(BOTH)


def assert_theft_is_told(ruled: Ruled, incident: Incident, spans: list[Span]) -> None:
    """Two spans, one for each IP version, in the job's trace below those who did it."""
    ruled.assert_against(spans)
    names = {network.evil: incident.destination(network) for network in BOTH}
    assert sorted(f"{span['network.peer.address']} {span.name}" for span in spans) == sorted(
        f"{address} {incident.act} {name}" for address, name in names.items()
    )
    for span in spans:
        above = ruled.seen.above(span)
        assert above[0] is ruled.seen.job
        assert tuple(program.name for program in above[1:]) == incident.chain
        assert span["egress.ancestors"] == [program["process.command_line"] for program in above[1:-1]]
        assert str(span["process.command_line"]).startswith(incident.culprit)
        assert span["cicd.pipeline.run.id"] == BUILD
        question = str(span.attributes.get("dns.question.name", ""))
        assert question.endswith(".t.exfil.example") == (incident.act == "send" and not ruled.is_enforced)


def assert_records_and_lines(ruled: Ruled, incident: Incident, spans: list[Span]) -> None:
    """Nothing but the theft has records, each span of it one; lines only where it was denied."""
    did, event = ("blocked", "denied") if ruled.is_enforced else ("would block", "would_deny")
    chain = " → ".join(incident.chain)
    shown = {f"{incident.chain[-1]} ({chain}) → {incident.destination(n)}, rule default" for n in BOTH}
    assert {(record["eventName"], record["body"]["stringValue"]) for record in ruled.records} == {
        (f"cicd.egress.{event}", f"{did}: {text}") for text in shown
    }
    recorded = [record["spanId"] for record in ruled.records]
    assert [recorded.count(span.span_id) for span in spans] == [1] * len(spans)
    assert {record["traceId"] for record in ruled.records} == {ruled.seen.job.trace_id}
    assert set(ruled.blocked) == (shown if ruled.is_enforced else set())


def assert_honest_part_works(ruled: Ruled, incident: Incident) -> None:
    """In both modes alike: each connection of the build's own was allowed, and came about."""
    allowed = [span for span in ruled.seen.egress if span["egress.verdict"] == "allow"]
    tcp = [span for span in allowed if span["network.transport"] == "tcp"]
    assert {span["server.address"] for span in tcp} == set(incident.honest)
    assert {span["egress.outcome"] for span in tcp} == {"established"}
    assert ruled.seen.account.endswith("+ dropped 0 + pending 0")
