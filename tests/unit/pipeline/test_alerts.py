"""What a policy denies is told at once, the first time, and a flood of it stays bounded."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
from opentelemetry.sdk.resources import Resource
from opentelemetry.trace import StatusCode

from exporter.events.destinations import destination
from exporter.events.facts import RULE_OF_LOOKUPS, Act, Acted, Aggregated, Outcome, Verdict
from exporter.events.programs import Program
from exporter.otlp.attributes import LayeredSpan
from exporter.otlp.records import LogRecord, Severity
from exporter.pipeline.account import Account
from exporter.pipeline.alerts import OTHER_CHAINS, SAID_MAX, TOLD_MAX, UNLISTED, Denials, Novelties
from exporter.pipeline.flows import Flow
from exporter.pipeline.job import TracedJob
from exporter.pipeline.ruling import Ruling, Terms, ruling
from exporter.pipeline.spans import Spans
from exporter.session.fail_on import failings
from exporter.session.settings import FailOn
from tests.unit.records import ACT, AGGREGATE, BASH
from tests.unit.samples import CLOCK, JOB, attempt, attempt_of, bash, program

TERMS = Terms("enforce", "policy.yaml", {1: "192.0.2.0/24"})
DENIED = ACT._replace(verdict=Verdict.DENY, rule=1)
LOSSY = Account(3, 1, 0, {("process", "internal"): 1, ("export", "400"): 1})
"""Of the two that got lost, one was known."""


class Told:
    """A job's denials, and all that was told of them."""

    def __init__(self) -> None:
        self.records: list[LogRecord] = []
        self.lines: list[str] = []
        self.fields: list[dict[str, Any]] = []
        self._denials = Denials(self.records.append, self._say)
        self._spans = Spans(JOB, Resource({}), CLOCK)

    def _say(self, line: str, **fields: Any) -> None:
        self.lines.append(line)
        self.fields.append(fields)

    @property
    def denials(self) -> Denials:
        return self._denials

    def meet_many(self, event: Aggregated) -> None:
        """Of whoever it was."""
        met = attempt_of(event, None, ruling(TERMS, event), spans=self._spans)
        span = self._spans.aggregate(met)
        self._denials.meet(met, lambda: span)

    def meet(
        self, event: Acted, looked_up: str | None = None, *, refused: str | None = None, **who: Any
    ) -> Flow:
        said, actor = ruling(TERMS, event)._replace(refused=refused), program(**{"parent": bash(), **who})
        where = destination(event, looked_up)
        flow = Flow(attempt_of(event, actor, said, where=where, spans=self._spans))
        self._denials.meet(flow.attempt, lambda: self._spans.egress(flow, event.at_ns))
        return flow


def aggregate(event: Aggregated, who: Program | None, said: Ruling) -> LayeredSpan:
    spans = Spans(JOB, Resource({}), CLOCK)
    return spans.aggregate(attempt_of(event, who, said, spans=spans))


def test_each_name_that_a_resolver_is_not_asked_for_is_told_once() -> None:
    told = Told()
    refused = DENIED._replace(rule=RULE_OF_LOOKUPS, act=Act.SEND, peer_port=53, protocol=17)
    for name in ("one.example", "two.example\x1b[2J", "one.example", None):
        told.meet(refused, refused=name)
    to = "blocked: curl (bash → curl) → 192.0.2.7:53"
    assert told.lines == [
        f"{to} asks for one.example, rule dns: deny",
        f"{to} asks for two.example\\x1b[2J, rule dns: deny",
        f"{to}, rule dns: deny",
    ]
    assert [fields.get("question") for fields in told.fields] == ["one.example", "two.example\x1b[2J", None]


def test_a_denied_act_is_a_record_with_the_attributes_of_its_span_and_a_line() -> None:
    told = Told()
    flow = told.meet(DENIED)
    line = "blocked: curl (bash → curl) → 192.0.2.7:443, rule 192.0.2.0/24"
    assert told.lines == [line]
    assert told.fields == [
        {
            "event": "cicd.egress.denied",
            "pid": DENIED.process.pid,
            "chain": ("bash", "curl"),
            "destination": "192.0.2.7:443",
            "transport": "tcp",
            "rule": "192.0.2.0/24",
            "ruleset": "policy.yaml",
            "trace_id": f"{flow.attempt.context.trace_id:032x}",
            "span_id": f"{flow.attempt.context.span_id:016x}",
        }
    ]
    (record,) = told.records
    assert (record.event_name, record.severity, record.body) == ("cicd.egress.denied", Severity.ERROR, line)
    assert (record.context, record.at_ns) == (flow.attempt.context, CLOCK.wall_ns(DENIED.at_ns))
    assert {
        "egress.verdict": "deny",
        "egress.outcome": "denied",
        "error.type": "EPERM",
        "security_rule.name": "192.0.2.0/24",
        "process.pid": DENIED.process.pid,
    }.items() <= record.attributes.items()


