"""When a step of a machine's only job is over: what it left behind may be ended then."""

from __future__ import annotations

import subprocess
from dataclasses import replace

from exporter.events.facts import ProcessKey
from exporter.pipeline.procfs import started_ns
from exporter.session.watch.whole_machine import _is_left_behind
from tests.unit.samples import program


def test_a_step_is_over_when_its_process_has_ended_whatever_was_told_of_it() -> None:
    with subprocess.Popen(["sleep", "60"]) as step:
        since_ns = started_ns(step.pid)
        assert since_ns is not None
        root = program("/usr/bin/sleep", ("sleep", "60"), process=ProcessKey(step.pid, since_ns))
        child = program(parent=root)
        assert not _is_left_behind(child)
        root.ended_ns = since_ns + 1  # by an exec
        assert not _is_left_behind(child)
        root.ended_ns = None
        step.kill()
        step.wait()
        assert _is_left_behind(child)


def test_what_init_took_over_is_of_no_step() -> None:
    with subprocess.Popen(["sleep", "60"]) as adopted:
        since_ns = started_ns(adopted.pid)
        assert since_ns is not None
        process = ProcessKey(adopted.pid, since_ns)
        root = replace(program("/usr/bin/sleep", ("sleep", "60"), process=process), parent_pid=1)
        assert _is_left_behind(root)
        adopted.kill()
