"""Entries of the kernel's maps, and what doesn't fit there; test_kernel_model.py has what they mean."""

from __future__ import annotations

from ipaddress import ip_address

import pytest

from exporter.events import wire
from exporter.policy.compile import Compiled, compile_policy
from exporter.policy.entries import (
    ALTERNATIVES_MAX,
    EXECUTABLES_MAX,
    FINAL,
    RULE_SETS_MAX,
    STEPS_MAX,
    AddressKey,
    EntryVerdict,
    NameKey,
    PortKey,
    Portless,
    Step,
)
from exporter.policy.model import Mode
from exporter.policy.problems import PolicyError
from tests.unit.policy.files import rules
from tests.unit.policy.kernel_model import packed


def key(address: str, bits: int, protocol: int, port: int) -> AddressKey:
    return AddressKey(bits, protocol, port, packed(ip_address(address)))


def test_an_address_is_an_entry_for_each_port() -> None:
    compiled = compile_policy(rules(allow="{host: 192.0.2.0/24, ports: [80, 443]}", deny='"[2001:db8::/32]"'))
    low, high = key("192.0.2.0", 120, 6, 80), key("192.0.2.0", 120, 6, 443)
    denied = key("2001:db8::", 32, 0, 0)
    assert {low, high, denied} <= compiled.addresses.keys()
    assert compiled.addresses[low] == compiled.addresses[high]
    assert compiled.addresses[low].verdict is EntryVerdict.ALLOW
    assert compiled.rule(compiled.addresses[low].rule) is compiled.rules[0]
    assert compiled.addresses[denied].rank >= FINAL
    assert len(compiled.alternatives) == 1


def test_names_are_reversed_and_share_rule_sets_where_they_say_the_same() -> None:
    compiled = compile_policy(rules(allow='a.example\n"*.b.example:443"\nc.example:80'))
    assert compiled.names == {
        NameKey(80, b"elpmaxe.a\0"): 0,
        NameKey(80, b"elpmaxe.b."): 0,
        NameKey(80, b"elpmaxe.c\0"): 1,
    }
    assert compiled.ports == {
        PortKey(6, 443, 0): Step(0, 0b01, 0, more=False),
        PortKey(6, 80, 0): Step(0, 0b10, 0, more=False),
    }


def test_a_port_of_its_own_has_the_words_of_all_ports_too() -> None:
    compiled = compile_policy(rules(allow='"a.example:*"\nb.example:80', deny="a.example:80"))
    assert compiled.ports == {
        PortKey(6, 0, 0): Step(0, 0b01, 0, more=False),
        PortKey(6, 80, 0): Step(0, 0b10, 0b01, more=False),
    }


def test_lineages_are_bits_and_wider_rules_come_behind() -> None:
    compiled = compile_policy(
        rules(
            allow="""
                {host: 10.1.0.0/16, lineage: [git, /usr/bin/npm]}
                {host: 10.0.0.0/8, lineage: [git]}
                10.0.0.0/7
            """
        )
    )
    assert compiled.executables == {"git": 0, "/usr/bin/npm": 1}
    chain = [compiled.addresses[key("10.1.0.0", 112, 6, 443)]]
    while chain[-1].following:
        chain.append(compiled.alternatives[chain[-1].following])
    assert [(choice.needed, choice.rule) for choice in chain] == [(0b11, 1), (0b01, 2), (0, 3)]


def test_ranks_put_a_deny_first_then_the_prefix_then_the_port_then_the_protocol_then_the_file() -> None:
    compiled = compile_policy(
        rules(
            deny="16.0.0.0/5:80",
            allow="""
                any://10.0.0.0/8
                any://11.0.0.0/8
                10.0.0.0/8:*
                10.0.0.0/8:80
                any://12.0.0.0/7
            """,
        )
    )
    by_rank = sorted(compiled.addresses.values(), key=lambda choice: -choice.rank)
    named = [compiled.rules[choice.rule - 1].text for choice in by_rank]
    assert [text for text in named if text != "loopback"] == [
        *("16.0.0.0/5:80", "10.0.0.0/8:80", "10.0.0.0/8:*"),
        *("any://10.0.0.0/8", "any://11.0.0.0/8", "any://12.0.0.0/7"),
    ]


