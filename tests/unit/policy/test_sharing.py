"""Whether a rule, as spans tell it, is for another name than the one that was connected to."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from exporter.policy.parse import parse_policy
from exporter.policy.sharing import is_of_another_name, name_in


@pytest.mark.parametrize(
    "rule",
    [
        "deb.example",
        "deb.example:443",
        "udp://DEB.example.:53",
        '"*.deb.example"',
        "{host: deb.example, ports: [443], lineage: [git]}",
        '{lineage: [git, /usr/bin/curl], "host": "deb.example"}',
        '{ports: "*", host: "*.deb.example", protocol: tcp}',
    ],
)
def test_a_rule_for_a_name_is_of_another_one_than_those_it_covers(rule: str) -> None:
    (parsed,) = parse_policy(f"version: 1\nallow:\n- {rule}\n".encode(), "").rules
    assert name_in(parsed.text) == parsed.host
    assert is_of_another_name(parsed.text, "registry.example")
    own = "x.deb.example" if "*." in rule else "deb.example"
    assert not is_of_another_name(parsed.text, own)
    assert not is_of_another_name(parsed.text, own.upper())
    assert not is_of_another_name(parsed.text, "192.0.2.7")


@pytest.mark.parametrize(
    "rule",
    [
        *("default", "answer", "nothing sent", "loopback", "resolvers: system"),
        *("192.0.2.0/24:443", "[2001:db8::1]:443", "{host: 192.0.2.0/24}", '{host: "2001:db8::/32"}'),
        *("", "{", "{host: }", "{ports: [443]}", "a..b"),
    ],
)
def test_what_is_no_rule_for_a_name_is_of_none(rule: str) -> None:
    assert name_in(rule) is None
    assert not is_of_another_name(rule, "registry.example")


@given(st.text(max_size=40), st.text(max_size=40))
def test_whatever_spans_say_is_answered(rule: str, host: str) -> None:
    assert is_of_another_name(rule, host) in (True, False)
