"""Attacks on builds as they happened, replayed with synthetic hosts: told in audit, denied once enforced.

Each is a job with honest traffic and a theft in it, which hides its failures, so that the build goes on.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from .incidents import (
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
from .lab import PORT, V4
from .resolver import lab_with_resolver
from .ruled import MODES, Ruled, under

if TYPE_CHECKING:
    from pathlib import Path

    from .arrivals import Arrivals
    from .tracing import Span

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
