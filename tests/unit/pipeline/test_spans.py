"""The trace model, attribute by attribute as other tools depend on it."""

from __future__ import annotations

import errno
import ipaddress
from dataclasses import replace
from typing import Any

import pytest
from opentelemetry.sdk.trace import ReadableSpan
from opentelemetry.trace import SpanKind

from exporter import __version__
from exporter.events.facts import Act, Acted, Aggregated, Flowed, Outcome, Stage
from exporter.events.programs import CHAIN_MAX, Facts, Program
from exporter.otlp.attributes import Attributes
from exporter.pipeline.flows import Flow, Flows
from exporter.pipeline.spans import Spans, exit_code, traceparent
from tests.unit.records import ACT, AGGREGATE, BASH, CURL, ENDED, ESTABLISHED
from tests.unit.samples import CLOCK, JOB, JOB_SPAN_ID, OWNER, RESOURCE, TRACE_ID, attempt_of, bash, program

KIB = 1024


def spans(**changes: Any) -> Spans:
    return Spans(replace(JOB, **changes), RESOURCE, CLOCK)


def attributes(span: ReadableSpan) -> dict[str, Any]:
    found = (span.attributes or {}).items()
    return {name: tuple(value) if isinstance(value, list) else value for name, value in found}


def truncated(span: ReadableSpan) -> tuple[str, ...]:
    found: tuple[str, ...] = attributes(span).get("egress.truncated", ())
    return found


def egress(made: Spans, event: Acted, acting: Program, *flowed: Flowed) -> ReadableSpan:
    """The span of `event` after the stages `flowed`."""
    flows = Flows()
    flow = Flow(attempt_of(event, acting, spans=made))
    list(flows.hold(flow))
    for stage in flowed:
        flows.advance(stage)
    return made.egress(flow, flowed[-1].at_ns if flowed else event.at_ns)


def packed(address: str) -> bytes:
    parsed = ipaddress.ip_address(address)
    return parsed.packed if parsed.version == 6 else bytes(10) + b"\xff\xff" + parsed.packed


def test_an_egress_span_says_exactly_this() -> None:
    acting = program(parent=bash())
    acting.facts = Facts("/builds/app", "c" * 64)
    span = egress(spans(), ACT, acting)
    assert attributes(span) == {
        "network.peer.address": "192.0.2.7",
        "network.peer.port": 443,
        "network.local.address": "198.51.100.9",
        "network.local.port": 50_000,
        "network.transport": "tcp",
        "network.type": "ipv4",
        "server.address": "192.0.2.7",
        "server.port": 443,
        "process.pid": 101,
        "process.parent_pid": 100,
        "process.executable.name": "curl",
        "process.executable.path": "/usr/bin/curl",
        "process.command_line": "curl -s registry.example",
        "process.command_args": ("curl", "-s", "registry.example"),
        "process.owner": OWNER,
        "process.working_directory": "/builds/app",
        "container.id": "c" * 64,
        "cicd.pipeline.name": "release",
        "cicd.pipeline.run.id": "987",
        "cicd.pipeline.task.name": "build",
        "cicd.pipeline.task.run.id": "4321",
        "egress.job.attempt": "1",
        "egress.attribution": "lineage",
        "egress.lineage": ("bash", "curl"),
        "egress.ancestors": ("bash -c 'make all'",),
        "egress.verdict": "allow",
        "egress.attempts": 1,
        "egress.outcome": "open",
    }
    assert span.name == "connect 192.0.2.7:443"
    assert span.kind is SpanKind.CLIENT
    assert span.start_time == span.end_time == CLOCK.offset_ns + ACT.at_ns
    assert span.instrumentation_scope is not None
    assert (span.instrumentation_scope.name, span.instrumentation_scope.version) == ("ci_egress", __version__)
    assert span.resource is RESOURCE


def test_a_program_span_lasts_from_its_beginning_to_its_end() -> None:
    ended = program(parent=bash())
    ended.ended_ns, ended.wait_status = 9_000_000, 7 << 8
    span = spans().program(ended)
    assert (span.name, span.kind) == ("curl", SpanKind.INTERNAL)
    assert (span.start_time, span.end_time) == (CLOCK.offset_ns + 3_000_000, CLOCK.offset_ns + 9_000_000)
    assert attributes(span)["process.exit.code"] == 7
    assert attributes(span)["process.parent_pid"] == BASH.pid
    assert not {name for name in attributes(span) if name.startswith(("network.", "server."))}


