"""The collector's own redaction: what a job let through is masked, ordinary command lines stay."""

from __future__ import annotations

import json
import shlex
from typing import TYPE_CHECKING

import pytest

from exporter.otlp.records import LogRecord, Severity
from exporter.redact.tokens import TOKEN_SHAPES
from tests.launch import plain, whole_lines
from tests.stack.conftest import wait_until
from tests.stack.span_sender import START_NS, context, new_trace_id, stored, stored_ids, submit, telemetry_to
from tests.unit.redact.corpus import SecretLine, ordinary_lines, secret_lines

if TYPE_CHECKING:
    from typing import Any

    from demo.stack.servers import Stack
    from tests.stack.apis import JaegerSpan

pytestmark = [pytest.mark.stack, pytest.mark.timeout(900)]  # the first one may wait for the builds

WITHOUT_A_BEGINNING_OF_THEIR_OWN = [
    "./upload «AC{h32}:{h32}»",
    "./upload «SK{h32}»",
    "./upload «{h32}-us12»",
    "./upload «EAAA{a60}»",
    "./upload «M{a23}.{a6}.{a27}»",
    "./upload «secret_{a43}»",
    "./upload «{a14}.atlasv1.{a64}»",
    "./upload «key-{h32}»",
    "terraform login -token=«{a14}.atlasv1.{a64}»",
]
"""Tokens of which the collector leaves something; ci-egress, which looks closer, masks them."""


def about(arguments: list[str]) -> dict[str, Any]:
    """The attributes that hold command lines, as ci-egress would send them if it masked nothing."""
    line = shlex.join(arguments)
    return {
        "process.command_line": line,
        "process.command_args": arguments,
        "egress.ancestors": ["make", line],
        "process.pid": 4711,
    }


def sent_and_stored(stack: Stack, lines: list[list[str]]) -> list[JaegerSpan]:
    """What Jaeger has of a span for each of these command lines."""
    trace_id = new_trace_id()
    with telemetry_to(stack.otlp_environ()) as telemetry:
        for span_id, arguments in enumerate(lines, start=1):
            submit(telemetry, trace_id, [span_id], about(arguments))
    assert telemetry.account.exported == len(lines)
    wait_until(lambda: len(stored_ids(stack, trace_id)) == len(lines))
    return stored(stack, trace_id)


def command_lines(attributes: dict[str, Any]) -> list[str]:
    """Everything that might show a secret."""
    listed = (attributes[name] for name in ("process.command_args", "egress.ancestors"))
    texts = [each if isinstance(each, list) else json.loads(each) for each in listed]
    return [attributes["process.command_line"], *texts[0], *texts[1]]


def test_ordinary_command_lines_stay_as_they_are(stack: Stack) -> None:
    lines = ordinary_lines()
    for span, arguments in zip(sent_and_stored(stack, lines), lines, strict=True):
        wanted = about(arguments)
        assert span.listed("process.command_args") == wanted["process.command_args"]
        assert span.listed("egress.ancestors") == wanted["egress.ancestors"]
        assert span.tags["process.command_line"] == wanted["process.command_line"]
        assert not any(name.startswith("redaction.") for name in span.tags)


def tokens() -> list[SecretLine]:
    """Command lines with a secret that its own form gives away."""
    shapes = [shape.pattern for shape in TOKEN_SHAPES]
    return [
        line
        for line in secret_lines()
        if any(shape.search(secret) for secret in line.secrets for shape in shapes)
    ]


def test_tokens_that_a_job_let_through_are_masked(stack: Stack) -> None:
    lines = tokens()
    spans = sent_and_stored(stack, [line.arguments for line in lines])
    left = [
        line.text for line, span in zip(lines, spans, strict=True) if line.left_in(command_lines(span.tags))
    ]
    assert left == WITHOUT_A_BEGINNING_OF_THEIR_OWN
    masked = spans[0]
    assert masked.tags["process.pid"] == 4711
    names = ["egress.ancestors", "process.command_args", "process.command_line"]
    assert sorted(masked.tags["redaction.masked.keys"].split(",")) == names


def test_what_is_masked_in_a_log_record_is_still_a_list(stack: Stack) -> None:
    token = f"ghp_{'a1B2' * 9}"
    arguments = ["sh", "-c", f'echo "a\\b"\ncurl -H "X-Auth: {token}" https://u:pa55word@registry.example/']
    trace_id = new_trace_id()
    with telemetry_to(stack.otlp_environ()) as telemetry:
        record = LogRecord(
            "cicd.egress.novel",
            Severity.WARN,
            START_NS,
            about(arguments),
            telemetry.resource,
            context(trace_id, 1),
        )
        telemetry.log(record)

    def told() -> list[bytes]:
        return [line for line in whole_lines(stack.log_records) if b"%032x" % trace_id in line]

    wait_until(lambda: bool(told()))
    (line,) = told()
    (of_resource,) = json.loads(line)["resourceLogs"]
    attributes = plain(of_resource["scopeLogs"][0]["logRecords"][0]["attributes"])
    script = 'echo "a\\b"\ncurl -H "X-Auth: ****" https****registry.example/'
    assert attributes["process.command_args"] == ["sh", "-c", script]
    assert attributes["egress.ancestors"] == ["make", shlex.join(["sh", "-c", script])]
    assert attributes["process.command_line"] == shlex.join(["sh", "-c", script])


def test_private_keys_and_headers_are_masked_to_their_end(stack: Stack) -> None:
    key = "-----BEGIN OPENSSH PRIVATE KEY-----\nb3BlbnNzaC1rZXk\nAAAA+/==\n-----END OPENSSH PRIVATE KEY-----"
    lines = [
        ["sh", "-c", f"cat <<'END' >id\n{key}\nEND"],
        ["curl", "-H", "Authorization: Bearer abcdefghij0123456789.-_~+/="],
        ["curl", "-H", "Authorization: Bearer <redacted>", "https://user:<redacted>@registry.example"],
    ]
    shown = [span.listed("process.command_args") for span in sent_and_stored(stack, lines)]
    assert shown == [
        ["sh", "-c", "cat <<'END' >id\n****"],
        ["curl", "-H", "Authorization: ****"],
        lines[2],
    ]
