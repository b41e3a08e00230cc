"""What an attempt says of itself, also when its program isn't known."""

from __future__ import annotations

from exporter.events.destinations import destination
from tests.unit.records import ACT, AGGREGATE
from tests.unit.samples import attempt_of, bash, by, program


def test_an_act_is_one_attempt_and_acts_that_were_only_counted_are_several() -> None:
    assert attempt_of(ACT, program()).attempts == 1
    assert attempt_of(AGGREGATE, program()).attempts == AGGREGATE.attempts
    assert attempt_of(AGGREGATE._replace(attempts=0), program()).attempts == 0


def test_its_scope_is_its_programs_whatever_the_kernel_says() -> None:
    """A job of a watch is found after the kernel has told its first acts as nobody's."""
    event = ACT._replace(scope=7)
    assert attempt_of(event, program()).scope == program().scope
    assert attempt_of(event, None).scope == 7


def test_a_lineage_with_a_gap_is_told_but_not_compared() -> None:
    met = attempt_of(ACT, by("bash", "curl"))
    assert (met.lineage, met.known_lineage) == (("bash", "curl"), ("bash", "curl"))
    lossy = program(parent=bash())
    lossy.has_gap = True
    assert (attempt_of(ACT, lossy).lineage, attempt_of(ACT, lossy).known_lineage) == (("bash", "curl"), None)


def test_of_a_program_that_is_not_known_there_is_no_lineage() -> None:
    met = attempt_of(AGGREGATE, None)
    assert (met.lineage, met.known_lineage, met.owner) == ((), None, None)
    assert met.destination == destination(AGGREGATE)