def test_all_ipv6_is_not_all_ipv4() -> None:
    compiled = compile_policy(rules(allow='"[::/0]"'))
    assert compiled.addresses[key("0.0.0.0", 96, 6, 443)].verdict is EntryVerdict.NONE  # noqa: S104
    both = compile_policy(rules(allow='"[::/0]"\n0.0.0.0/0'))
    assert both.addresses[key("0.0.0.0", 96, 6, 443)].verdict is EntryVerdict.ALLOW  # noqa: S104


def test_the_mode_is_handed_on_and_no_entrys() -> None:
    enforcing = compile_policy(rules(allow="a.example", more="mode: enforce\n"))
    auditing = compile_policy(rules(allow="a.example"))
    assert (enforcing.mode, auditing.mode) == (Mode.ENFORCE, Mode.AUDIT)
    assert (enforcing.addresses, enforcing.ports) == (auditing.addresses, auditing.ports)


def test_a_name_finds_its_rule_set_without_the_kernel() -> None:
    named = compile_policy(rules(allow='a.example:80\n"*.example:443"')).named
    assert named.rule_set("a.example") == named.sets[named.pattern("a.example")]  # type: ignore[index]
    assert named.rule_set("b.a.example") == named.rule_set("c.example")
    assert named.rule_set("a.example") != named.rule_set("c.example")
    assert named.rule_set("example") is None


@pytest.mark.parametrize(
    ("allow", "portless"),
    [
        ("192.0.2.1", Portless.TCP),
        ("icmp://192.0.2.1\nudp://a.example:53", Portless.ICMP | Portless.UDP),
        ("{host: 192.0.2.1, protocol: icmp, lineage: [ping]}", Portless.ICMP),
        ("any://192.0.2.1", Portless.ALL),
        ("any://127.0.0.1", Portless.ALL),
    ],
)
def test_raw_sockets_are_for_what_some_rule_allows(allow: str, portless: Portless) -> None:
    assert compile_policy(rules(allow=allow, deny="icmp://192.0.2.9")).portless == portless


def test_loopback_alone_is_no_use_of_a_raw_socket() -> None:
    assert compile_policy(rules(deny="192.0.2.1")).portless == Portless.NOTHING


def test_the_kernel_numbers_them_alike() -> None:
    kinds = {kind.name: kind.value for kind in Portless if kind.bit_count() == 1}
    assert kinds == {name: getattr(wire, f"PORTLESS_{name}") for name in kinds}
    assert len(kinds) == 4


def lineage_rules(number: int, host: str) -> str:
    return "\n".join(f"{{host: {host.format(n)}, lineage: [tool-{n}]}}" for n in range(number))


def port_rules(number: int) -> str:
    return "\n".join(f"host-{n}.example:{n + 1}" for n in range(number))


@pytest.mark.parametrize(
    ("fits", "more", "told"),
    [
        (
            lineage_rules(EXECUTABLES_MAX, "host-{}.example"),
            lineage_rules(EXECUTABLES_MAX + 1, "host-{}.example"),
            "67:5: more than 64 executables in `lineage`, over all rules of a job",
        ),
        (
            lineage_rules(ALTERNATIVES_MAX, "192.0.2.1"),
            lineage_rules(ALTERNATIVES_MAX + 1, "192.0.2.1"),
            "3:5: 17 rules for one address",
        ),
        (
            port_rules(RULE_SETS_MAX),
            port_rules(RULE_SETS_MAX + 1),
            "131:5: names with more than 128 different sets of ports and lineages",
        ),
        (
            lineage_rules(STEPS_MAX, "host-{}.example"),
            lineage_rules(STEPS_MAX, "host-{}.example") + '\n"*.example"',
            "3:5: more than 64 different lineages of names for one port",
        ),
    ],
    ids=["executables", "alternatives", "rule-sets", "steps"],
)
def test_what_the_kernel_cannot_hold_is_an_error_with_a_place(fits: str, more: str, told: str) -> None:
    assert isinstance(compile_policy(rules(allow=fits)), Compiled)
    with pytest.raises(PolicyError) as caught:
        compile_policy(rules(allow=more))
    assert [line.partition("; ")[0] for line in caught.value.lines] == [f"policy.yaml:{told}"]
