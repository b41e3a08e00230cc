"""A problem is said once while it lasts, and again when it comes back after it was over."""

from __future__ import annotations

from exporter.otlp.complaints import AGAIN_S, Complaints
from exporter.otlp.sinks import Receipt, SendError

SPANS, METRICS = "http://collector.example:4318/v1/traces", "http://collector.example:4318/v1/metrics"
AWAY = SendError("unreachable", "connection refused", fix="start it", retryable=True)
REFUSED = SendError("400", "bad request", fix="look at its log", retryable=False)


class Time:
    """Passes when told to."""

    now_s = 1000.0

    def __call__(self) -> float:
        return self.now_s


def told(complaints: Complaints) -> list[str]:
    return [line.partition(":")[0] for line in complaints.take()]


def test_an_outage_is_said_once_however_long_it_lasts() -> None:
    time = Time()
    complaints = Complaints(time)
    for _ in range(100):
        time.now_s += 60
        complaints.add_failure("spans", SPANS, AWAY)
        complaints.add_failure("metrics", METRICS, AWAY)
    assert told(complaints) == ["spans can't be sent to http"]


def test_a_second_outage_is_said_again() -> None:
    time = Time()
    complaints = Complaints(time)
    for _ in range(3):
        complaints.add_failure("spans", SPANS, AWAY)
        time.now_s += AGAIN_S + 1
        complaints.add_receipt("metrics", METRICS, Receipt())
    assert len(told(complaints)) == 3


def test_a_collector_that_comes_and_goes_is_not_said_again_and_again() -> None:
    time = Time()
    complaints = Complaints(time)
    for _ in range(100):
        complaints.add_failure("spans", SPANS, AWAY)
        complaints.add_receipt("spans", SPANS, Receipt())
        time.now_s += AGAIN_S / 50
    assert len(told(complaints)) == 2


def test_what_is_wrong_at_one_path_is_not_over_when_another_one_answers() -> None:
    time = Time()
    complaints = Complaints(time)
    for _ in range(3):
        complaints.add_failure("spans", SPANS, REFUSED)
        time.now_s += AGAIN_S + 1
        complaints.add_receipt("metrics", METRICS, Receipt())
    assert len(told(complaints)) == 1


def test_a_part_that_is_rejected_each_time_is_said_once() -> None:
    time = Time()
    complaints = Complaints(time)
    for _ in range(3):
        complaints.add_receipt("spans", SPANS, Receipt(rejected=2, message="too large"))
        time.now_s += AGAIN_S + 1
    assert told(complaints) == ["http"]


def test_what_has_to_do_with_no_place_is_said_once_for_good() -> None:
    time = Time()
    complaints = Complaints(time)
    for _ in range(3):
        complaints.add(("spans", "encoding"), "one of the spans can't be encoded")
        time.now_s += AGAIN_S + 1
        complaints.add_receipt("spans", SPANS, Receipt())
    assert len(complaints.take()) == 1
