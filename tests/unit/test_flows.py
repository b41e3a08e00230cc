"""A lookup whose question comes late: on a busy machine a process waits between its connect and that."""

from __future__ import annotations

import pytest
from opentelemetry.sdk.resources import Resource

from exporter.destinations import destination
from exporter.events import Act, Acted, Metered
from exporter.flows import Flow, Flows
from exporter.spans import Spans
from tests.unit.records import ACT, ASK
from tests.unit.samples import CLOCK, JOB, program

NAME = "registry.example"
SECOND_NS = 1_000_000_000
CONNECT = ACT._replace(
    act=Act.CONNECT, protocol=17, peer=ASK.resolver, peer_port=53, cookie=ASK.cookie, is_metered=True
)


def flow_of(event: Acted) -> Flow:
    spans = Spans(JOB, Resource({}), CLOCK)
    context = spans.next_context(event.at_ns)
    return Flow(event, destination(event), program(), "root", context, spans.job_context)


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
        assert [*flows.rest({flow.program.scope})] == [flow]
    assert flow.question == NAME
