"""A lookup whose question comes late: on a busy machine a process waits between its connect and that."""

from __future__ import annotations

import pytest

from exporter.events.facts import Act, Acted, Metered
from exporter.pipeline.flows import NAMES_CHARS, Flow, Flows
from tests.unit.records import ACT, ASK
from tests.unit.samples import attempt_of, program

NAME = "registry.example"
SECOND_NS = 1_000_000_000
CONNECT = ACT._replace(
    act=Act.CONNECT, protocol=17, peer=ASK.resolver, peer_port=53, cookie=ASK.cookie, is_metered=True
)


def flow_of(event: Acted) -> Flow:
    return Flow(attempt_of(event, program()))


def test_of_long_names_so_many_are_kept_as_have_room() -> None:
    flow = flow_of(CONNECT)
    for number in range(40):
        flow.asked(f"{number}{'x' * 300}.example")
    assert (len(flow.names), flow.questions) == (3, 40)
    flow = flow_of(CONNECT)
    flow.asked("x" * 2 * NAMES_CHARS)
    assert len(flow.names) == 1


def test_what_a_connection_asks_is_told_though_it_was_begun_twice() -> None:
    """Where there was no way at first; the act is the first one's."""
    flows, event = Flows(), CONNECT._replace(protocol=6, is_metered=False)
    first, again = flow_of(event), flow_of(event._replace(at_ns=event.at_ns + 1))
    assert [*flows.hold(first)] == []
    assert [*flows.hold(again)] == [again]
    assert [*flows.asked(ASK, NAME)] == []
    assert [*flows.rest({first.attempt.scope})] == [first]
    assert first.question == NAME


@pytest.mark.parametrize("act", [Act.CONNECT, Act.SEND])
@pytest.mark.parametrize("is_measured", [True, False])
def test_a_question_that_comes_late_is_still_its_sockets(act: Act, *, is_measured: bool) -> None:
    flows, event = Flows(), CONNECT._replace(act=act)
    flow, late_ns = flow_of(event), event.at_ns + 3 * SECOND_NS
    assert [*flows.hold(flow)] == []
    assert [*flows.overdue(late_ns)] == [], "its bytes aren't known yet"
    assert [*flows.asked(ASK._replace(at_ns=late_ns), NAME)] == []
    if is_measured:
        assert flows.measure(Metered(late_ns, event.cookie, event.at_ns, 34, 50)) is flow
    else:
        assert [*flows.rest({flow.attempt.scope})] == [flow]
    assert flow.question == NAME
