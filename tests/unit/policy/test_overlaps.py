"""Rules that say nothing are errors."""
# ruff: noqa: E501 - a case a line

from __future__ import annotations

import pytest

from tests.unit.policy.files import errors


def file(*, allow: tuple[str, ...] = (), deny: tuple[str, ...] = (), jobs: str = "") -> str:
    """The allowed ones stand in lines 3 and on, the denied ones behind, with a line between."""
    allowed = "".join(f"- {rule}\n" for rule in allow)
    denied = "".join(f"- {rule}\n" for rule in deny)
    lists = (f"allow:\n{allowed}" if allow else "") + (f"deny:\n{denied}" if deny else "")
    return f"version: 1\n{lists}{jobs}"


SAYS_NOTHING = [
    (
        file(allow=("a.example", "A.example.:443")),
        "4:3: duplicate: `A.example.:443` stands in line 3; remove one of them",
    ),
    (
        file(allow=("{host: a.example, ports: [80, 443]}", "tcp://a.example:443")),
        "4:3: duplicate: `tcp://a.example:443` stands in line 3; remove one of them",
    ),
    (
        file(allow=("udp://[2001:db8::1]:53", '{host: "2001:db8::1", ports: [54, 53], protocol: udp}')),
        "4:3: duplicate: `udp://[2001:db8::1/128]:53` stands in line 3; remove one of them",
    ),
    (
        file(allow=("{host: a.example, lineage: [git]}", "a.example")),
        "3:3: unreachable: `{host: a.example, lineage: [git]}` stands in line 4 with a wider lineage; "
        "remove this one, or narrow line 4",
    ),
    (
        file(allow=("{host: a.example, lineage: [git, npm]}", "{host: a.example, lineage: [npm]}")),
        "3:3: unreachable: `{host: a.example, lineage: [git, npm]}` stands in line 4 with a wider "
        "lineage; remove this one, or narrow line 4",
    ),
    (
        file(allow=("{host: a.example, lineage: [a, b]}", "{host: a.example, lineage: [b, a]}")),
        "4:3: duplicate: `{host: a.example, lineage: [b, a]}` stands in line 3; remove one of them",
    ),
    (
        file(allow=("10.20.0.0/16:5432",), deny=("10.0.0.0/8",)),
        "3:3: unreachable: `10.20.0.0/16:5432` is denied in line 5; "
        "remove one of them; a deny of addresses is final",
    ),
    (
        file(allow=("10.0.0.1:443",), deny=("10.0.0.1",)),
        "3:3: unreachable: `10.0.0.1:443` is denied in line 5; "
        "remove one of them; a deny of addresses is final",
    ),
    (
        file(allow=("a.example",), deny=("0.0.0.0/0", '"[::/0]"')),
        "3:3: unreachable: `a.example` is denied in line 6; remove one of them; a deny of addresses is final",
    ),
    (
        file(allow=("a.example:443",), deny=("a.example:443",)),
        "3:3: unreachable: `a.example:443` is denied in line 5; "
        "remove one of them; of two that name the same, deny wins",
    ),
    (
        file(allow=("a.example:*",), deny=("a.example",)),
        "3:3: unreachable: `a.example:*` is denied in line 5; "
        "remove one of them; of two that name the same, deny wins",
    ),
    (
        file(allow=("a.example",), jobs='jobs: {"b": {allow: [a.example]}}\n'),
        "4:22: duplicate: `a.example` stands in line 3; remove one of them",
    ),
    (
        file(deny=("10.0.0.0/8",), jobs='jobs: {"b": {allow: [10.0.0.1]}}\n'),
        "4:22: unreachable: `10.0.0.1` is denied in line 3; remove one of them; a deny of addresses is final",
    ),
    (
        file(allow=("unix:///run/a", "unix:///run/a")),
        "4:3: duplicate: `unix:///run/a` stands in line 3; remove one of them",
    ),
    (
        file(allow=("unix:///run/a",), deny=("unix:///run/a",)),
        "3:3: unreachable: `unix:///run/a` is denied in line 5; "
        "remove one of them; of two that name the same, deny wins",
    ),
]


@pytest.mark.parametrize(("text", "told"), SAYS_NOTHING)
def test_a_rule_that_says_nothing_is_told(text: str, told: str) -> None:
    assert errors(text) == [told]


@pytest.mark.parametrize(
    "text",
    [
        pytest.param(file(allow=("a.example:443", "a.example:80", "udp://a.example")), id="other-ports"),
        pytest.param(file(allow=("a.example:443", '"a.example:*"')), id="a-stated-port-beside-any"),
        pytest.param(file(allow=("10.0.0.0/8", "10.1.0.0/16")), id="networks-within-networks"),
        pytest.param(file(allow=("10.1.0.0/16", "10.0.0.0/8:22"), deny=("10.0.0.0/8:80",)), id="other-port-denied"),
        pytest.param(file(allow=("a.example:443",), deny=("a.example",)), id="a-stated-port-wins"),
        pytest.param(file(allow=("a.b.example",), deny=('"*.b.example"',)), id="an-exact-name-wins"),
        pytest.param(file(allow=("a.example",), deny=("0.0.0.0/0",)), id="it-has-ipv6-left"),
        pytest.param(
            file(allow=("10.0.0.1",), deny=("{host: 10.0.0.0/8, lineage: [node]}",)), id="denied-to-some-chains"
        ),
        pytest.param(
            file(allow=("{host: a.example, lineage: [git]}", "{host: a.example, lineage: [npm]}")), id="two-chains"
        ),
        pytest.param(
            file(allow=("a.example",), jobs="jobs: {b: {deny: [a.example:443]}}\n"), id="a-section-denies-more"
        ),
        pytest.param(file(allow=("unix:///run/a",), deny=('"unix://*"',)), id="all-other-sockets-denied"),
        pytest.param(file(allow=("a.example",), deny=('"unix://*"', "any://b.example")), id="sockets-are-no-addresses"),
        pytest.param(file(jobs="jobs: {b: {allow: [a.example]}, c: {allow: [a.example]}}\n"), id="two-sections"),
    ],
)  # fmt: skip
def test_rules_that_can_each_decide_are_no_error(text: str) -> None:
    assert errors(text) == []


def test_ten_thousand_rules_for_one_host_are_no_error() -> None:
    ports = "".join(f"- a.example:{port}\n" for port in range(1, 10_001))
    assert errors(f"version: 1\nallow:\n{ports}") == []
