"""What several commands say in the same words."""

from __future__ import annotations

import logging
from collections.abc import Iterator

from exporter.account import Account
from exporter.cli.messages import Messages


def warn(what: str) -> None:
    """Say that something isn't as it should be."""
    Messages.current().say(what, level=logging.WARNING)


def warn_of_ignored(variables: list[str]) -> None:
    """Say which of OpenTelemetry's variables have no effect, if any."""
    if variables:
        warn(f"ignored: {', '.join(variables)}: evidence is neither sampled nor limited")


def tell_fault(traceback: str) -> None:
    """Say that there is a bug."""
    Messages.current().say(
        "a fault of ci-egress: it goes on without that event; please report this",
        level=logging.ERROR,
        detail=traceback,
    )


def drops(account: Account) -> Iterator[str]:
    """What was dropped, a line each."""
    for (stage, error_type), attempts in sorted(account.dropped.items()):
        yield f"{attempts} of {account.attempts} attempts were dropped ({stage}: {error_type})"
