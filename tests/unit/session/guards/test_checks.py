"""What is told of whom a watch depends on."""

from __future__ import annotations

import subprocess
from types import SimpleNamespace
from typing import Any

import pytest

from exporter.events.facts import ProcessKey
from exporter.pipeline.procfs import started_ns
from exporter.session.guards import checks
from exporter.session.guards.checks import Guards, Owner
from tests.unit.samples import CLOCK


def test_that_the_agent_is_gone_is_told_once_in_words_and_as_a_record(
    capsys: pytest.CaptureFixture[str],
) -> None:
    records, warned = list[Any](), list[str]()
    with subprocess.Popen(["sleep", "100"]) as agent:
        guards = guarding(records, warned, ProcessKey(agent.pid, started_ns(agent.pid) or 0))
        guards.look_for_agent()
        assert not guards.is_left_alone
        assert (records, warned) == ([], [])
        agent.kill()
    for _ in range(2):
        guards.look_for_agent()
        assert guards.is_left_alone
    (words,) = warned
    assert words.startswith(f"the job's agent (process {agent.pid}) is gone, ")
    assert [(record.attributes, record.body) for record in records] == [
        ({"egress.tamper.kind": "end"}, words)
    ]
    assert words in capsys.readouterr().err


def test_where_no_agent_is_known_none_is_missed() -> None:
    guards = guarding([], [], None)
    guards.look_for_agent()
    assert not guards.is_left_alone


def test_that_nothing_is_read_about_others_is_told_once(monkeypatch: pytest.MonkeyPatch) -> None:
    records, warned = list[Any](), list[str]()
    guards = guarding(records, warned, None)
    guards._tell_held_up()
    assert records == []
    monkeypatch.setattr(checks, "readers", lambda: SimpleNamespace(held_up_by=(22, 21, 21)))
    for _ in range(2):
        guards._tell_held_up()
    words = "2 processes held up whoever read about them in /proc, so nothing is read about others: 21, 22"
    assert warned == [words]
    assert [record.attributes for record in records] == [{"egress.tamper.kind": "held_up"}]


def guarding(records: list[Any], warned: list[str], agent: ProcessKey | None) -> Guards:
    """Those of a watch below `agent`."""
    telemetry = SimpleNamespace(resource=None, log=records.append)
    outlets: Any = SimpleNamespace(telemetry=telemetry, metrics=None, clock=CLOCK)
    nothing: Any = SimpleNamespace(account=None)
    owner = Owner(warned=warned.append, ends_by_token=True, agent=agent)
    return Guards(nothing, outlets, nothing, lambda _: None, owner)
