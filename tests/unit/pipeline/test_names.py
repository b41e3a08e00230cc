"""A name belongs to an address because this job asked for it and was answered, and for no other reason."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from exporter.common.net.addresses import UNIX
from exporter.events.facts import ProcessKey
from exporter.pipeline.names import Names, Resolver
from tests.unit.dns_samples import ASKED, answer, answered, asked, lookup, mapped, query
from tests.unit.records import AGGREGATE, SOCKET_ACT

PEER = mapped("192.0.2.7")
LATER = 10_000_000
OTHER = ProcessKey(555, 9_000)


def names_after(*lookups: tuple[bytes, bytes]) -> Names:
    names = Names()
    for number, (question, reply) in enumerate(lookups):
        at_ns = ASKED.at_ns + number * 10
        names.asked(asked(question, at_ns=at_ns))
        names.answered(answered(reply, at_ns=at_ns + 5))
    return names


def anybody(_resolver: Resolver) -> bool:
    """May answer."""
    return True


def test_an_answer_grants_where_its_resolver_may_answer() -> None:
    """Each resolver's answers count for themselves: another policy may let one of them, and not the other."""
    names = Names()
    first, second = (ASKED.resolver[:-1] + bytes([last]) for last in (7, 8))
    for number, (name, resolver) in enumerate(
        [("a.example", first), ("b.example", second), ("a.example", second)]
    ):
        question, reply = lookup(name, f"{name} A 192.0.2.7", txid=number)
        names.asked(asked(question)._replace(resolver=resolver))
        at_ns = 10 * (number + 1)
        names.answered(answered(reply, at_ns=at_ns, counts=True)._replace(resolver=resolver))

    def may_first(resolver: Resolver) -> bool:
        return resolver == Resolver(first, ASKED.resolver_port, ASKED.protocol)

    assert names.granting(may_first) == {PEER: ({"a.example"}, 10)}
    assert names.granting_to(PEER, may_first) == {"a.example"}
    assert names.granting(lambda resolver: not may_first(resolver)) == {
        PEER: ({"a.example", "b.example"}, 30)
    }


def test_of_answers_that_count_it_is_known_what_they_granted_and_when_last() -> None:
    names = Names()
    lookups = [
        ("a.example", True, 10),
        ("b.example", False, 20),
        ("a.example", True, 30),
        ("c.example", True, 40),
        ("c.example", False, 50),
    ]
    for number, (name, counts, at_ns) in enumerate(lookups):
        question, reply = lookup(name, f"{name} A 192.0.2.7", txid=number)
        names.asked(asked(question))
        names.answered(answered(reply, at_ns=at_ns, counts=counts))
    assert names.granting(anybody) == {PEER: ({"a.example", "c.example"}, 40)}
    assert (names.granting_to(PEER, anybody), names.granting_to(mapped("192.0.2.8"), anybody)) == (
        {"a.example", "c.example"},
        set(),
    )
    assert names.names_of(PEER, 15) == {"a.example"}


def test_a_name_is_doubted_until_an_answer_gives_it_that_the_job_cannot_have_made() -> None:
    names = Names()
    for number, (name, is_doubtful, at_ns) in enumerate(
        [("a.example", True, 10), ("b.example", False, 20), ("a.example", False, 30)]
    ):
        question, reply = lookup(name, f"{name} A 192.0.2.7", txid=number)
        names.asked(asked(question))
        names.answered(answered(reply, at_ns=at_ns, is_doubtful=is_doubtful))
    assert [names.doubts("a.example", PEER, at_ns) for at_ns in (9, 15, 35)] == [False, True, False]
    assert not names.doubts("b.example", PEER, 35)
    assert not names.doubts("192.0.2.7", PEER, 35)


def test_an_answer_that_comes_again_counts_from_then_on() -> None:
    names = Names()
    for at_ns in (10, 90):
        question, reply = lookup("a.example", "a.example A 192.0.2.7")
        names.asked(asked(question))
        names.answered(answered(reply, at_ns=at_ns, counts=True))
    assert names.granting(anybody) == {PEER: ({"a.example"}, 90)}
    assert names.name_of(PEER, 50) == "a.example"


def test_an_address_has_the_name_that_was_asked_for() -> None:
    names = names_after(lookup("registry.example", "registry.example A 192.0.2.7;192.0.2.8"))
    assert [names.name_of(mapped(peer), LATER) for peer in ("192.0.2.7", "192.0.2.8", "192.0.2.9")] == [
        "registry.example",
        "registry.example",
        None,
    ]


