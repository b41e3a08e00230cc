"""Names on spans: those that the act's own job looked up before, and what each lookup asks for."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from exporter.events.facts import (
    RULE_OF_LOOKUPS,
    Act,
    Acted,
    Answered,
    Asked,
    Event,
    Metered,
    ProcessKey,
    Verdict,
)
from exporter.pipeline.flows import NAMES_MAX
from tests.unit.dns_samples import RESOLVER, asked, mapped, query
from tests.unit.pipeline.name_events import (
    NAME,
    OTHER,
    OTHER_ROOT,
    PEER,
    THIRD,
    THIRD_ROOT,
    connected,
    egress,
    looked_up,
    started,
    told,
)
from tests.unit.pipelines import ROOT, NothingKnown, run
from tests.unit.records import AGGREGATE, ENDED, ESTABLISHED
from tests.unit.samples import JOB

UDP, TCP = 17, 6


def lookup_act(protocol: int = UDP, *, process: ProcessKey = ROOT, scope: int = 1) -> Acted:
    """The act that carries the question of `looked_up`."""
    to_resolver = {
        "peer": RESOLVER,
        "peer_port": 53,
        "protocol": protocol,
        "cookie": scope,
        "act": Act.CONNECT,
    }
    return connected(process, scope, at_ns=990, **to_resolver)


def hosts_of(events: Sequence[Event], directory: Path, **how: Any) -> list[str]:
    """`server.address` of each act, in order."""
    run(events, directory, **how)
    return [told(span)["server.address"] for span in egress(directory)]


def test_an_act_has_the_name_that_its_job_was_told(tmp_path: Path) -> None:
    account = run([started(), *looked_up(NAME, "192.0.2.7"), connected()], tmp_path)
    (span,) = egress(tmp_path)
    assert span["name"] == f"connect {NAME}:443"
    assert (told(span)["server.address"], told(span)["network.peer.address"]) == (NAME, "192.0.2.7")
    assert str(account) == "attempts 1 = exported 1 + aggregated 0 + dropped 0 + pending 0"


@pytest.mark.parametrize("verdict", [Verdict.DENY, Verdict.AUDIT])
@pytest.mark.parametrize("protocol", [UDP, TCP])
def test_a_question_that_is_refused_is_told_with_its_name(
    tmp_path: Path, verdict: Verdict, protocol: int
) -> None:
    """On a socket that has asked for another one before."""
    act = lookup_act(protocol)
    first, second = (
        asked(query(name), at_ns=at_ns, process=ROOT, scope=1, cookie=1)
        for name, at_ns in ((NAME, 1000), ("evil.example", 1010))
    )
    refused = act._replace(at_ns=1011, act=Act.SEND, verdict=verdict, rule=RULE_OF_LOOKUPS)
    run([started(), act, first, second, refused], tmp_path, say=lambda *_, **_fields: None)
    names = {told(span)["dns.question.name"]: told(span)["egress.verdict"] for span in egress(tmp_path)}
    assert names == {NAME: "allow", "evil.example": verdict.name.lower()}


def test_an_act_before_the_answer_has_the_address(tmp_path: Path) -> None:
    question, told_later = looked_up(NAME, "192.0.2.7")
    early, late = connected(at_ns=1005), connected(at_ns=1020)
    assert hosts_of([started(), question, early, told_later, late], tmp_path) == ["192.0.2.7", NAME]


def test_names_of_one_job_are_not_the_others(tmp_path: Path) -> None:
    """Three jobs at once connect to one address under two names, and one under none."""
    events = [
        started(),
        started(OTHER_ROOT, 2),
        started(THIRD_ROOT, 3),
        *looked_up("a.example", "192.0.2.7"),
        *looked_up("b.example", "192.0.2.7", process=OTHER_ROOT, scope=2),
        *(connected(root, scope) for scope, root in ((1, ROOT), (2, OTHER_ROOT), (3, THIRD_ROOT))),
    ]
    run(events, tmp_path, others=[OTHER, THIRD])
    names = {int(span["traceId"], 16): told(span)["server.address"] for span in egress(tmp_path)}
    assert names == {JOB.ids.trace_id: "a.example", 0xB: "b.example", 0xC: "192.0.2.7"}


def test_an_answer_to_one_jobs_question_names_nothing_for_another(tmp_path: Path) -> None:
    question, its_answer = looked_up(NAME, "192.0.2.7")
    assert isinstance(its_answer, Answered)
    stolen = its_answer._replace(process=OTHER_ROOT, scope=2)
    events = [started(), started(OTHER_ROOT, 2), question, stolen, connected(OTHER_ROOT, 2)]
    assert hosts_of(events, tmp_path, others=[OTHER]) == ["192.0.2.7"]


def test_of_a_process_that_is_not_known_the_scope_says_whose_names_count(tmp_path: Path) -> None:
    nobody = ProcessKey(99, 555)
    events = [started(), *looked_up(NAME, "192.0.2.7", process=nobody), connected(nobody)]
    assert hosts_of(events, tmp_path) == [NAME]


def test_what_is_counted_together_has_the_name(tmp_path: Path) -> None:
    counted = AGGREGATE._replace(at_ns=2000, last_ns=3000, process=ROOT, peer=PEER)
    assert hosts_of([started(), *looked_up(NAME, "192.0.2.7"), counted], tmp_path) == [NAME]


class WithHosts(NothingKnown):
    """A host whose file of names knows the peer."""

    def host_name(self, peer: bytes, _at_ns: int) -> str | None:
        return "mirror.example" if peer == PEER else None


def test_the_hosts_name_counts_until_the_job_looks_one_up(tmp_path: Path) -> None:
    events = [started(), connected(at_ns=900), *looked_up(NAME, "192.0.2.7"), connected()]
    assert hosts_of(events, tmp_path, lookup=WithHosts()) == ["mirror.example", NAME]


def many(names: Sequence[str | None], *, protocol: int = UDP) -> list[Event]:
    """A question each, on the socket of `lookup_act`; None for what can't be read."""
    return [
        asked(query(name) if name else b"", at_ns=1000 + number, process=ROOT, scope=1, cookie=1)._replace(
            protocol=protocol
        )
        for number, name in enumerate(names)
    ]