def test_a_job_span_is_named_after_its_task_and_hangs_where_the_job_does() -> None:
    root = spans().job(1_000, 2_000)
    assert (root.name, root.parent) == ("build", None)
    assert (root.start_time, root.end_time) == (CLOCK.offset_ns + 1_000, CLOCK.offset_ns + 2_000)
    below = spans(ids=replace(JOB.ids, parent_span_id=77)).job(1_000, 2_000)
    assert below.parent is not None
    assert (below.parent.span_id, below.parent.trace_id, below.parent.is_remote) == (77, TRACE_ID, True)
    assert spans(task=None).job(0, 0).name == "release"
    assert spans(task=None, pipeline=None).job(0, 0).name == "run"


def test_job_programs_and_egress_nest() -> None:
    made = spans()
    above, acting = bash(), program()
    acting.parent = above
    job, outer, inner, leaf = (
        made.job(0, 1),
        made.program(above),
        made.program(acting),
        egress(made, ACT, acting),
    )
    nested = [(span.parent.span_id if span.parent else None) for span in (job, outer, inner, leaf)]
    assert nested == [None, *(span.context.span_id for span in (job, outer, inner))]
    assert {span.context.trace_id for span in (job, outer, inner, leaf)} == {TRACE_ID}
    assert job.context.span_id == JOB_SPAN_ID


def test_without_program_spans_leaves_hang_on_the_jobs() -> None:
    made = Spans(JOB, RESOURCE, CLOCK, has_programs=False)
    span = egress(made, ACT, program(parent=bash()))
    assert span.parent == made.job(0, 1).context


def test_every_span_is_sampled_and_carries_the_trace_state() -> None:
    made = spans(ids=replace(JOB.ids, trace_state="vendor=a:1,other=b"))
    for span in (made.job(0, 1), made.program(program()), egress(made, ACT, program())):
        assert span.context.trace_flags.sampled
        assert span.context.trace_state.to_header() == "vendor=a:1,other=b"


def test_ids_are_derived_so_that_a_replay_gives_the_same_trace() -> None:
    def ids() -> list[int]:
        made = spans()
        acting = program(parent=bash())
        again = [
            egress(made, ACT, acting),
            egress(made, ACT, acting),
            made.program(acting),
            made.program(bash()),
        ]
        return [span.context.span_id for span in again]

    assert ids() == ids()
    assert len(set(ids())) == 4
    assert all(0 < span_id < 1 << 64 for span_id in ids())


def test_another_job_of_the_same_trace_has_other_span_ids() -> None:
    other = egress(spans(ids=replace(JOB.ids, job_span_id=1)), ACT, program())
    assert other.context.span_id != egress(spans(), ACT, program()).context.span_id


def test_two_programs_of_one_process_have_two_spans() -> None:
    made = spans()
    first, second = program(exec_id=1), program(exec_id=2)
    assert made.program_context(first) != made.program_context(second)


@pytest.mark.parametrize(
    ("address", "name", "network_type"),
    [
        ("2001:db8::1", "connect [2001:db8::1]:443", "ipv6"),
        ("::1", "connect [::1]:443", "ipv6"),
        ("192.0.2.1", "connect 192.0.2.1:443", "ipv4"),
    ],
)
def test_ipv6_stands_in_brackets_in_names_alone(address: str, name: str, network_type: str) -> None:
    span = egress(spans(), ACT._replace(peer=packed(address)), program())
    assert span.name == name
    assert attributes(span)["network.peer.address"] == address
    assert attributes(span)["network.type"] == network_type


def test_a_datagram_is_a_send() -> None:
    span = egress(spans(), ACT._replace(act=Act.SEND, protocol=17, peer_port=53), program())
    assert span.name == "send 192.0.2.7:53"
    assert attributes(span)["network.transport"] == "udp"


def test_a_socket_that_was_denied_has_no_peer() -> None:
    span = egress(spans(), ACT._replace(act=Act.CREATE, protocol=58, peer=bytes(16)), program())
    assert span.name == "create ipv6-icmp socket"
    told = attributes(span)
    assert told["network.transport"] == "ipv6-icmp"
    unknown = {"server.address", "server.port", "network.peer.address", "network.peer.port", "network.type"}
    assert not unknown & told.keys()


def test_a_connection_lasts_from_the_connect_to_its_end_and_says_what_became_of_it() -> None:
    span = egress(spans(), ACT, program(), ESTABLISHED, ENDED)
    assert (span.start_time, span.end_time) == (CLOCK.offset_ns + ACT.at_ns, CLOCK.offset_ns + ENDED.at_ns)
    assert [(event.name, event.timestamp) for event in span.events] == [
        ("established", CLOCK.offset_ns + ESTABLISHED.at_ns)
    ]
    assert (
        attributes(span).items()
        >= {
            "egress.outcome": "established",
            "egress.bytes_sent": 517,
            "egress.bytes_received": 70_000,
            "egress.rtt_us": 1_200,
            "network.local.port": ENDED.local_port,
        }.items()
    )
    assert "error.type" not in attributes(span)


