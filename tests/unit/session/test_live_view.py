"""A view with a fault: what is traced goes on."""

from __future__ import annotations

import pytest

from exporter.events.destinations import Destination
from exporter.jobs.detect import detect
from exporter.session.live_view import Ticker, finish
from tests.unit.samples import attempt

WHERE = Destination("a.example", 443, "tcp", None)


class Broken:
    """Shows nothing."""

    def __init__(self) -> None:
        self.calls = 0

    def tick(self, *_: object) -> None:
        self.calls += 1
        raise ZeroDivisionError

    close = met = tick


def test_it_is_told_once_and_the_view_is_let_be(capsys: pytest.CaptureFixture[str]) -> None:
    view = Broken()
    ticker = Ticker(view)
    for _ in range(3):
        ticker.tick()
    assert view.calls == 1
    assert capsys.readouterr().err.count("it goes on without --live") == 1


def test_an_act_that_it_cannot_show_is_counted_all_the_same(
    capsys: pytest.CaptureFixture[str],
) -> None:
    view = Broken()
    ticker = Ticker(view)
    for _ in range(2):
        ticker.met(detect({}), attempt(WHERE))
    ticker.tick()
    assert view.calls == 1
    assert capsys.readouterr().err.count("it goes on without --live") == 1


def test_in_the_end_it_is_told_and_no_more(capsys: pytest.CaptureFixture[str]) -> None:
    finish(Broken())
    finish(None)
    assert capsys.readouterr().err.count("it goes on without --live") == 1