def names_in(span: dict[str, Any]) -> list[str] | None:
    """`egress.dns.names`, where it has that."""
    for one in span["attributes"]:
        if one["key"] == "egress.dns.names":
            return [value["stringValue"] for value in one["value"]["arrayValue"]["values"]]
    return None


def closed(act: Acted) -> Metered:
    """The end of an act whose bytes are counted."""
    return Metered(9000, act.cookie, act.at_ns, 34, 50)


@pytest.mark.parametrize("protocol", [UDP, TCP])
@pytest.mark.parametrize(
    ("names", "first", "told_names", "number"),
    [
        ([NAME], NAME, None, None),
        ([NAME, NAME], NAME, None, "2"),
        ([NAME, "evil.example", NAME], NAME, [NAME, "evil.example"], "3"),
        ([None, NAME], NAME, None, "2"),
        (
            [f"{number}.evil.example" for number in range(5000)],
            "0.evil.example",
            [f"{number}.evil.example" for number in range(NAMES_MAX)],
            "5000",
        ),
    ],
)
def test_an_act_tells_all_that_is_asked_on_its_socket(
    tmp_path: Path,
    protocol: int,
    names: list[str | None],
    first: str,
    told_names: list[str] | None,
    number: str | None,
) -> None:
    act = lookup_act(protocol)._replace(is_metered=protocol == UDP)
    end = closed(act) if protocol == UDP else ENDED._replace(cookie=1, at_ns=9000)
    run([started(), act, *many(names, protocol=protocol), end], tmp_path)
    (span,) = egress(tmp_path)
    assert told(span)["dns.question.name"] == first
    assert told(span).get("egress.dns.questions") == number
    assert names_in(span) == told_names


def test_each_of_several_acts_on_a_socket_has_its_own_questions(tmp_path: Path) -> None:
    """As of who asks two resolvers by one socket: each answers, and is asked again."""
    first = lookup_act()._replace(is_metered=True)
    second = first._replace(at_ns=995, peer=mapped("192.0.2.54"))
    names = ["a.example", "b.example", "c.example", "d.example"]
    questions = [
        event._replace(resolver=act.peer) if isinstance(event, Asked) else event
        for event, act in zip(many(names), [first, second, first, second], strict=True)
    ]
    run([started(), first, second, *questions, closed(first), closed(second)], tmp_path)
    assert [names_in(span) for span in egress(tmp_path)] == [
        ["a.example", "c.example"],
        ["b.example", "d.example"],
    ]


def question_of(directory: Path) -> list[str | None]:
    return [told(span).get("dns.question.name") for span in egress(directory)]


def test_a_lookup_says_what_it_asks_for_and_nothing_else_does(tmp_path: Path) -> None:
    run([started(), lookup_act(), *looked_up(NAME, "192.0.2.7"), connected()], tmp_path)
    assert question_of(tmp_path) == [NAME, None]


def test_a_lookup_without_a_question_is_told_when_the_job_ends(tmp_path: Path) -> None:
    account = run([started(), lookup_act()], tmp_path)
    assert question_of(tmp_path) == [None]
    assert str(account) == "attempts 1 = exported 1 + aggregated 0 + dropped 0 + pending 0"


def test_a_question_that_cannot_be_read_gives_its_lookup_no_name(tmp_path: Path) -> None:
    unreadable = asked(b"\0" * 12, at_ns=1000, process=ROOT, cookie=1)
    run([started(), lookup_act(), unreadable], tmp_path)
    assert question_of(tmp_path) == [None]


@pytest.mark.parametrize("has_ended", [True, False], ids=["ended", "open"])
def test_a_lookup_over_tcp_says_what_it_asked_first(tmp_path: Path, *, has_ended: bool) -> None:
    question, its_answer = looked_up(NAME, "192.0.2.7")
    assert isinstance(question, Asked)
    over_tcp = [question._replace(protocol=TCP), its_answer]
    flow = [ESTABLISHED._replace(cookie=1, at_ns=995), *([ENDED._replace(cookie=1)] if has_ended else [])]
    run([started(), lookup_act(TCP), flow[0], *over_tcp, *flow[1:]], tmp_path)
    assert question_of(tmp_path) == [NAME]
