"""The screen of `watch --live`."""

from __future__ import annotations

import gc
import re
from collections.abc import Iterator
from dataclasses import replace

import pytest

from exporter.jobs.detect import detect, host
from exporter.jobs.model import Job
from exporter.report.terminal.new_destinations import KnownKinds
from exporter.report.terminal.screen import OVER_S, REFRESH_S, SAID_MAX, Screen
from tests.unit.report.terminal.terminals import Clock
from tests.unit.samples import attempt, by
from tests.unit.watched_host import gitlab

from .acts import ALLOW, DENY, NEW, WOULD, to
from .terminals import Picture, Pty, pseudo_terminal

CURL = by("dash", "curl")
FRAME = "\x1b[H"


def job(name: str, run: str = "987") -> Job:
    return detect(gitlab(run=run, job=f"{name}-{run}", CI_JOB_NAME=name))


@pytest.fixture
def pty() -> Iterator[Pty]:
    with pseudo_terminal() as made:
        yield made


@pytest.fixture
def clock() -> Clock:
    return Clock()


def frame(screen: Screen, pty: Pty) -> str:
    """A whole one, however little the terminal takes at once."""
    text = ""
    while FRAME not in text or not text.endswith("\x1b[J"):
        screen.tick()
        text += pty.read()
    return text


def seen(pty: Pty, columns: int = 80, lines: int = 24) -> list[str]:
    picture = Picture(columns, lines)
    picture.show(pty.read())
    return picture.rows


def test_it_has_a_row_for_each_job_and_what_is_new_in_them(pty: Pty, clock: Clock) -> None:
    screen = Screen(pty.terminal(), clock)
    with screen.shown():
        screen.changed(job("build"), is_over=False)
        screen.met(job("build"), attempt(to("registry.example"), CURL, ALLOW, attempts=1200))
        screen.met(job("build"), attempt(to("new.example"), CURL, NEW))
        clock.now_s += 5
        screen.met(job("test"), attempt(to("evil.example"), CURL, DENY, attempts=3))
        screen.met(job("test"), attempt(to("evil.example"), CURL, WOULD, attempts=2))
        screen.met(host("any"), attempt(to("time.example", 123, "udp"), by("chronyd"), ALLOW))
        screen.say("ci-egress: job test of group/app began\n")
        screen.tick()
        rows = seen(pty)
    assert rows[0] == "ci-egress watch: 2 jobs, 1,207 attempts; ^C ends it"
    assert [row.split() for row in rows[2:5]] == [
        ["group/app/test", "987", "1", "3", "2", "5", "0", "s", "ago"],
        ["(no", "job)", "1", "1", "0", "s", "ago"],
        ["group/app/build", "987", "2", "1", "1,201", "5", "s", "ago"],
    ]
    assert rows[6:10] == [
        "→ time.example:123 udp  chronyd  in (no job)",
        "→ evil.example:443 would be denied by default  dash > curl  in group/app/test",
        "→ evil.example:443 denied by evil.example:443  dash > curl  in group/app/test",
        "→ new.example:443 new  dash > curl  in group/app/build",
    ]
    assert rows[-1] == "ci-egress: job test of group/app began"


@pytest.mark.parametrize("size", [(1, 1), (10, 3), (30, 5), (80, 24), (300, 100)], ids=str)
def test_it_fits_the_terminal_whatever_there_is_to_show(
    pty: Pty, clock: Clock, size: tuple[int, int]
) -> None:
    pty.resize(*size)
    screen = Screen(pty.terminal(), clock)
    with screen.shown():
        for number in range(150):
            screen.met(
                job(f"a-job-{number}", "x" * 200),
                attempt(to(f"{'漢' * 50}{number}"), CURL, NEW, attempts=10**9),
            )
            screen.say(f"{'words ' * 40}\n")
        text = frame(screen, pty)
        picture = Picture(*size)
        picture.show(text)  # it refuses to scroll
        columns, lines = size
        assert text.count("\r\n") == lines - 1
        pty.resize(columns + 5, lines + 5)
        clock.now_s += 1
        bigger = frame(screen, pty)
        assert bigger.startswith("\x1b[2J")
        Picture(columns + 5, lines + 5).show(bigger)


def test_the_terminal_is_as_it_was_whatever_ends_it(pty: Pty, clock: Clock) -> None:
    screen = Screen(pty.terminal(), clock)

    def fail() -> None:
        with screen.shown():
            screen.tick()
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        fail()
    picture = Picture(80, 24)
    picture.show(pty.read())
    assert picture.modes == {"1049": False, "25": True, "7": True}


