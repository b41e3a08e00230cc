"""Read a trace from OTLP JSON lines, and draw it: who started whom, and what each connected to."""

from __future__ import annotations

import json
from collections import defaultdict
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from rich.filesize import decimal
from rich.text import Text
from rich.tree import Tree

from exporter.common.net.addresses import endpoint
from exporter.common.text import printable
from exporter.redact.names import REDACTED

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from pathlib import Path

_CLIENT = 3
_NS_PER_MS = 1_000_000
_BRIEF_MS = 2.0
_LABEL_MAX = 200


@dataclass(frozen=True)
class Span:
    """One span, with the spans below it."""

    trace_id: str
    span_id: str
    parent_id: str
    name: str
    is_egress: bool
    started_ns: int
    ended_ns: int
    attributes: Mapping[str, Any]
    children: list[Span] = field(default_factory=list, repr=False)
    """The spans right below it, in the order in which they began."""


def read_trace(path: Path) -> Span:
    """Return the job's span from a `traces.jsonl` that holds one trace."""
    spans = {span.span_id: span for span in read_spans(path)}
    below = defaultdict(list)
    for span in sorted(spans.values(), key=lambda span: span.started_ns):
        below[span.parent_id].append(span)
    for span in spans.values():
        span.children.extend(below[span.span_id])
    (root,) = below[""]
    return root


def read_spans(path: Path) -> Iterator[Span]:
    """Yield every span of the file, in its order, without children."""
    for line in path.read_text().splitlines():
        for resource in json.loads(line)["resourceSpans"]:
            for scope in resource["scopeSpans"]:
                yield from map(_span, scope["spans"])


def _span(encoded: Mapping[str, Any]) -> Span:
    return Span(
        encoded["traceId"],
        encoded["spanId"],
        encoded.get("parentSpanId", ""),
        encoded["name"],
        encoded["kind"] == _CLIENT,
        int(encoded["startTimeUnixNano"]),
        int(encoded["endTimeUnixNano"]),
        {each["key"]: _value(each["value"]) for each in encoded.get("attributes", [])},
    )


def _value(encoded: Mapping[str, Any]) -> Any:
    ((kind, value),) = encoded.items()
    if kind == "arrayValue":
        return [_value(each) for each in value.get("values", [])]
    return int(value) if kind == "intValue" else value


def draw(job: Span) -> Tree:
    """Draw the tree of a trace."""
    label = Text.assemble((printable(job.name), "bold"), f"  {_describe_job(job)}")
    tree = Tree(label, guide_style="dim")
    _grow(tree, job)
    return tree


def _describe_job(job: Span) -> str:
    told = job.attributes
    seconds = (job.ended_ns - job.started_ns) / 1e9
    return printable(
        f"job of pipeline {told['cicd.pipeline.name']}, run {told['cicd.pipeline.run.id']}, {seconds:.1f} s"
    )


def _grow(branch: Tree, span: Span) -> None:
    for child in span.children:
        if child.is_egress:
            branch.add(_destination(child))
        else:
            _grow(branch.add(_program(child, span)), child)


def _destination(egress: Span) -> Text:
    told = egress.attributes
    where = endpoint(told["network.peer.address"], told["network.peer.port"])
    has_name = told["server.address"] != told["network.peer.address"]
    parts = [
        f"{told['network.transport']} {where}",
        *([printable(told["server.address"])] if has_name else []),
    ]
    style = "bold red" if parts[-1].startswith("beacon") else "green"
    label = Text.assemble("→ ", ("  ".join(parts), style))
    return label.append(f"  {', '.join(_deeds(told))}".rstrip(), "dim")


def _deeds(told: Mapping[str, Any]) -> Iterator[str]:
    if "dns.question.name" in told:
        yield f"asks for {printable(told['dns.question.name'])}"
    for way in ("sent", "received"):
        if told.get(f"egress.bytes_{way}"):
            yield f"{way} {decimal(told[f'egress.bytes_{way}'])}"


def _program(program: Span, creator: Span) -> Text:
    command = program.attributes.get("process.command_line", program.name)
    remarks = ", ".join(_remarks(program, creator))
    label = Text(printable(command, limit=_LABEL_MAX))
    label.highlight_words([REDACTED], "bold yellow")
    return label.append(f"  ({remarks})" if remarks else "", "dim")


def _remarks(program: Span, creator: Span) -> Iterator[str]:
    """Yield remarks on facts that the kernel saw and a list of processes wouldn't show."""
    if program.attributes.get("process.command_args") == creator.attributes.get("process.command_args"):
        yield "forked"
    lived_ms = (program.ended_ns - program.started_ns) / _NS_PER_MS
    if lived_ms < _BRIEF_MS:
        yield f"lived {lived_ms:.1f} ms"
    leaf = next((child for child in program.children if child.is_egress), None)
    if leaf is not None and "process.pid" in creator.attributes:
        parent_pid = leaf.attributes["process.parent_pid"]
        if parent_pid != creator.attributes["process.pid"]:
            yield f"its creator is gone, pid {parent_pid} adopted it"
