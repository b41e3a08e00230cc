"""What is learnt of spans: destinations, chains, runs and dates; and what isn't, and that this is told."""

from __future__ import annotations

from datetime import date
from ipaddress import IPv4Address

import pytest

from exporter.baseline import seen as limits
from exporter.baseline.conclude import Learnt
from exporter.baseline.model import Entry, History, Task
from exporter.events.programs import CHAIN_MAX
from exporter.otlp.reading.spans import EgressSpan
from exporter.policy.model import Name
from tests.unit.baseline.spans import CHAIN, DAY_NS, FIRST_NS, at_ns, learnt, span

TASK = Task("release", "build")


def hosts(result: Learnt) -> list[str]:
    return [str(entry.host) for entry in result.baseline.entries]


def only_history(result: Learnt) -> History:
    (history,) = result.baseline.histories.values()
    return history


def test_a_destination_has_its_chains_its_dates_and_its_runs() -> None:
    spans = [
        span(run=9, started_ns=at_ns("2026-11-24T23:59:59")),
        span(run=3, started_ns=at_ns("2026-11-02T00:00:00"), chain=("bash", "pip")),
        span(run=3, started_ns=at_ns("2026-11-02T00:00:01")),
    ]
    expected = Entry(
        *(TASK, Name("registry.example"), 443, "tcp", frozenset({CHAIN, ("bash", "pip")})),
        *(date(2026, 11, 2), date(2026, 11, 24), 2),
    )
    assert learnt(spans).baseline.entries == (expected,)


def test_an_address_is_one_and_a_protocol_without_ports_has_none() -> None:
    (entry,) = learnt([span("192.0.2.1", port=None, network_transport="icmp")]).baseline.entries
    assert (entry.host, entry.port, entry.transport) == (IPv4Address("192.0.2.1"), None, "icmp")


def test_entries_are_sorted_and_tasks_kept_apart() -> None:
    spans = [
        *(span("b.example"), span("a.example", port=80), span("a.example", pipeline="nightly")),
        *(span("a.example", task=None), span("a.example", pipeline=None, task=None)),
    ]
    assert [(*entry.task, str(entry.host)) for entry in learnt(spans).baseline.entries] == [
        (None, None, "a.example"),
        ("nightly", "build", "a.example"),
        ("release", None, "a.example"),
        ("release", "build", "a.example"),
        ("release", "build", "b.example"),
    ]


def test_an_attempt_of_a_run_is_a_run() -> None:
    spans = [
        *(span(run=1), span(run=1), span(run=1, egress_job_attempt="2"), span(run=2)),
        span(run=1, pipeline="nightly"),
    ]
    entries = learnt(spans).baseline.entries
    assert [(entry.task.pipeline, entry.runs) for entry in entries] == [("nightly", 1), ("release", 3)]


@pytest.mark.parametrize(
    ("unwanted", "why"),
    [
        (span(egress_verdict="deny"), "denied, so nothing went there"),
        (span("_other", port=None, network_peer_address=None), "of destinations that were counted together"),
        (span(None, port=None, network_peer_address=None), "of sockets without an address"),
        (span(egress_rule="answer", network_transport="udp"), "answering who asked a job's own listener"),
        (span(run=None), "of no job"),
        (span(chain=()), "of programs that aren't known"),
        (span(chain=("x" * 5000,)), "of programs that aren't known"),
        (span(chain=("bash", "")), "of programs that aren't known"),
        (span(chain=("bash", ["npm"])), "of programs that aren't known"),
        (span(chain=(["npm"],)), "of programs that aren't known"),
        (span(run="1" * 5000), "of what no baseline can name"),
        (span(started_ns=0), "without a time"),
        (span(started_ns=1 << 63), "without a time"),
        (span("a b"), "of what no baseline can name"),
        (span("*.example"), "of what no baseline can name"),
        (span("192.0.2.0/24"), "of what no baseline can name"),
        (span(port=None), "of what no baseline can name"),
        (span(port=65536), "of what no baseline can name"),
        (span(network_transport="quic"), "of what no baseline can name"),
        (span(task="x" * 5000), "of what no baseline can name"),
    ],
)
def test_what_is_not_learnt_is_told_with_its_attempts(unwanted: EgressSpan, why: str) -> None:
    attributes = unwanted.attributes
    result = learnt(
        [span("a.example"), unwanted, unwanted._replace(attributes={**attributes, "egress.attempts": 6})]
    )
    assert hosts(result) == ["a.example"]
    (note,) = result.notes
    assert note.startswith(f"not learnt: 7 attempts {why}")


@pytest.mark.parametrize("peer", ["127.0.0.1", "::1", "0.0.0.0", "::", "/run/docker.sock", "@bus"])  # noqa: S104
@pytest.mark.parametrize("host", ["cache.example", None])
def test_loopback_is_not_learnt_and_nothing_is_said_of_it(host: str | None, peer: str) -> None:
    if host is None:
        inward = span(peer, network_peer_address=None, egress_verdict="deny")
    else:
        inward = span(host, network_peer_address=peer, egress_verdict="deny")
    result = learnt([span("a.example"), inward])
    assert (hosts(result), result.notes) == (["a.example"], ())


def test_a_name_that_is_like_localhost_is_learnt_where_its_address_is_elsewhere() -> None:
    assert hosts(learnt([span("localhost")])) == ["localhost"]


def test_a_rule_for_a_host_called_answer_is_no_answer() -> None:
    assert hosts(learnt([span("answer", egress_rule="answer")])) == ["answer"]