def test_it_is_the_question_whatever_cnames_the_answer_goes_through() -> None:
    chain = [f"c{i}.cdn.example CNAME c{i + 1}.cdn.example." for i in range(8)]
    question = query("registry.example")
    for records in (chain, chain[::-1]):  # in whatever order they stand
        reply = answer(
            question,
            "registry.example CNAME c0.cdn.example.",
            *records,
            "c8.cdn.example A 192.0.2.7",
        )
        assert names_after((question, reply)).name_of(PEER, LATER) == "registry.example"


def test_an_address_beside_the_chain_has_no_name() -> None:
    names = names_after(
        lookup(
            "a.example", "a.example CNAME b.example.", "github.example A 192.0.2.7", "b.example A 192.0.2.8"
        )
    )
    assert names.name_of(PEER, LATER) is None
    assert names.name_of(mapped("192.0.2.8"), LATER) == "a.example"


def test_cnames_in_a_circle_lead_nowhere() -> None:
    names = names_after(
        lookup(
            "a.example", "a.example CNAME b.example.", "b.example CNAME a.example.", "c.example A 192.0.2.7"
        )
    )
    assert names.name_of(PEER, LATER) is None


def test_ipv6_addresses_have_names() -> None:
    names = names_after(lookup("v6.example", "v6.example AAAA 2001:db8::7", kind="AAAA"))
    assert names.name_of(bytes.fromhex("20010db8000000000000000000000007"), LATER) == "v6.example"


def test_a_services_hints_are_its_addresses() -> None:
    hints = "web.example HTTPS 1 . alpn=h2 ipv4hint=192.0.2.7,192.0.2.8 ipv6hint=2001:db8::7"
    names = names_after(lookup("web.example", hints, kind="HTTPS"))
    for peer in (PEER, mapped("192.0.2.8"), bytes.fromhex("20010db8000000000000000000000007")):
        assert names.name_of(peer, LATER) == "web.example"


def test_names_are_in_lower_case_and_the_answer_may_be_in_another_one() -> None:
    question = query("ReGiStRy.ExAmPlE")
    reply = answer(query("rEgIsTrY.eXaMpLe"), "REGISTRY.example A 192.0.2.7")
    assert names_after((question, reply)).name_of(PEER, LATER) == "registry.example"


def test_the_latest_answer_before_the_act_wins() -> None:
    names = names_after(
        lookup("a.example", "a.example A 192.0.2.7"), lookup("b.example", "b.example A 192.0.2.7", txid=8)
    )
    assert names.name_of(PEER, LATER) == "b.example"
    assert names.name_of(PEER, ASKED.at_ns + 7) == "a.example"
    assert names.name_of(PEER, ASKED.at_ns + 4) is None


def test_what_a_process_asked_itself_goes_before_what_others_asked() -> None:
    names = names_after(lookup("a.example", "a.example A 192.0.2.7"))
    question, reply = lookup("b.example", "b.example A 192.0.2.7")
    names.asked(asked(question, process=OTHER, cookie=79))
    names.answered(answered(reply, process=OTHER, cookie=79))
    assert names.name_of(PEER, LATER, ASKED.process) == "a.example"
    assert names.name_of(PEER, LATER, OTHER) == "b.example"
    assert names.name_of(PEER, LATER, ProcessKey(1, 1)) == "b.example"


@pytest.mark.parametrize(
    "changes",
    [
        {"cookie": 1},
        {"resolver": mapped("192.0.2.66")},
        {"message": answer(query("registry.example", txid=8), "registry.example A 192.0.2.7")},
        {"message": answer(query("registry.example", "AAAA"), "registry.example A 192.0.2.7")},
        {"message": answer(query("evil.example"), "evil.example A 192.0.2.7")},
        {"message": answer(query("registry.example.evil.example"), "registry.example A 192.0.2.7")},
    ],
    ids=["other socket", "other resolver", "other id", "other type", "other name", "look-alike"],
)
def test_an_answer_to_what_was_not_asked_names_nothing(changes: dict[str, object]) -> None:
    question, reply = lookup("registry.example", "registry.example A 192.0.2.7")
    names = Names()
    names.asked(asked(question))
    names.answered(answered(reply)._replace(**changes))  # type: ignore[arg-type]
    assert names.name_of(PEER, LATER) is None
    names.answered(answered(reply))
    assert names.name_of(PEER, LATER) == "registry.example"