def test_what_a_terminal_did_not_take_is_given_up_in_the_end(pty: Pty, clock: Clock) -> None:
    screen = Screen(pty.terminal(), clock)
    with screen.shown():
        pty.fill()
        for _ in range(100):
            clock.now_s += 1
            screen.met(job("build"), attempt(to("registry.example"), CURL, ALLOW))
            screen.tick()  # waiting, it would never end
        taken = pty.read()
    assert taken.count(FRAME) <= 1
    assert pty.read().endswith("\x1b[?25h\x1b[?1049l")


def test_it_is_drawn_four_times_a_second_at_most(pty: Pty, clock: Clock) -> None:
    screen = Screen(pty.terminal(), clock)
    drawn = 0
    with screen.shown():
        for number in range(1000):  # ten seconds
            clock.now_s += 0.01
            screen.met(job("build"), attempt(to(f"{number}.example"), CURL, ALLOW))
            screen.tick()
            drawn += pty.read().count(FRAME)
    assert 35 <= drawn <= 10 / REFRESH_S + 1


def test_where_nothing_happens_it_is_drawn_once_a_second(pty: Pty, clock: Clock) -> None:
    screen = Screen(pty.terminal(), clock)
    drawn = 0
    with screen.shown():
        screen.tick()
        pty.read()
        for _ in range(1000):
            clock.now_s += 0.01
            screen.tick()
            drawn += pty.read().count(FRAME)
    assert 8 <= drawn <= 10


def test_a_job_that_is_over_is_shown_for_a_while_below_those_that_run(pty: Pty, clock: Clock) -> None:
    screen = Screen(pty.terminal(), clock)
    with screen.shown():
        screen.changed(job("first"), is_over=False)
        screen.changed(job("second"), is_over=False)
        screen.met(job("first"), attempt(to("registry.example"), CURL, ALLOW))
        screen.changed(job("first"), is_over=True)
        screen.tick()
        titles = [row.split()[0] for row in seen(pty)[2:4]]
        assert titles == ["group/app/second", "group/app/first"]
        clock.now_s += OVER_S + 1
        screen.tick()
        assert not any("group/app/first " in row for row in seen(pty))


def test_jobs_that_are_over_are_let_go_of_though_the_terminal_takes_nothing(pty: Pty, clock: Clock) -> None:
    screen = Screen(pty.terminal(), clock)

    def are_kept() -> int:
        gc.collect()  # what earlier tests left goes whenever it happens to
        return sum(isinstance(each, KnownKinds) for each in gc.get_objects())

    with screen.shown():
        pty.fill()
        before = are_kept()
        for number in range(100):
            screen.changed(job(f"job-{number}"), is_over=False)
            screen.changed(job(f"job-{number}"), is_over=True)
            clock.now_s += OVER_S + 1
            screen.tick()
        assert are_kept() - before == 1
    pty.read()


def test_parts_of_a_job_are_one_row(pty: Pty, clock: Clock) -> None:
    first = job("build")
    ids = replace(first.ids, job_span_id=7, derive_from=first.ids.job_span_id)
    screen = Screen(pty.terminal(), clock)
    with screen.shown():
        screen.changed(first, is_over=True)
        screen.changed(replace(first, ids=ids), is_over=False)
        screen.tick()
        assert sum("group/app/build" in row for row in seen(pty)) == 1


def test_what_was_said_is_kept_in_bounds(pty: Pty, clock: Clock) -> None:
    screen = Screen(pty.terminal(), clock)
    with screen.shown():
        for number in range(SAID_MAX + 5):
            screen.say(f"line {number}\n")
    said = screen.take_said().splitlines()
    assert said[0] == "… 5 lines before these weren't kept"
    assert said[1:] == [f"line {number}" for number in range(5, SAID_MAX + 5)]
    assert screen.take_said() == "" or screen.take_said().startswith("…")


def test_hostile_names_do_nothing_to_the_terminal(pty: Pty, clock: Clock) -> None:
    evil = "\x1b[2J\x1b]0;owned\x07\r\n\u202e"
    named = replace(job("x"), pipeline=evil, task=evil, run_id=evil)
    screen = Screen(pty.terminal(), clock)
    with screen.shown():
        screen.met(named, attempt(to(evil), by(evil.replace("/", "")), DENY._replace(rule=evil)))
        screen.tick()
        text = pty.read()
    Picture(80, 24).show(text)  # it refuses what isn't known
    assert not re.search("\u202e|\x07", text)
