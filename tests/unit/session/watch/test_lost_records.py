"""Environments whose records were lost are read from /proc, and bounded however long nobody tells of them."""

from __future__ import annotations

import os
from itertools import count
from types import SimpleNamespace
from typing import Any

import pytest

from exporter.events.facts import Environment, Event, ProcessKey
from exporter.pipeline.procfs import environment_of, started_ns
from exporter.session.watch import lost_records
from exporter.session.watch.lost_records import LostRecords

CALLS = 1000


def test_what_waits_to_be_told_is_bounded_and_nothing_of_it_is_left_out(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    own = ProcessKey(os.getpid(), started_ns(os.getpid()) or 0)
    proc = SimpleNamespace(standing=2, agent=0, tgid=own.pid, born_ns=own.started_ns, program=1, exec_id=1)
    size = len(environment_of(own))
    assert size > 0
    monkeypatch.setattr(lost_records, "LATE_MAX_BYTES", 3 * size)
    scopes = SimpleNamespace(undecided=lambda: iter([(own, proc)] * 7))
    tracer: Any = SimpleNamespace(lost_environments=lambda: 1, scopes=scopes)
    source: Any = SimpleNamespace(failed_environments=0)
    decided, told, waited = list[Environment](), list[Event](), list[int]()
    made = LostRecords(tracer, source, decided.append, source)
    for _ in range(3):
        for _ in range(CALLS):
            made.make_up()
        before = len(told)
        made.tell(told.append)
        waited.append(len(told) - before)
    assert waited == [3, 3, 1]
    assert len(decided) == 7
    assert all(event.is_from_proc for event in (*decided, *told) if isinstance(event, Environment))


def test_one_that_waits_is_read_however_many_begin_meanwhile(monkeypatch: pytest.MonkeyPatch) -> None:
    """Each search finds others, and has time for two."""
    monkeypatch.setattr(lost_records, "_LOOK_S", 0)
    monkeypatch.setattr(lost_records, "_READ_S", 0)
    read = list[int]()

    def environment(process: ProcessKey) -> bytes:
        read.append(process.pid)
        return b""

    monkeypatch.setattr(lost_records, "environment_of", environment)
    young = count(1000)
    lost = count(1)

    def found(pid: int) -> tuple[ProcessKey, Any]:
        """That started in the order of the pids."""
        process = ProcessKey(pid, pid)
        return process, SimpleNamespace(
            standing=2, agent=0, tgid=pid, born_ns=process.started_ns, program=1, exec_id=1
        )

    def undecided() -> list[tuple[ProcessKey, Any]]:
        new = [next(young) for _ in range(5)]
        return [found(pid) for pid in (*reversed(new), 30, 20, 10)]

    scopes = SimpleNamespace(undecided=undecided)
    tracer: Any = SimpleNamespace(lost_environments=lambda: next(lost), scopes=scopes)
    source: Any = SimpleNamespace(failed_environments=0)
    made = LostRecords(tracer, source, lambda _: None, source)
    for _ in range(6):
        made.make_up()
    assert [pid for pid in read if pid < 1000] == [10, 20, 30]
    assert len(read) == 6, "and the youngest in between"


OWN = ProcessKey(os.getpid(), started_ns(os.getpid()) or 0)


@pytest.mark.parametrize(
    ("root", "exec_id", "is_asked"),
    [(OWN, 1, True), (OWN, 2, False), (ProcessKey(1, 7), 1, False)],
    ids=["itself", "another-program-by-now", "what-made-it"],
)
def test_only_what_a_process_shows_by_itself_is_read(root: ProcessKey, exec_id: int, is_asked: bool) -> None:
    proc = SimpleNamespace(
        standing=3, agent=0, tgid=root.pid, born_ns=root.started_ns, program=1, exec_id=exec_id
    )
    scopes = SimpleNamespace(undecided=lambda: iter([(OWN, proc)]))
    tracer: Any = SimpleNamespace(lost_environments=lambda: 1, scopes=scopes)
    source: Any = SimpleNamespace(failed_environments=0)
    decided, told = list[Environment](), list[Event]()
    made = LostRecords(tracer, source, decided.append, source)
    made.make_up()
    made.tell(told.append)
    assert ([event.process for event in decided], len(told)) == ([OWN] * is_asked, is_asked)
