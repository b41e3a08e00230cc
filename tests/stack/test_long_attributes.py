"""What a job makes as long as it can comes to Jaeger, too, and holds nothing up."""

from __future__ import annotations

import json
import re
from typing import TYPE_CHECKING

import pytest
import urllib3

from exporter.otlp.attributes import Attributes
from tests.stack.apis import ANSWER_WITHIN_S
from tests.stack.conftest import wait_until
from tests.stack.span_sender import new_trace_id, stored, stored_ids, submit, telemetry_to

if TYPE_CHECKING:
    from opentelemetry.util.types import AttributeValue

    from demo.stack.servers import Stack

pytestmark = [pytest.mark.stack, pytest.mark.timeout(900)]  # the first one may wait for the builds

LISTS = ("process.command_args", "egress.ancestors", "egress.lineage")


def attributes(text: str) -> dict[str, AttributeValue]:
    """Lists of this text, about as long as ci-egress lets them be."""
    bounded = Attributes()
    for name in LISTS:
        bounded.add_list(name, [text] * 4)
    assert not bounded.cut_names
    return dict(bounded.upon().items())


def waiting_bytes(stack: Stack) -> int:
    """How much the collector still has for Jaeger."""
    exposition = urllib3.request("GET", stack.collector_self_url, timeout=ANSWER_WITHIN_S).data.decode()
    (size,) = re.findall(r"^otelcol_exporter_queue_size\{.*\} (\S+)$", exposition, re.MULTILINE)
    return int(float(size))


@pytest.mark.parametrize("text", ["<" * 8000, '"' * 8000, "\x01" * 8000, "\\" * 8000])
def test_lists_that_json_makes_longer_arrive_cut_and_say_so(stack: Stack, text: str) -> None:
    trace_id = new_trace_id()
    with telemetry_to(stack.otlp_environ()) as telemetry:
        submit(telemetry, trace_id, [1], attributes(text))
        submit(telemetry, trace_id, [2])
    wait_until(lambda: stored_ids(stack, trace_id) == [1, 2])
    span = stored(stack, trace_id)[0]
    assert sorted(span.listed("egress.truncated")) == sorted(LISTS)
    assert all(len(span.tags[name]) <= 60_000 for name in LISTS)
    wait_until(lambda: waiting_bytes(stack) == 0)


def test_lists_of_ordinary_characters_arrive_whole_at_full_length(stack: Stack) -> None:
    trace_id = new_trace_id()
    sent = attributes("cc -o main main.c " * 400)
    with telemetry_to(stack.otlp_environ()) as telemetry:
        submit(telemetry, trace_id, [1], sent)
    wait_until(lambda: stored_ids(stack, trace_id) == [1])
    (span,) = stored(stack, trace_id)
    for name in LISTS:
        assert json.loads(span.tags[name]) == sent[name]