def test_what_would_be_denied_is_a_record_and_no_line() -> None:
    told = Told()
    told.meet(ACT._replace(verdict=Verdict.AUDIT))
    assert [(record.event_name, record.severity) for record in told.records] == [
        ("cicd.egress.would_deny", Severity.WARN)
    ]
    assert told.lines == []


@pytest.mark.parametrize("verdict", [Verdict.NONE, Verdict.ALLOW])
def test_what_is_allowed_is_not_told(verdict: Verdict) -> None:
    told = Told()
    told.meet(ACT._replace(verdict=verdict))
    assert told.records == []


def test_the_line_has_the_whole_chain_and_the_name() -> None:
    told = Told()
    npm = program("/usr/bin/npm", process=BASH)
    told.meet(
        DENIED._replace(rule=0),
        looked_up="evil.example",
        path="/usr/bin/node",
        parent=program("/bin/sh", parent=npm),
    )
    assert told.lines == ["blocked: node (npm → sh → node) → evil.example:443, rule default"]


def test_of_denied_acts_that_were_only_counted_the_span_is_an_error_too() -> None:
    event = AGGREGATE._replace(verdict=Verdict.DENY, outcome=Outcome.DENIED)
    span = aggregate(event, program(), ruling(TERMS, event))
    assert span.status.status_code is StatusCode.ERROR
    assert {
        "egress.outcome": "denied",
        "egress.attempts": AGGREGATE.attempts,
        "error.type": "EPERM",
        "security_rule.name": "default",
        "security_rule.ruleset.name": "policy.yaml",
    }.items() <= span.attributes.items()


def test_a_program_and_a_destination_are_told_once() -> None:
    told = Told()
    told.meet(DENIED)
    told.meet(DENIED._replace(at_ns=DENIED.at_ns + 1))
    assert len(told.records) == len(told.lines) == 1
    told.meet(DENIED._replace(peer_port=80))
    told.meet(DENIED, exec_id=2)
    assert len(told.records) == len(told.lines) == 3


def test_every_attempt_is_counted_whatever_is_told_of_it() -> None:
    told = Told()
    for event in (DENIED, DENIED, ACT._replace(verdict=Verdict.AUDIT), ACT._replace(verdict=Verdict.ALLOW)):
        told.meet(event)
    told.meet_many(AGGREGATE._replace(verdict=Verdict.DENY, attempts=1_000))
    assert told.denials.attempts == {"deny": 1_002, "audit": 1}
    assert told.denials.first == {
        "deny": "curl (bash → curl) → 192.0.2.7:443, rule 192.0.2.0/24",
        "audit": "curl (bash → curl) → 192.0.2.7:443, rule default",
    }


def test_attempts_of_whom_it_is_not_known_are_told_too() -> None:
    told = Told()
    others = AGGREGATE._replace(verdict=Verdict.DENY, is_other=True)
    told.meet_many(others)
    told.meet_many(others)
    assert told.lines == ["blocked: a program that isn't known → _other"]
    (record,) = told.records
    assert (record.event_name, record.body) == ("cicd.egress.denied", told.lines[0])
    assert record.attributes["security_rule.ruleset.name"] == "policy.yaml"


NOTHING_NOVEL = Novelties(print, print)


def test_without_being_asked_nothing_fails_a_run() -> None:
    told = Told()
    told.meet(DENIED)
    assert failings([], told.denials, NOTHING_NOVEL, LOSSY) == []


def test_an_attempt_that_got_lost_before_it_was_judged_fails_a_run_that_must_not_be_denied() -> None:
    told = Told()
    assert failings([FailOn.DENY], told.denials, NOTHING_NOVEL, Account(3, 3, 0)) == []
    assert failings([FailOn.DENY], told.denials, NOTHING_NOVEL, LOSSY) == [
        "--fail-on: of 1 attempt it isn't known what the policy said"
    ]


def novel(attempts: int) -> Novelties:
    """So many, to one destination."""
    met = Novelties(lambda _: None, lambda *_, **__: None)
    where, span = destination(AGGREGATE), aggregate(AGGREGATE, None, Ruling())
    one = attempt(where, program(parent=bash()), attempts=attempts)
    met.meet(one, lambda: "not in the baseline", lambda: span)
    return met


def test_what_is_novel_fails_a_run_that_asks_for_it() -> None:
    denials, account, met = Told().denials, Account(3, 3, 0), novel(3)
    line = "3 attempts to what the baseline doesn't have, first: curl (bash → curl) → 192.0.2.7:53"
    assert failings([FailOn.NOVEL], denials, met, account) == [
        f"--fail-on novel: {line}, not in the baseline"
    ]
    assert failings([FailOn.AUDIT, FailOn.DENY], denials, met, account) == []
    assert failings([FailOn.NOVEL], denials, NOTHING_NOVEL, account) == []