def test_a_refused_connect_carries_the_error() -> None:
    refused = ENDED._replace(outcome=Outcome.REFUSED, error=111, bytes_sent=0, bytes_received=0, rtt_us=0)
    span = egress(spans(), ACT, program(), refused)
    assert attributes(span)["egress.outcome"] == "refused"
    assert attributes(span)["error.type"] == "ECONNREFUSED"
    assert "egress.rtt_us" not in attributes(span)
    assert not span.events


NEVER_SENT = ENDED._replace(stage=Stage.NEVER_SENT, outcome=Outcome.UNREACHABLE, bytes_sent=0, local_port=0)
FAILED = NEVER_SENT._replace(at_ns=ACT.at_ns + 1, stage=Stage.FAILED, error=errno.ENETUNREACH)


def test_a_connect_that_was_never_sent_carries_what_it_returned_the_first_time() -> None:
    again = FAILED._replace(error=errno.EADDRNOTAVAIL)
    told = attributes(egress(spans(), ACT, program(), FAILED, again, NEVER_SENT))
    assert (told["egress.outcome"], told["error.type"]) == ("unreachable", "ENETUNREACH")
    assert "egress.bytes_sent" not in told


def test_why_a_connect_was_never_sent_is_left_out_where_nobody_knows() -> None:
    told = attributes(egress(spans(), ACT, program(), NEVER_SENT))
    assert told["egress.outcome"] == "unreachable"
    assert "error.type" not in told


def test_what_a_connect_returned_that_was_tried_again_is_no_error_of_its_connection() -> None:
    told = attributes(egress(spans(), ACT, program(), FAILED, ESTABLISHED, ENDED))
    assert told["egress.outcome"] == "established"
    assert "error.type" not in told


def test_a_connect_whose_socket_goes_on_to_another_peer_carries_what_it_returned() -> None:
    flows = Flows()
    made, acting = spans(), program()
    first, other = (
        Flow(attempt_of(event, acting, spans=made))
        for event in (ACT, ACT._replace(peer=packed("192.0.2.99")))
    )
    list(flows.hold(first))
    flows.advance(FAILED)
    assert list(flows.hold(other)) == [first]
    assert attributes(made.egress(first, FAILED.at_ns))["error.type"] == "ENETUNREACH"


def test_of_a_datagram_only_the_sending_is_known() -> None:
    sent = egress(spans(), ACT._replace(act=Act.SEND, protocol=17), program())
    connected = egress(spans(), ACT._replace(protocol=17), program())
    assert attributes(sent)["egress.outcome"] == "sent"
    assert "egress.outcome" not in attributes(connected)


def aggregate(event: Aggregated, acting: Program | None) -> ReadableSpan:
    made = spans()
    return made.aggregate(attempt_of(event, acting, spans=made))


def test_an_aggregate_span_stands_for_its_attempts_under_their_program() -> None:
    acting = program(parent=bash())
    span = aggregate(AGGREGATE, acting)
    assert span.name == "send 192.0.2.7:53"
    assert span.parent == spans().program(acting).context
    assert (span.start_time, span.end_time) == (
        CLOCK.offset_ns + AGGREGATE.at_ns,
        CLOCK.offset_ns + AGGREGATE.last_ns,
    )
    told = attributes(span)
    assert (told["egress.attempts"], told["egress.outcome"]) == (1_000, "sent")
    assert (told["network.peer.address"], told["process.executable.name"]) == ("192.0.2.7", "curl")
    assert "egress.bytes_sent" not in told


def test_peers_beyond_those_told_apart_have_no_address() -> None:
    told = attributes(aggregate(AGGREGATE._replace(is_other=True, peer=bytes(16), peer_port=0), program()))
    assert (told["server.address"], told["network.transport"]) == ("_other", "udp")
    assert not told.keys() & {"server.port", "network.peer.address", "network.peer.port", "network.type"}


def test_attempts_of_no_known_program_hang_on_the_job() -> None:
    nobody = AGGREGATE._replace(is_other=True, protocol=0, parent_pid=0)
    span = aggregate(nobody, None)
    assert span.name == "send _other"
    assert span.parent == spans().job(0, 1).context
    assert not [name for name in attributes(span) if name.startswith(("process.", "network."))]


def test_what_is_unknown_is_left_out() -> None:
    unbound = ACT._replace(local=bytes(16), local_port=0, protocol=0)
    span = egress(spans(task=None, task_run_id=None, attempt=None, pipeline=None), unbound, program(None, ()))
    missing = {
        "network.local.address",
        "network.local.port",
        "network.transport",
        "process.executable.name",
        "process.executable.path",
        "process.command_line",
        "process.command_args",
        "process.working_directory",
        "container.id",
        "cicd.pipeline.name",
        "cicd.pipeline.task.name",
        "cicd.pipeline.task.run.id",
        "egress.job.attempt",
        "egress.truncated",
    }
    assert not missing & attributes(span).keys()
    assert not [name for name, value in attributes(span).items() if value in ("", None)]


