"""Baselines for properties: names that are hostile, and worlds so small that entries meet."""

from __future__ import annotations

from datetime import date
from ipaddress import ip_address

from hypothesis import strategies as st

from exporter.baseline.model import Baseline, Entry, History, Task
from exporter.policy.model import Address, Name

HOSTILE = (
    *("", " ", "a b", "*", "?", "[a-z]", "[!x]", "]", "a/b", "a/*", "release", "Release", "null", "~", "yes"),
    *(
        "1_0",
        "1e3",
        "2026-11-24",
        '"',
        "'",
        "\\",
        "\\x41",
        "- a",
        "a: b",
        "a #b",
        "{a",
        "&a",
        "*a",
        "!!str a",
    ),
    *(
        "\x00",
        "\n",
        "a\r\nb",
        "\t",
        "\x1b[2J",
        "\x7f",
        "\x85",
        "\u2028",
        "\ufeff",
        "\ufffe",
        "\u202e",
        "é",
        "🙂",
    ),
    *("a" * 2000, "x\n  - pipeline: y", "any", "---", "...", "%YAML", "=", "<<", "\U000e0001"),
)
TEXTS = st.sampled_from(HOSTILE).filter(bool) | st.text(st.characters(codec="utf-8"), min_size=1, max_size=12)
ANYTHING = st.one_of(
    st.text(max_size=12), st.integers(-2, 70_000), st.booleans(), st.lists(st.text(max_size=5)), st.floats()
)
"""What a file of spans may have for an attribute's value."""
_HOSTS: tuple[Name | Address, ...] = (
    *(Name("a.example"), Name("b.a.example"), Name("a.example", is_wildcard=True), Name("1.example")),
    *map(ip_address, ("192.0.2.1", "192.0.2.53", "2001:db8::1")),
)
_PORTLESS = ("icmp", "ipv6-icmp", "gre", "200")
_DATES = st.dates(date(2020, 1, 1), date(2030, 1, 1))
_CHAINS = st.lists(TEXTS, min_size=1, max_size=3).map(tuple)


@st.composite
def entries(draw: st.DrawFn) -> Entry:
    transport = draw(st.sampled_from(("tcp", "tcp", "udp", "sctp", "udplite", *_PORTLESS)))
    first, last = sorted((draw(_DATES), draw(_DATES)))
    has_dates = draw(st.booleans())
    return Entry(
        Task(draw(st.none() | TEXTS), draw(st.none() | TEXTS)),
        draw(st.sampled_from(_HOSTS)),
        None if transport in _PORTLESS else draw(st.sampled_from((0, 53, 80, 443, 65535))),
        transport,
        draw(st.none() | st.frozensets(_CHAINS, min_size=1, max_size=3)),
        first if has_dates else None,
        last if has_dates else None,
        draw(st.none() | st.integers(1, 10**9)),
        folded=tuple(draw(st.lists(TEXTS, max_size=3))),
    )


_histories = st.builds(History, st.integers(5, 1000), st.integers(0, 5), _DATES)


def _baseline(found: list[Entry], histories: dict[str | None, History]) -> Baseline:
    return Baseline(tuple(sorted(found, key=lambda entry: entry.subject.order)), histories)


baselines = st.builds(
    _baseline,
    st.lists(entries(), max_size=8, unique_by=lambda entry: entry.subject),
    st.dictionaries(st.none() | TEXTS, _histories, max_size=3),
)