def test_of_what_is_novel_an_unknown_host_is_told_before_known_ones_and_lookups() -> None:
    met = Novelties(lambda _: None, lambda *_, **__: None)
    span = aggregate(AGGREGATE, None, Ruling())
    firsts = []
    for port, why in (
        (53, UNLISTED),
        (53, OTHER_CHAINS),
        (443, OTHER_CHAINS),
        (444, UNLISTED),
        (445, UNLISTED),
    ):
        where = destination(AGGREGATE)._replace(port=port)
        met.meet(attempt(where, program()), lambda why=why: why, lambda: span)  # type: ignore[misc]
        firsts.append((met.first or "").partition("192.0.2.7:")[2])
    assert firsts == [f"53, {UNLISTED}"] * 2 + [f"443, {OTHER_CHAINS}"] + [f"444, {UNLISTED}"] * 2


def test_of_what_is_denied_a_lookup_is_told_last() -> None:
    told = Told()
    firsts = []
    for port in (53, 53, 443, 444):
        told.meet(DENIED._replace(peer_port=port))
        firsts.append(told.denials.first["deny"].partition("192.0.2.7:")[2])
    assert firsts == ["53, rule 192.0.2.0/24"] * 2 + ["443, rule 192.0.2.0/24"] * 2


@pytest.mark.parametrize(
    ("fail_on", "unknown"),
    [
        ([FailOn.NOVEL], "whether it was novel"),
        ([FailOn.NOVEL, FailOn.DENY], "whether it was novel and what the policy said"),
    ],
)
def test_an_attempt_that_got_lost_before_it_was_judged_may_have_been_novel(
    fail_on: list[FailOn], unknown: str
) -> None:
    found = failings(fail_on, Told().denials, NOTHING_NOVEL, LOSSY)
    assert found == [f"--fail-on: of 1 attempt it isn't known {unknown}"]


def test_a_flood_of_destinations_is_bounded() -> None:
    told = Told()
    for port in range(1, TOLD_MAX + 100):
        told.meet(DENIED._replace(peer_port=port))
    assert len(told.records) == TOLD_MAX
    said, no_more_lines, no_more_records = told.lines[:SAID_MAX], *told.lines[SAID_MAX:]
    assert len(said) == SAID_MAX
    assert no_more_lines == "blocked: further ones are told in the summary and the spans"
    assert no_more_records.startswith(f"{TOLD_MAX} denials have a log record each; further ones have none")


def test_a_denied_act_has_no_other_outcome() -> None:
    assert Told().meet(DENIED).outcome is Outcome.DENIED


@pytest.mark.parametrize(
    ("protocol", "socket"), [(1, "icmp socket"), (58, "ipv6-icmp socket"), (17, "raw udp socket")]
)
def test_a_denied_socket_is_told_as_one(protocol: int, socket: str) -> None:
    told = Told()
    told.meet(ACT._replace(act=Act.CREATE, verdict=Verdict.DENY, protocol=protocol))
    assert told.lines == [f"blocked: curl (bash → curl) → {socket}, rule default"]


def test_an_answer_is_told_by_a_rule_that_no_file_has() -> None:
    answer = ACT._replace(verdict=Verdict.ALLOW, rule=(1 << 32) - 2)
    assert ruling(TERMS, answer) == Ruling("allow", "enforce", "answer", "policy.yaml")


def test_the_mode_is_that_of_the_moment() -> None:
    audit = ACT._replace(verdict=Verdict.AUDIT)
    assert ruling(TERMS, audit) == Ruling("audit", "audit", "default", "policy.yaml")
    assert ruling(TERMS, DENIED) == Ruling("deny", "enforce", "192.0.2.0/24", "policy.yaml")
    assert ruling(TERMS, ACT._replace(verdict=Verdict.ALLOW, rule=1)).mode == "enforce"


def test_without_a_policy_there_is_a_verdict_alone() -> None:
    assert ruling(None, ACT) == ruling(TERMS, ACT) == Ruling("allow")
    assert ruling(None, DENIED) == Ruling("deny")


def test_of_acts_with_others_and_of_a_rule_that_is_not_known_none_is_named() -> None:
    others = AGGREGATE._replace(verdict=Verdict.DENY, rule=1, is_other=True)
    assert ruling(TERMS, others) == Ruling("deny", "enforce", None, "policy.yaml")
    assert ruling(TERMS, DENIED._replace(rule=2)).rule is None


def test_what_an_unknown_policy_said_has_no_rule() -> None:
    """One of an exporter before: its numbers are another policy's here."""
    nothing: Any = None
    job = TracedJob(nothing, nothing, nothing, 0, nothing, nothing, terms=replace(TERMS, number=2))
    said = [ruling(job.terms_of(policy), DENIED._replace(policy=policy)) for policy in (1, 2)]
    assert said == [Ruling("deny", "enforce"), Ruling("deny", "enforce", "192.0.2.0/24", "policy.yaml")]
