"""The account that metrics beside the spans give: the last word of each instance, summed."""

from __future__ import annotations

import gzip
import os
from pathlib import Path

import pytest

from exporter.pipeline.account import Account
from exporter.report.read import read
from tests.unit.report.span_files import account_line, act, job, lines, written

JOB = 0xA0


def account_of(folder: Path, *instances: str) -> Account | None:
    """Of files of metrics in `folder`, beside spans of `instances`."""
    data = b"".join(lines([act(2 + n, JOB), job(JOB)], instance=name) for n, name in enumerate(instances))
    written(folder, data)
    return read([folder], say=pytest.fail).account


def test_without_metrics_there_is_no_account(tmp_path: Path) -> None:
    assert account_of(tmp_path, "one") is None


def test_the_last_value_counts_whatever_file_has_it(tmp_path: Path) -> None:
    written(tmp_path, account_line("one", 30, 9, 9), "metrics.1.jsonl")
    written(tmp_path, account_line("one", 10, 2, 2) + account_line("one", 20, 5, 4, queue=1), "metrics.jsonl")
    assert account_of(tmp_path, "one") == Account(9, 9, 0, {}, {"ring": 0, "queue": 0, "spool": 0})


def test_instances_are_summed(tmp_path: Path) -> None:
    written(tmp_path, account_line("one", 10, 5, 3, aggregated=1, dropped=1), "metrics.jsonl")
    written(tmp_path, gzip.compress(account_line("two", 10, 4, 3, ring=1)), "metrics.1.jsonl.gz")
    found = account_of(tmp_path, "one", "two")
    assert found == Account(9, 6, 1, {("kernel", "ring_full"): 1}, {"ring": 1, "queue": 0, "spool": 0})
    assert str(found) == "attempts 9 = exported 6 + aggregated 1 + dropped 1 + pending 1"


def test_an_instance_with_a_long_name_has_an_account(tmp_path: Path) -> None:
    written(tmp_path, account_line("x" * 100_000, 10, 2, 2), "metrics.jsonl")
    found = account_of(tmp_path, "x" * 100_000)
    assert found == Account(2, 2, 0, {}, {"ring": 0, "queue": 0, "spool": 0})


def test_of_strangers_only_what_they_lost_counts(tmp_path: Path) -> None:
    """An instance none of whose spans arrived shows nowhere else; others wrote theirs somewhere else."""
    data = account_line("one", 10, 2, 2) + account_line("elsewhere", 10, 7, 7)
    written(tmp_path, data + account_line("lost", 10, 3, 0, dropped=3), "metrics.jsonl")
    assert account_of(tmp_path, "one") == Account(
        5, 2, 0, {("kernel", "ring_full"): 3}, {"ring": 0, "queue": 0, "spool": 0}
    )


def test_what_one_left_on_disk_and_another_delivered_is_not_pending_any_more(tmp_path: Path) -> None:
    data = account_line("one", 10, 10, 5, spool=5) + account_line("two", 20, 0, 5)
    written(tmp_path, data, "metrics.jsonl")
    assert account_of(tmp_path, "one", "two") == Account(10, 10, 0, {}, {"ring": 0, "queue": 0, "spool": 0})


def test_what_an_instance_that_is_not_here_left_behind_counts_as_attempts(tmp_path: Path) -> None:
    written(tmp_path, account_line("two", 20, 1, 4), "metrics.jsonl")
    found = account_of(tmp_path, "two")
    assert found is not None
    assert (found.attempts, found.exported) == (4, 4)


def test_metrics_that_cannot_be_read_are_told_and_cost_the_account_alone(tmp_path: Path) -> None:
    written(tmp_path, lines([job(JOB)]))
    written(tmp_path, b"{}\n", "metrics.jsonl")
    told = list[str]()
    report = read([tmp_path], say=told.append)
    assert (len(report.jobs), report.account) == (1, None)
    assert [*report.notes] == told
    assert told == [
        f"the account may lack what {tmp_path}/metrics.jsonl has: {tmp_path}/metrics.jsonl:1:1: "
        "not a line of OTLP metrics"
    ]


def test_a_fifo_among_the_metrics_is_not_waited_for(tmp_path: Path) -> None:
    written(tmp_path, lines([job(JOB)]))
    os.mkfifo(tmp_path / "metrics.jsonl")
    assert read([tmp_path], say=pytest.fail).account is None


def test_wrong_types_are_left_out(tmp_path: Path) -> None:
    wrong = account_line("one", 99, 1, 1).replace(b'"asInt": "1"', b'"asInt": [1]')
    written(tmp_path, account_line("one", 10, 2, 2) + wrong, "metrics.jsonl")
    found = account_of(tmp_path, "one")
    assert found is not None
    assert str(found) == "attempts 2 = exported 2 + aggregated 0 + dropped 0 + pending 0"
