"""Panels that several dashboards have, each for the series of one dashboard."""

from __future__ import annotations

from dataclasses import dataclass

from tools.grafana import columns
from tools.grafana.links import Link
from tools.grafana.panels import ATTENTION, BAD, BYTES, Alarm, Column, Curve, Panel, number, over_time, rows
from tools.grafana.promql import (
    CONNECTIONS,
    DIRECTION,
    HAS_BASELINE,
    INTERVAL,
    IO,
    IS_AGAINST_POLICY,
    IS_DENIED,
    IS_NOVEL,
    VERDICT,
    WOULD_BE_DENIED,
    added,
    added_by,
    series,
    total,
    zero_where,
)


@dataclass(frozen=True)
class Scope:
    """The series that a dashboard is about: those that match all of `matchers`."""

    matchers: tuple[str, ...]

    def connections(self, *more: str) -> str:
        """Return a selector of attempts."""
        return series(CONNECTIONS, *self.matchers, *more)

    def io(self, direction: str) -> str:
        """Return a selector of payload, one way."""
        return series(IO, *self.matchers, f'{DIRECTION}="{direction}"')

    @property
    def sent(self) -> str:
        """A selector of payload that left."""
        return self.io("transmit")

    @property
    def received(self) -> str:
        """A selector of payload that came."""
        return self.io("receive")


def sums(label: str, selector: str, *, has_exemplars: bool = False) -> Curve:
    """Make curves of what counters gained in each interval, one for each value of a label."""
    return Curve(f"sum by ({label}) ({added(selector, INTERVAL)})", f"{{{{{label}}}}}", has_exemplars)


def novel(scope: Scope, title: str, description: str, expr: str) -> Panel:
    """Make a number of novel attempts or destinations; it is empty where there is no baseline."""
    return number(
        title,
        f"{description} Empty as long as no exporter runs with --baseline.",
        f"{expr} or {zero_where(scope.connections(HAS_BASELINE))}",
        alarm=Alarm(BAD),
        no_value="no baseline",
    )


def denied(scope: Scope) -> list[Panel]:
    """Make the numbers of attempts that were denied, and that would be."""
    return [
        number(
            "Denied",
            "Attempts that failed with EPERM since a policy denies them.",
            total(scope.connections(IS_DENIED)),
            alarm=Alarm(BAD),
        ),
        number(
            "Would be denied",
            "Attempts that a policy is against and that went on, since it only audits.",
            total(scope.connections(WOULD_BE_DENIED)),
            alarm=Alarm(ATTENTION),
        ),
    ]


def attempts(scope: Scope) -> Panel:
    """Make the number of attempts."""
    return number("Attempts", "Connects and datagram sends.", total(scope.connections()))


def payload(scope: Scope) -> list[Panel]:
    """Make the numbers of payload each way."""
    told = "Payload of TCP and UDP that is over."
    return [
        number("Sent", told, total(scope.sent), unit=BYTES),
        number("Received", told, total(scope.received), unit=BYTES),
    ]


def novel_rows(scope: Scope, title: str, labels: tuple[str, ...], where: list[Column]) -> Panel:
    """Make a table with a line for each novel destination; `where` are the columns of `labels`."""
    return rows(
        title,
        "Attempts at what the baseline doesn't have. A destination leads to the traces that have it: "
        "which step, which program, which command line.",
        [added_by((*labels, VERDICT), scope.connections(IS_NOVEL))],
        [*where, columns.VERDICT, columns.ATTEMPTS],
        no_value="Nothing novel, or no exporter has a baseline",
    )


def denied_rows(scope: Scope, labels: tuple[str, ...], where: list[Column]) -> Panel:
    """Make a table of the destinations that a policy is against; `where` are the columns of `labels`."""
    return rows(
        "Denied, or would be",
        "Attempts that a policy is against.",
        [added_by((*labels, VERDICT), scope.connections(IS_AGAINST_POLICY))],
        [*where, columns.VERDICT, columns.ATTEMPTS],
        no_value="Nothing that a policy is against",
    )


def attempts_over_time(
    scope: Scope,
    title: str,
    label: str,
    *,
    links: tuple[Link, ...] = (),
    colors: dict[str, str] | None = None,
) -> Panel:
    """Make a panel of attempts over time by a label, with exemplars."""
    return over_time(
        title,
        "Attempts in each interval, a counter's first value included. Points are exemplars: the latest "
        "span of a destination, which leads to its trace.",
        [sums(label, scope.connections(), has_exemplars=True)],
        links=links,
        colors=colors,
    )
