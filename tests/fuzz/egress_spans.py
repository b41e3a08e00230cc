"""Lines of OTLP/JSON: spans come back as they were written, without wrong types; noise is refused."""

from __future__ import annotations

import json
from typing import Any

from exporter.otlp.reading.json import SCOPE
from exporter.otlp.reading.spans import EgressSpan, egress_in_any, egress_in_request, read_egress_spans
from tests.fuzz.draw import Draw
from tests.fuzz.readers import agreed

_CLIENT = 3
_NAMES = ("server.address", "server.port", "egress.lineage", "cicd.pipeline.name", "x")
_WRONG: tuple[Any, ...] = (None, 7, -1.5, True, "x", [], {}, [[]], {"stringValue": 1}, {"intValue": "1e3"})
_DICTIONARY = (b'{"', b'"}', b"[[", b"]", b":", b",", b"\\ud800", b"\xff", b"null", b'"kind":3', b"1e999")


def check(draw: Draw) -> None:
    """Most are sane, or were."""
    way = draw.randrange(4)
    if way == 3:
        _is_sound(_noise(draw))
        return
    spans: list[EgressSpan] = []
    line = json.dumps({"resourceSpans": draw.some(lambda: _group(draw, spans), 3)}).encode()
    if way == 2:
        _is_sound(draw.mutated(line, _DICTIONARY))
        return
    assert read_egress_spans(line) == spans
    wanted = {*draw.choices(_NAMES, k=2)}
    assert read_egress_spans(line, wanted) == [
        span._replace(attributes={name: span.attributes[name] for name in span.attributes if name in wanted})
        for span in spans
    ]


def _is_sound(line: bytes) -> None:
    agreed(line, None, egress_in_request, egress_in_any, read_egress_spans)


def _noise(draw: Draw) -> bytes:
    if draw.chance(0.1):
        opening = draw.choice((b"[", b'{"resourceSpans":[', b'{"arrayValue":{"values":['))
        return b'{"resourceSpans":' + opening * draw.length(20_000)
    return b"".join(draw.choice((*_DICTIONARY, draw.blob(8))) for _ in range(draw.length(40)))


def _group(draw: Draw, spans: list[EgressSpan]) -> Any:
    if draw.chance(0.05):
        return draw.choice(_WRONG)
    repository, resource = _resource(draw)
    own: list[EgressSpan] = []
    scopes = [_scope(draw, own) for _ in range(draw.length(3))]
    spans += [span._replace(repository=repository) for span in own]
    return {"resource": resource, "scopeSpans": scopes}


def _resource(draw: Draw) -> tuple[str | None, Any]:
    """Whose it is, and as OTLP has that."""
    if draw.chance(0.1):
        return None, draw.choice((*_WRONG, {"attributes": [_WRONG]}, {"attributes": 7}))
    owner, name, url = (draw.choice(("", "bank/eu", "ledger")) for _ in range(3))
    told = {"vcs.owner.name": owner, "vcs.repository.name": name, "vcs.repository.url.full": url}
    pairs = [{"key": key, "value": {"stringValue": text}} for key, text in told.items()]
    return "/".join(filter(None, (owner, name))) if name else url or None, {"attributes": pairs}


def _scope(draw: Draw, spans: list[EgressSpan]) -> Any:
    if draw.chance(0.05):
        return draw.choice(_WRONG)
    name = draw.choice((SCOPE, SCOPE, SCOPE, "urllib3", "", 7))
    written: list[EgressSpan] = []
    scope = {"scope": {"name": name, "version": "1"}, "spans": [_span(draw, written) for _ in range(3)]}
    if name == SCOPE:
        spans += written
    return scope


def _span(draw: Draw, spans: list[EgressSpan]) -> Any:
    if draw.chance(0.05):
        return draw.choice(_WRONG)
    kind = draw.choice((_CLIENT, _CLIENT, 1, 0, "SPAN_KIND_CLIENT"))
    started_ns = draw.unsigned(64)
    attributes: dict[str, Any] = {}
    pairs = [_pair(draw, attributes) for _ in range(draw.length(6))]
    if kind == _CLIENT:
        spans.append(EgressSpan(started_ns, attributes))
    return {"kind": kind, "startTimeUnixNano": str(started_ns), "events": _WRONG, "attributes": pairs}


def _pair(draw: Draw, attributes: dict[str, Any]) -> Any:
    if draw.chance(0.05):
        return draw.choice((7, None, {}, {"key": "x"}, {"key": 7, "value": {"stringValue": "x"}}))
    key = draw.choice(_NAMES)
    if draw.chance(0.05):
        return {"key": key, "value": draw.choice(_WRONG)}
    value, written = _value(draw)
    attributes[key] = value
    return {"key": key, "value": written}


def _value(draw: Draw) -> tuple[Any, dict[str, Any]]:
    """As Python has it, and as OTLP does."""
    way = draw.randrange(5)
    if way == 0:
        number = draw.unsigned(63)
        return number, {"intValue": draw.choice((number, str(number)))}
    if way == 1:
        flag = draw.chance(0.5)
        return flag, {"boolValue": flag}
    if way == 2:
        share = draw.random()
        return share, {"doubleValue": share}
    if way == 3:
        values = [_value(draw) for _ in range(draw.length(2))]
        return [value for value, _ in values], {"arrayValue": {"values": [written for _, written in values]}}
    text = json.loads(json.dumps(draw.text(10)))  # JSON makes one character of two surrogates
    return text, {"stringValue": text}