def test_an_answer_counts_once() -> None:
    question, reply = lookup("registry.example", "registry.example A 192.0.2.7")
    names = names_after((question, reply))
    names.answered(answered(answer(question, "registry.example A 192.0.2.66")))
    assert names.name_of(mapped("192.0.2.66"), LATER) is None


def test_an_answer_that_says_no_names_nothing() -> None:
    question = query("a.example")
    reply = answer(question, "a.example A 192.0.2.7", code="NXDOMAIN")
    assert names_after((question, reply)).name_of(PEER, LATER) is None


def test_of_a_cut_answer_what_is_whole_counts() -> None:
    question = query("a.example")
    reply = answer(question, "a.example A 192.0.2.7", "a.example A 192.0.2.8")
    names = Names()
    names.asked(asked(question))
    names.answered(answered(reply[:-14], is_cut=True))  # 11 of them are OPT's
    assert names.name_of(PEER, LATER) == "a.example"
    assert names.name_of(mapped("192.0.2.8"), LATER) is None


@pytest.mark.parametrize(
    "name",
    [
        r"evil\.registry.example",
        r"a\000.example",
        r"a\010b.example",
        r"a\032b.example",
        r"caf\195\169.example",
        "<script>.example",
        "*.example",
        ".",
    ],
)
def test_what_no_host_is_called_names_nothing(name: str) -> None:
    names = names_after(lookup(name, f"{name} A 192.0.2.7"))
    assert names.name_of(PEER, LATER) is None


def test_an_international_name_stays_as_it_is_on_the_wire() -> None:
    names = names_after(lookup("xn--caf-dma.example", "xn--caf-dma.example A 192.0.2.7"))
    assert names.name_of(PEER, LATER) == "xn--caf-dma.example"


def test_what_no_answer_told_the_host_may_know() -> None:
    known: Callable[[bytes, int], str | None] = lambda peer, _: "db.internal" if peer == PEER else None  # noqa: E731
    names = Names(known)
    assert names.name_of(PEER, LATER) == "db.internal"
    assert names.name_of(mapped("192.0.2.8"), LATER) is None
    question, reply = lookup("a.example", "a.example A 192.0.2.7")
    names.asked(asked(question))
    names.answered(answered(reply))
    assert names.name_of(PEER, LATER) == "a.example"


def test_what_is_remembered_is_bounded_and_the_oldest_goes() -> None:
    names = Names()
    addresses = [f"10.0.{number >> 8}.{number & 255}" for number in range(200 * 50)]
    for number in range(200):
        some = ";".join(addresses[number * 50 :][:50])
        question, reply = lookup(f"n{number}.example", f"n{number}.example A {some}")
        names.asked(asked(question))
        names.answered(answered(reply))
    assert sum(names.name_of(mapped(address), LATER) is not None for address in addresses) == 8192
    assert names.name_of(mapped("10.0.0.0"), LATER) is None
    assert names.name_of(mapped("10.0.39.15"), LATER) == "n199.example"
    for number in range(5000):
        names.asked(asked(query("a.example", txid=number)))
    for number in (5000 - 4096 - 1, 5000 - 4096):
        reply = answer(query("a.example", txid=number), f"a.example A 192.0.2.{number & 255}")
        names.answered(answered(reply))
    assert [names.name_of(mapped(f"192.0.2.{n & 255}"), LATER) for n in (903, 904)] == [None, "a.example"]


def test_a_question_gives_its_name_and_one_that_cannot_be_read_none() -> None:
    names = Names()
    assert names.asked(asked(query("Registry.Example"))) == "registry.example"
    assert names.asked(asked(query("registry.example")[:-12], is_cut=True)) is None


def test_a_unix_socket_has_one_name_and_acts_that_were_counted_have_it_too() -> None:
    counted = AGGREGATE._replace(protocol=UNIX, peer=SOCKET_ACT.peer, peer_port=0)
    names = Names()
    assert names.socket_of(counted) is None
    assert names.socket_of(SOCKET_ACT._replace(socket="/var/run/engine.sock")) == "/run/engine.sock"
    assert names.socket_of(SOCKET_ACT) == names.socket_of(counted) == "/run/engine.sock"
    other = SOCKET_ACT._replace(peer=bytes(16), socket="./first.sock")
    assert [names.socket_of(each) for each in (other, other._replace(socket="/x"))] == ["./first.sock"] * 2
