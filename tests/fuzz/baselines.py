"""The baseline file: any bytes are a baseline or errors with places; what is written is read as the same."""

from __future__ import annotations

import re

from exporter.baseline.export import as_policy, export
from exporter.baseline.model import Baseline
from exporter.baseline.parse import BaselineError, parse_baseline
from exporter.baseline.write import baseline_lines
from exporter.common.documents.scalars import scalar
from tests.fuzz.draw import Draw
from tests.fuzz.policies import are_placed
from tests.unit.baseline.files import EXAMPLE

_BREAKS = re.compile(rb"\n|\r|\xc2\x85|\xe2\x80")
_HOSTS = (
    *(
        "a.example",
        "b.a.example",
        '"*.a.example"',
        '"*.com"',
        "A.EXAMPLE.",
        "é.example",
        "192.0.2.1",
        "10.0.0.0/8",
    ),
    *('"2001:db8::1"', '"::ffff:192.0.2.1"', "fe80::1%a", "999.1.1.1", '""', "a" * 300, "a..b", "[a]", "*a"),
)
_VALUES = {
    "pipeline": ("release", "group/app", '"*"', '""', "", "[a]", '"\\0\\u2028"', "null"),
    "task": ("build", '"a: b"', "~", "{a: b}", '"[x]?"'),
    "destination": _HOSTS,
    "port": ("443", "53", "0", "65536", "-1", "x", '"80"', "[1]"),
    "transport": ("tcp", "udp", "icmp", "ipv6-icmp", "sctp", "TCP", "6", "200", "quic"),
    "lineage": (
        "any",
        "[[bash, npm]]",
        "[[a], [b]]",
        "[[a], [a]]",
        "[a]",
        "[]",
        "[[]]",
        "all",
        '[["\\e[2J"]]',
        "[[[a]]]",
    ),
    "first_seen": ("2026-11-02", "2026-11-31", "20261102", "x"),
    "last_seen": ("2026-11-24", "2020-01-01", "[2026-11-24]"),
    "runs": ("1", "412", "0", "-1", "1e3", "9" * 20),
}
_HISTORY = {
    "pipeline": _VALUES["pipeline"],
    "runs": _VALUES["runs"],
    "quiet_runs": ("0", "40", "500", "x"),
    "last_run": _VALUES["last_seen"],
}
_DICTIONARY = [
    *(b"&a ", b"*a", b"!!str ", b"? ", b"<<: ", b"---\n", b"...\n", b"%YAML 1.1\n", b"\xff", b"  - "),
    *(b"{", b"}", b"[", b"]", b"'", b'"', b"|\n", b">\n", b"#", b": ", b"- ", b"\r", b"\t", b"\0"),
    *(b"[" * 3000, b"\xe2\x80\xa8", b"\xc2\x85", b"\xef\xbb\xbf", b"\xed\xa0\x80", b"\n    "),
]


def check(draw: Draw) -> None:
    """Baselines as people write them, some with errors, some changed; with names of any text."""
    way = draw.randrange(3)
    text = EXAMPLE if draw.chance(0.1) else _text(draw, is_sound=way == 0)
    data = text.encode(errors="replace")
    if way == 2:
        data = draw.mutated(data, _DICTIONARY)
    baseline = _parsed(data)
    if baseline is not None:
        _comes_back(baseline)
        if baseline.entries and draw.chance(0.3):
            assert as_policy(export(baseline)).mode.value == "audit"


def _text(draw: Draw, *, is_sound: bool) -> str:
    make = _sound if is_sound else _item
    entries = "".join(f"- {make(draw, _VALUES)}\n" for _ in range(draw.randrange(5)))
    pipelines = f"pipelines:\n- {_item(draw, _HISTORY)}\n" if not is_sound and draw.chance(0.3) else ""
    return f"version: 1\nentries:{'' if entries else ' []'}\n{entries}{pipelines}"


def _sound(draw: Draw, _: dict[str, tuple[str, ...]]) -> str:
    """One without errors, but that another may be about the same."""
    names = {key: scalar(draw.text(8)) for key in ("pipeline", "task") if draw.chance(0.7)}
    where = {"destination": draw.choice(_HOSTS[:3]), "port": str(draw.unsigned(16)), "transport": "tcp"}
    chains = [[scalar(draw.text(5) or "a") for _ in range(1 + draw.randrange(3))]]
    fields = {**{key: name for key, name in names.items() if name != '""'}, **where}
    return f"{{{_fields(fields)}, lineage: [[{', '.join(chains[0])}]]}}"


def _item(draw: Draw, values: dict[str, tuple[str, ...]]) -> str:
    kept = [key for key in values if draw.chance(0.9)] + (["extra"] if draw.chance(0.05) else [])
    first = {key: draw.choice(values.get(key, ("x",))[: draw.choice((2, None))]) for key in kept}
    return f"{{{_fields(first)}}}"


def _fields(values: dict[str, str]) -> str:
    return ", ".join(f"{key}: {value}" for key, value in values.items())


def _parsed(data: bytes) -> Baseline | None:
    try:
        return parse_baseline(data, "a.yaml")
    except BaselineError as error:
        are_placed(error, len(_BREAKS.findall(data)))
        return None


def _comes_back(baseline: Baseline) -> None:
    lines = [*baseline_lines(baseline)]
    assert all(line.isprintable() for line in lines)
    assert parse_baseline("\n".join(lines).encode(), "again") == baseline
