"""What datagrams carry, on the spans of their acts and in the metric: each byte once."""

from __future__ import annotations

import json
from collections import Counter
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from exporter.events.facts import Act, Acted, Event, Metered
from exporter.pipeline.flows import HELD_MAX
from tests.unit.dns_samples import RESOLVER, asked, query
from tests.unit.pipeline.name_events import egress, started, told
from tests.unit.pipelines import ROOT, run
from tests.unit.records import ACT, AGGREGATE
from tests.unit.samples import CLOCK

_UDP = 17
SEND = ACT._replace(
    process=ROOT, exec_id=1, act=Act.SEND, protocol=_UDP, cookie=9, at_ns=1000, is_metered=True
)
CONNECT = SEND._replace(act=Act.CONNECT)
LOOKUP = CONNECT._replace(peer=RESOLVER, peer_port=53)


def metered(act: Acted, sent: int, received: int, *, at_ns: int = 2000) -> Metered:
    return Metered(at_ns, act.cookie, act.at_ns, sent, received)


def bytes_of(directory: Path) -> list[tuple[int, int] | None]:
    """Of each act, in the order in which they were told; None where it isn't known."""
    return [
        (int(span["egress.bytes_sent"]), int(span["egress.bytes_received"]))
        if "egress.bytes_sent" in span
        else None
        for span in map(told, egress(directory))
    ]


def io(directory: Path) -> Counter[str]:
    """What the metric has, by direction."""
    counted = Counter[str]()
    for line in (directory / "metrics.jsonl").read_text().splitlines()[-1:]:
        for resource in json.loads(line)["resourceMetrics"]:
            for metric in (one for scope in resource["scopeMetrics"] for one in scope["metrics"]):
                for point in metric["sum"]["dataPoints"] if metric["name"] == "cicd.egress.io" else ():
                    counted[told(point)["network.io.direction"]] += int(point["asInt"])
    return counted


@pytest.mark.parametrize("act", [SEND, CONNECT])
def test_an_act_has_what_its_datagrams_carried(tmp_path: Path, act: Acted) -> None:
    account = run([started(), act, metered(act, 120, 3)], tmp_path)
    assert bytes_of(tmp_path) == [(120, 3)]
    assert io(tmp_path) == {"transmit": 120, "receive": 3}
    assert str(account) == "attempts 1 = exported 1 + aggregated 0 + dropped 0 + pending 0"


def test_a_datagram_is_a_moment_and_a_connection_lasts_until_it_is_over(tmp_path: Path) -> None:
    connect = CONNECT._replace(cookie=10)
    run([started(), SEND, connect, metered(SEND, 1, 1), metered(connect, 1, 1, at_ns=5000)], tmp_path)
    assert [int(span["endTimeUnixNano"]) for span in egress(tmp_path)] == [
        CLOCK.wall_ns(SEND.at_ns),
        CLOCK.wall_ns(5000),
    ]


def test_acts_of_one_socket_have_each_their_own(tmp_path: Path) -> None:
    second = SEND._replace(at_ns=1500)
    run([started(), SEND, second, metered(SEND, 10, 0), metered(second, 20, 5)], tmp_path)
    assert bytes_of(tmp_path) == [(10, 0), (20, 5)]


def test_what_is_never_told_is_left_out(tmp_path: Path) -> None:
    unmetered = CONNECT._replace(cookie=11, is_metered=False)
    account = run([started(), SEND, unmetered, metered(unmetered, 7, 7)], tmp_path)
    assert bytes_of(tmp_path) == [None, None]
    assert io(tmp_path) == {}
    assert str(account).endswith("exported 2 + aggregated 0 + dropped 0 + pending 0")


def test_bytes_that_are_told_twice_count_once(tmp_path: Path) -> None:
    run([started(), SEND, metered(SEND, 10, 1), metered(SEND, 10, 1)], tmp_path)
    assert (bytes_of(tmp_path), io(tmp_path)) == ([(10, 1)], {"transmit": 10, "receive": 1})


@pytest.mark.parametrize("is_asked_first", [True, False])
def test_a_lookup_waits_for_its_question_and_its_bytes(tmp_path: Path, is_asked_first: bool) -> None:
    question = asked(query("registry.example"), process=ROOT, cookie=LOOKUP.cookie, at_ns=1100)
    rest: list[Event] = [question, metered(LOOKUP, 34, 50)]
    account = run([started(), LOOKUP, *(rest if is_asked_first else rest[::-1])], tmp_path)
    (span,) = map(told, egress(tmp_path))
    assert (span["dns.question.name"], bytes_of(tmp_path)) == ("registry.example", [(34, 50)])
    assert io(tmp_path) == {"transmit": 34, "receive": 50}
    assert str(account) == "attempts 1 = exported 1 + aggregated 0 + dropped 0 + pending 0"


def test_more_bytes_of_attempts_that_were_told_are_no_attempt(tmp_path: Path) -> None:
    first = AGGREGATE._replace(process=ROOT, attempts=40, bytes_sent=400)
    more = first._replace(at_ns=6_000_000, attempts=0, bytes_sent=10, bytes_received=90)
    account = run([started(), first, more], tmp_path)
    assert [int(told(span)["egress.attempts"]) for span in egress(tmp_path)] == [40, 0]
    assert io(tmp_path) == {"transmit": 410, "receive": 90}
    assert str(account) == "attempts 40 = exported 0 + aggregated 40 + dropped 0 + pending 0"


def test_beyond_the_most_that_are_held_the_oldest_is_told_without(tmp_path: Path) -> None:
    many = [SEND._replace(cookie=number, at_ns=1000 + number) for number in range(HELD_MAX + 2)]
    account = run([started(), *many, *(metered(act, 1, 0) for act in many)], tmp_path)
    assert Counter(bytes_of(tmp_path)) == {None: 2, (1, 0): HELD_MAX}
    assert account.exported == HELD_MAX + 2


ACTS = st.builds(
    lambda act, cookie, at_ns: act._replace(cookie=cookie, at_ns=at_ns),
    st.sampled_from([SEND, CONNECT, LOOKUP]),
    st.integers(0, 2),
    st.integers(0, 2),
)
MEASURES = st.builds(
    Metered, st.integers(3, 9), st.integers(0, 2), st.integers(0, 2), *[st.integers(0, 9)] * 2
)
QUESTIONS = st.builds(
    lambda cookie: asked(query("a.example"), process=ROOT, cookie=cookie, at_ns=2), st.integers(0, 2)
)


@given(events=st.lists(st.one_of(ACTS, MEASURES, QUESTIONS), max_size=12))
def test_in_whatever_order_they_come_each_act_is_told_once(
    tmp_path_factory: pytest.TempPathFactory, events: list[Event]
) -> None:
    directory = tmp_path_factory.mktemp("otlp")
    account = run([started(), *events], directory)
    attempts = sum(isinstance(event, Acted) for event in events)
    assert len(egress(directory)) == account.exported == account.attempts == attempts
    carried = [moved for moved in bytes_of(directory) if moved is not None]
    assert +io(directory) == +Counter(
        transmit=sum(sent for sent, _ in carried), receive=sum(received for _, received in carried)
    )