def test_more_chains_than_anybody_reads_are_any_and_that_is_told() -> None:
    few = [span(chain=("bash", f"tool-{number}")) for number in range(limits.CHAINS_MAX)]
    (entry,) = learnt(few).baseline.entries
    assert entry.lineages is not None
    assert len(entry.lineages) == 64
    result = learnt([*few, span(chain=("bash", "one-more"))])
    assert [each.lineages for each in result.baseline.entries] == [None]
    assert result.notes == (
        "release/build: registry.example:443: `lineage: any`, since more than 64 chains reached it",
    )


def test_more_destinations_than_there_is_room_for_are_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(limits, "DESTINATIONS_MAX", 3)
    result = learnt([span(f"192.0.2.{number}", egress_attempts=2) for number in range(5)])
    assert hosts(result) == ["192.0.2.0", "192.0.2.1", "192.0.2.2"]
    (note,) = result.notes
    assert note.startswith("not learnt: 4 attempts beyond")


def test_runs_beyond_those_there_is_room_for_are_learnt_but_not_counted(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(limits, "RUNS_MAX", 2)
    result = learnt([span(run=number) for number in range(1, 5)])
    (entry,) = result.baseline.entries
    assert (entry.runs, entry.last_seen, only_history(result).runs) == (2, date(2026, 11, 6), 2)
    assert result.notes == ("only 2 runs are counted; 2 acts of others are learnt all the same",)


def test_a_pipeline_of_which_no_run_is_counted_is_learnt_without_a_history(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(limits, "RUNS_MAX", 1)
    baseline = learnt([span(), span(pipeline="nightly")]).baseline
    assert [(entry.task.pipeline, entry.runs) for entry in baseline.entries] == [
        ("nightly", None),
        ("release", 1),
    ]
    assert [*baseline.histories] == ["release"]


def test_names_with_half_a_character_become_whole() -> None:
    (entry,) = learnt([span(pipeline="a\ud800", chain=("b\udfff",))]).baseline.entries
    assert (entry.task.pipeline, entry.lineages) == ("a\ufffd", frozenset({("b\ufffd",)}))


def test_quiet_runs_are_the_latest_ones_that_brought_nothing_new() -> None:
    spans = [*(span(run=number) for number in range(1, 10)), span("new.example", run=4)]
    assert only_history(learnt(reversed(spans))) == History(9, 5, date(2026, 11, 11))


def test_a_chain_that_is_new_ends_the_quiet() -> None:
    spans = [*(span(run=number) for number in range(1, 10)), span(run=9, chain=("bash", "curl"))]
    assert only_history(learnt(spans)).quiet_runs == 0


def test_a_new_destination_of_another_pipeline_does_not_end_the_quiet() -> None:
    spans = [*(span(run=number) for number in range(1, 4)), span("new.example", run=3, pipeline="nightly")]
    assert learnt(spans).baseline.histories["release"] == History(3, 2, date(2026, 11, 5))


def test_of_runs_side_by_side_the_one_that_did_it_first_brought_it() -> None:
    """The later run had the destination before the earlier one, which goes on for long."""
    spans = [
        *(span(run="long", started_ns=FIRST_NS), span(run="short", started_ns=FIRST_NS + 1)),
        span("new.example", run="short", started_ns=FIRST_NS + 2),
        span("new.example", run="long", started_ns=FIRST_NS + DAY_NS),
    ]
    assert only_history(learnt(spans)).quiet_runs == 0


def test_a_run_that_only_tried_what_was_denied_is_a_quiet_run() -> None:
    spans = [span(run=1), span("evil.example", run=2, egress_verdict="deny")]
    assert only_history(learnt(spans)) == History(2, 1, date(2026, 11, 4))


def test_a_chain_with_a_gap_is_not_learnt_as_the_shorter_one_that_it_looks_like() -> None:
    whole = ("bash", *["sh"] * (CHAIN_MAX - 1))  # a long one names its end alone, and is known by that
    cut = ["egress.ancestors", "egress.lineage"]
    result = learnt([span(egress_truncated=cut), span("b.example", chain=whole, egress_truncated=cut)])
    assert hosts(result) == ["b.example"]
    assert result.notes == ("not learnt: 1 attempt of programs that aren't known",)


def test_of_much_that_was_novel_the_first_is_named() -> None:
    notes = learnt(span(f"host-{number:02}.example", egress_novel=True) for number in range(25)).notes
    assert len(notes) == 21
    assert notes[0].startswith("host-00.example:443 of release, build was novel when it was recorded (run 1)")
    assert notes[-1] == "and 5 more destinations that were novel when they were recorded"


def test_what_was_known_when_it_was_recorded_is_not_told() -> None:
    assert learnt([span(egress_novel=False)]).notes == ()


def test_repositories_that_share_the_name_of_a_pipeline_are_told() -> None:
    ledger, cart, third = (
        span(pipeline="CI")._replace(repository=name) for name in ("bank/ledger", "shop/cart", "shop/zoo")
    )
    told = "what one of them reaches isn't novel for the other"
    how = "learn each by itself with --repository"
    assert learnt([ledger, cart, ledger, span()]).notes == (
        f"pipeline CI is of 2 repositories (bank/ledger, shop/cart): {told}; {how}",
    )
    assert learnt([ledger, cart, third]).notes == (
        f"pipeline CI is of 3 repositories (bank/ledger, shop/cart, shop/zoo): {told}s; {how}",
    )
    assert learnt([ledger, cart._replace(repository=None)]).notes == ()
