"""The account, looked at all the time while something goes wrong."""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Iterator

from exporter.otlp.ledger import LedgerTotals
from exporter.otlp.telemetry import Telemetry
from exporter.pipeline.account import Account, Bookkeeping, KernelCounts
from tests.integration.receivers import span, wait_until

_EVERY_S = 0.001
_OFTEN = 10


class Job:
    """Submits spans, and counts like the kernel what they stand for before it hands them over."""

    def __init__(self, telemetry: Telemetry) -> None:
        self.attempts = 0
        self.heaviest = 0
        self._telemetry = telemetry
        self._books = Bookkeeping(
            lambda: KernelCounts(self.attempts, 0), lambda: telemetry.account, lambda: 0, LedgerTotals
        )

    def submit(self, attempts: int = 1, *, aggregated: bool = False, name: str = "", text: str = "") -> None:
        """One span, named after the attempts so far unless it has a name."""
        self.heaviest = max(self.heaviest, attempts)
        one = span(name or str(self.attempts), text=text)
        self.attempts += attempts
        self._telemetry.submit(one, attempts, aggregated=aggregated)

    def account(self) -> Account:
        return self._books.account()

    def check(self) -> Account:
        """The equation holds, and in nobody's hands is only the span in hand, and what came meanwhile."""
        before = self.attempts
        account = self.account()
        settled = account.exported + account.aggregated + sum(account.dropped.values())
        assert account.attempts == settled + sum(account.pending.values())
        assert 0 <= account.pending["ring"] <= self.heaviest + account.attempts - before, account
        assert account.pending["queue"] >= 0
        assert account.pending["spool"] >= 0
        return account


@contextlib.contextmanager
def audited(telemetry: Telemetry) -> Iterator[Job]:
    """A job whose account another thread checks every millisecond, and that adds up at the end."""
    job = Job(telemetry)
    over = threading.Event()
    wrong: list[BaseException] = []
    checks = 0

    def audit() -> None:
        nonlocal checks
        while not over.wait(_EVERY_S):
            try:
                job.check()
            except AssertionError as error:
                wrong.append(error)
                return
            checks += 1

    auditor = threading.Thread(target=audit)
    auditor.start()
    try:
        yield job
        wait_until(lambda: checks > _OFTEN or bool(wrong))  # a busy machine may not have let it yet
    finally:
        over.set()
        auditor.join()
    if wrong:
        raise wrong[0]
    assert job.check().pending["ring"] == 0
