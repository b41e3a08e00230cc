"""Read the account of the processes that wrote files of spans, from their metrics in the same folders."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Collection, Iterable, Iterator
from functools import partial
from pathlib import Path

from exporter.common.errors import UsageError
from exporter.otlp.reading.files import LineKind, entries_of, is_named, read_file
from exporter.otlp.reading.json import text_of
from exporter.otlp.reading.metrics import Point, read_points
from exporter.pipeline.account import Account

from .texts import NAME_MAX

PATTERNS = ("metrics*.jsonl", "metrics*.jsonl.gz")
"""The names of files of metrics, including rotated files."""
_ATTEMPTS, _EVENTS, _PENDING = (f"cicd.egress.exporter.{name}" for name in ("attempts", "events", "pending"))
KINDS = {_ATTEMPTS: "sum", _EVENTS: "sum", _PENDING: "gauge"}
_METRICS = LineKind("metrics", b'{"resourceMetrics"', "move the file away, and the report has no account")
_SERIES_MAX = 100_000
"""The most series of all instances; each has a dozen."""
_SUM_MAX = 1 << 62
_SPOOL = "spool"

_ATTRIBUTES = ("egress.stage", "egress.result", "error.type")

Key = tuple[str, str, str, str]
"""A metric's name and the values of _ATTRIBUTES."""
Series = dict[Key, tuple[int, int]]
"""For each key, the time of its last value in nanoseconds since 1970 (UTC), and that value."""


class Accounts:
    """The last value of each series of each instance, in whatever order points come."""

    def __init__(self) -> None:
        self._last: dict[str, Series] = {}
        """The series by instance."""
        self._room = _SERIES_MAX

    def add(self, point: Point) -> None:
        """Add a value that an instance reported."""
        get = point.attributes.get
        stage, result, error = (text_of(get(name)) or "" for name in _ATTRIBUTES)
        key = (point.metric, stage[:NAME_MAX], result[:NAME_MAX], error[:NAME_MAX])
        instance = point.instance[:NAME_MAX]
        series = self._last.get(instance) or {}
        at_ns, _ = series.get(key) or (-1, 0)
        if at_ns < 0:
            if not self._room:
                return
            self._room -= 1
        if at_ns <= point.at_ns:
            self._last.setdefault(instance, series)[key] = (point.at_ns, point.value)

    def account(self, instances: Collection[str]) -> Account | None:
        """Sum up the account of `instances` and of others that exported nothing. None: no metric has one.

        Instances that exported nothing have no spans in the files, so that their losses would show nowhere.
        """
        own = [told for instance, told in self._last.items() if instance in instances or _has_nothing(told)]
        if not any(key[0] == _ATTEMPTS for told in own for key in told):
            return None
        sums: Counter[Key] = Counter()
        for told in own:
            for key, (_, value) in told.items():
                sums[key] = min(sums[key] + value, _SUM_MAX)
        return _account(sums)


def accounts_beside(files: Iterable[Path], say: Callable[[str], object]) -> Accounts:
    """Read the files of metrics in the folders of `files`; unreadable ones are reported to `say`."""
    accounts = Accounts()
    for path in _metric_files(files):
        try:
            for point in read_file(path, _METRICS, partial(read_points, kinds=KINDS), say=say):
                accounts.add(point)
        except UsageError as error:  # a report without an account is better than none
            say(f"the account may lack what {path} has: {error.what}")
    return accounts


def _metric_files(files: Iterable[Path]) -> Iterator[Path]:
    for folder in dict.fromkeys(path.parent for path in files):
        try:
            found = sorted(Path(entry.path) for entry in entries_of(folder) if is_named(entry, PATTERNS))
        except UsageError:  # files in it may be readable although it can't be listed
            continue
        yield from (path for path in found if path.is_file())  # a FIFO would wait for its writer


def _has_nothing(told: Series) -> bool:
    exported = (value for key, (_, value) in told.items() if key[2] in ("exported", "aggregated"))
    return not sum(exported)


def _account(sums: Counter[Key]) -> Account:
    totals: Counter[str] = Counter()
    dropped: Counter[tuple[str, str]] = Counter()
    pending: Counter[str] = Counter()
    for (metric, stage, result, error), value in sums.items():
        if metric == _ATTEMPTS:
            totals["attempts"] += value
        elif metric == _PENDING:
            pending[stage] += value
        elif result == "dropped":
            dropped[stage, error] += value
        else:
            totals[result] += value
    exported, aggregated = totals["exported"], totals["aggregated"]
    settled = exported + aggregated + dropped.total()
    # An attempt that one instance left on disk and a later one delivered counts as pending and as exported.
    surplus = settled + pending.total() - totals["attempts"]
    pending[_SPOOL] -= min(max(surplus, 0), pending[_SPOOL])
    attempts = max(totals["attempts"], settled + pending.total())  # more: of an instance that isn't read here
    return Account(attempts, exported, aggregated, dict(+dropped), dict(pending))
