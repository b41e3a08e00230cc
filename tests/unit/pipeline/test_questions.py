"""An act on port 53 waits for the question that it carries, and goes on without one after a while."""

from __future__ import annotations

from exporter.events.facts import Acted
from exporter.pipeline.questions import Questions
from tests.unit.dns_samples import ASKED, RESOLVER, mapped
from tests.unit.records import ACT

SENT = ACT._replace(cookie=ASKED.cookie, peer=RESOLVER, peer_port=53, protocol=17, at_ns=ASKED.at_ns - 100)
MS = 1_000_000


def test_an_act_waits_for_the_question_on_its_socket() -> None:
    questions = Questions[Acted]()
    assert list(questions.wait(SENT, SENT)) == []
    assert questions.asked(ASKED._replace(cookie=1), "other.example") is None
    assert questions.asked(ASKED, "registry.example") == SENT
    assert questions.asked(ASKED, "registry.example") is None
    assert list(questions.flush()) == []


def test_acts_to_several_resolvers_get_their_own() -> None:
    questions = Questions[Acted]()
    second = SENT._replace(peer=mapped("192.0.2.54"))
    questions.wait(SENT, SENT)
    questions.wait(second, second)
    assert questions.asked(ASKED._replace(resolver=second.peer), "b.example") == second
    assert questions.asked(ASKED, "a.example") == SENT


def test_acts_of_one_socket_get_theirs_in_order() -> None:
    questions = Questions[Acted]()
    acts = [SENT._replace(at_ns=SENT.at_ns + number) for number in range(3)]
    for act in acts:
        questions.wait(act, act)
    assert [questions.asked(ASKED, f"n{number}.example") for number in range(3)] == acts


def test_a_question_before_the_act_is_another_ones() -> None:
    questions = Questions[Acted]()
    questions.wait(SENT, SENT)
    assert questions.asked(ASKED._replace(at_ns=SENT.at_ns - 1), "early.example") is None


def test_an_act_goes_on_without_a_name_after_a_second() -> None:
    questions = Questions[Acted]()
    questions.wait(SENT, SENT)
    assert list(questions.due(SENT.at_ns + 1000 * MS - 1)) == []
    assert list(questions.due(SENT.at_ns + 1000 * MS)) == [SENT]
    assert list(questions.due(SENT.at_ns + 2000 * MS)) == []


def test_a_question_that_cannot_be_read_lets_its_act_go() -> None:
    questions = Questions[Acted]()
    questions.wait(SENT, SENT)
    assert questions.asked(ASKED, None) == SENT


def test_every_act_comes_back_once_however_many_there_are() -> None:
    questions = Questions[Acted]()
    acts = [SENT._replace(cookie=number % 700, at_ns=SENT.at_ns + number) for number in range(5000)]
    back = [settled for act in acts for settled in questions.wait(act, act)]
    assert len(back) == 5000 - 1024  # the oldest, one by one
    back += questions.flush()
    assert sorted(act.at_ns for act in back) == [act.at_ns for act in acts]


def test_a_sockets_last_question_is_remembered() -> None:
    questions = Questions[Acted]()
    assert questions.last_on(ASKED.cookie) is None
    questions.asked(ASKED, "first.example")
    questions.asked(ASKED, "second.example")
    questions.asked(ASKED, None)
    assert questions.last_on(ASKED.cookie) == "second.example"
    for number in range(5000):
        questions.asked(ASKED._replace(cookie=100_000 + number), "n.example")
    assert questions.last_on(ASKED.cookie) is None
    assert questions.last_on(104_999) == "n.example"


def test_only_what_is_asked_for_is_let_go() -> None:
    questions = Questions[Acted]()
    acts = [SENT._replace(cookie=number) for number in range(4)]
    for act in acts:
        questions.wait(act, act)
    assert list(questions.flush(lambda act: act.cookie % 2 == 0)) == [acts[0], acts[2]]
    assert list(questions.flush()) == [acts[1], acts[3]]