def test_facts_that_come_later_are_on_later_spans() -> None:
    made, acting = spans(), program()
    assert "process.working_directory" not in attributes(egress(made, ACT, acting))
    acting.facts = Facts("/builds", None)
    assert attributes(egress(made, ACT, acting))["process.working_directory"] == "/builds"


def test_text_of_8_kib_is_whole_and_longer_text_is_cut_and_listed() -> None:
    whole = program(arguments=("x" * (8 * KIB),))
    assert truncated(egress(spans(), ACT, whole)) == ()
    span = egress(spans(), ACT, program(arguments=("x" * (8 * KIB + 1),)))
    assert attributes(span)["process.command_line"] == "x" * (8 * KIB)
    assert attributes(span)["process.command_args"] == ("x" * (8 * KIB + 1),)
    assert truncated(span) == ("process.command_line",)


def test_arguments_are_cut_at_32_kib_in_all() -> None:
    span = egress(spans(), ACT, program(arguments=("a" * 30 * KIB, "b" * 3 * KIB, "c")))
    assert attributes(span)["process.command_args"] == ("a" * 30 * KIB, "b" * 2 * KIB)
    assert truncated(span) == ("process.command_line", "process.command_args")


def test_a_cut_never_falls_within_a_character() -> None:
    span = egress(spans(), ACT, program(arguments=("é" * (4 * KIB) + "é", "x")))
    assert attributes(span)["process.command_line"].endswith("é")
    span = egress(spans(), ACT, program(arguments=("x" + "é" * (16 * KIB),)))
    (argument,) = attributes(span)["process.command_args"]
    assert argument == "x" + "é" * (16 * KIB - 1)


def test_an_argv_that_the_kernel_cut_is_listed() -> None:
    span = egress(spans(), ACT, program(is_cut=True))
    assert set(truncated(span)) == {"process.command_args", "process.command_line"}


def test_an_ancestors_long_command_line_is_cut_and_listed() -> None:
    above = program("/bin/sh", ("sh", "-c", "y" * 20 * KIB), process=BASH)
    span = egress(spans(), ACT, program(parent=above))
    (ancestor,) = attributes(span)["egress.ancestors"]
    assert len(ancestor) == 8 * KIB
    assert truncated(span) == ("egress.ancestors",)


def test_an_ancestor_whose_argv_the_kernel_cut_is_listed() -> None:
    above = program("/bin/sh", ("sh",), process=BASH, is_cut=True)
    assert truncated(egress(spans(), ACT, program(parent=above))) == ("egress.ancestors",)


def test_a_long_lineage_keeps_its_ends_and_is_listed() -> None:
    above: Program | None = None
    for number in range(CHAIN_MAX + 1):
        above = program(f"/bin/p{number}", (f"p{number}",), parent=above)
    assert above is not None
    span = egress(spans(), ACT, above)
    names = attributes(span)["egress.lineage"]
    assert (names[0], names[-1], len(names)) == ("p0", f"p{CHAIN_MAX}", CHAIN_MAX)
    assert set(truncated(span)) == {"egress.lineage", "egress.ancestors"}


def test_a_name_stands_once_in_the_list_of_what_was_cut() -> None:
    span = egress(spans(), ACT, program(arguments=("x" * 40 * KIB,), is_cut=True))
    assert len(truncated(span)) == len(set(truncated(span))) == 2


def test_zero_is_a_value_and_the_empty_text_is_not() -> None:
    made = Attributes()
    made.add("a", 0)
    made.add("b", "")
    made.add("c", None)
    assert made.upon() == {"a": 0}


@pytest.mark.parametrize(
    ("wait_status", "code"), [(0, 0), (7 << 8, 7), (255 << 8, 255), (9, 137), (15, 143), (11 | 0x80, 139)]
)
def test_an_exit_code_is_what_a_shell_would_show(wait_status: int, code: int) -> None:
    assert exit_code(wait_status) == code


def test_the_traceparent_puts_others_below_the_job() -> None:
    assert traceparent(spans().job_context) == f"00-{TRACE_ID:032x}-{JOB_SPAN_ID:016x}-01"
    low = spans(ids=replace(JOB.ids, trace_id=1, job_span_id=2))
    assert traceparent(low.job_context) == f"00-{'0' * 31}1-{'0' * 15}2-01"


def test_a_command_line_can_be_typed_into_a_shell() -> None:
    span = egress(spans(), ACT, program(arguments=("sh", "-c", "echo 'a b' > $HOME", "")))
    assert attributes(span)["process.command_line"] == """sh -c 'echo '"'"'a b'"'"' > $HOME' ''"""
    assert attributes(span)["process.pid"] == CURL.pid
