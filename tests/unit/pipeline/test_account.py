"""The account: nothing is lost without being counted, and what is missing shows."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

from hypothesis import given
from hypothesis import strategies as st

from exporter.pipeline.account import Account, Bookkeeping, KernelCounts


@dataclass(frozen=True)
class Out:
    """What OTLP says of the attempts it got."""

    exported: int = 0
    dropped: Mapping[tuple[str, str], int] = field(default_factory=dict)
    pending: int = 0
    aggregated: int = 0
    spooled: int = 0


def books_of(
    kernel: Callable[[], KernelCounts], delivered: Callable[[], Out], waiting: Callable[[], int] = lambda: 0
) -> Bookkeeping:
    return Bookkeeping(kernel, delivered, waiting, Out)


def total(account: Account) -> int:
    settled = account.exported + account.aggregated + sum(account.dropped.values())
    return settled + sum(account.pending.values())


def test_the_last_line_of_the_summary() -> None:
    account = Account(1204, 1100, 104, {("kernel", "ring_full"): 0}, {"ring": 0, "queue": 0})
    assert str(account) == "attempts 1204 = exported 1100 + aggregated 104 + dropped 0 + pending 0"


def test_what_nobody_has_settled_is_in_the_ring() -> None:
    account = books_of(lambda: KernelCounts(10, 2), lambda: Out(exported=3, pending=1)).account()
    assert account.pending == {"ring": 4, "queue": 1, "spool": 0}
    assert account.dropped == {("kernel", "ring_full"): 2}
    assert total(account) == 10


def test_a_full_ring_that_lost_nothing_is_not_mentioned() -> None:
    assert books_of(lambda: KernelCounts(1, 0), lambda: Out(exported=1)).account().dropped == {}


def test_drops_of_every_stage_are_kept_apart() -> None:
    books = books_of(lambda: KernelCounts(9, 1), lambda: Out(5, {("export", "timeout"): 1}))
    books.drop("ring", "malformed")
    books.drop("ring", "malformed", attempts=1)
    assert books.account().dropped == {
        ("ring", "malformed"): 2,
        ("export", "timeout"): 1,
        ("kernel", "ring_full"): 1,
    }


def test_each_account_asks_anew() -> None:
    counts = iter([KernelCounts(1, 0), KernelCounts(2, 0)])
    books = books_of(lambda: next(counts), Out)
    assert [books.account().attempts, books.account().attempts] == [1, 2]


def test_the_fields_for_json_say_the_same() -> None:
    account = Account(7, 4, 0, {("kernel", "ring_full"): 2}, {"ring": 1, "queue": 0})
    assert account.fields() == {
        "attempts": 7,
        "exported": 4,
        "aggregated": 0,
        "dropped": {"kernel/ring_full": 2},
        "pending": {"ring": 1, "queue": 0},
    }


SMALL = st.integers(0, 50)


@given(st.builds(Out, SMALL, st.fixed_dictionaries({("export", "timeout"): SMALL}), SMALL, SMALL, SMALL))
def test_what_is_aggregated_or_spooled_is_as_good_as_accounted_for(delivered: Out) -> None:
    attempts = delivered.exported + delivered.aggregated + delivered.pending + delivered.spooled
    attempts += sum(delivered.dropped.values())
    account = books_of(lambda: KernelCounts(attempts, 0), lambda: delivered).account()
    assert account.pending == {"ring": 0, "queue": delivered.pending, "spool": delivered.spooled}
    assert (account.exported, account.aggregated) == (delivered.exported, delivered.aggregated)
    assert total(account) == attempts


@given(SMALL, SMALL, SMALL, SMALL, SMALL, SMALL, SMALL)
def test_the_account_always_adds_up(
    exported: int, dropped: int, pending: int, malformed: int, lost: int, in_flows: int, in_ring: int
) -> None:
    attempts = exported + dropped + pending + malformed + lost + in_flows + in_ring
    delivered = Out(exported, {("export", "timeout"): dropped}, pending)
    books = books_of(lambda: KernelCounts(attempts, lost), lambda: delivered, lambda: in_flows)
    books.drop("ring", "malformed", malformed)
    account = books.account()
    assert total(account) == attempts
    assert account.pending == {"ring": in_ring, "queue": in_flows + pending, "spool": 0}


def test_an_attempt_that_moves_on_while_the_account_is_drawn_up_is_not_counted_twice() -> None:
    flows, queue = [1], [0]

    def delivered() -> Out:
        out = Out(pending=queue[0])
        flows[0], queue[0] = 0, 1  # its flow ends just now
        return out

    books = books_of(lambda: KernelCounts(1, 0), delivered, lambda: flows[0])
    assert books.account().pending == {"ring": 1, "queue": 0, "spool": 0}
    assert books.account().pending == {"ring": 0, "queue": 1, "spool": 0}
