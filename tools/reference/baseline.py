"""`docs/reference/baseline.md`: keys of a baseline."""

from __future__ import annotations

from exporter.baseline import entries, parse
from exporter.policy.endpoints import PORT_MAX
from tools.reference.pages import code, page, plain, table

_NAMES = {
    "pipeline": "`cicd.pipeline.name`; without it, of jobs that have none",
    "task": "`cicd.pipeline.task.name`; likewise",
}
_TOP = {
    "version": "`1`. It must be there",
    "entries": "a list, each one destination of one task. It must be there, `[]` where nothing is known",
    "pipelines": "a list, each the history of one pipeline",
}
_ENTRY = {
    **_NAMES,
    "destination": "a name, `*.name` (names below, never `name` itself) or one address: `server.address` of "
    "the span. "
    "It must be there",
    "port": f"0 to {PORT_MAX}; must be there for protocols with ports",
    "transport": "`network.transport` of the span, such as `tcp`. It must be there",
    "lineage": f"a list of chains, each a list of executables from the job's root on; or `{entries.ANY}`. It "
    f"must be "
    "there",
    "first_seen": "a day in UTC, as 2026-11-02",
    "last_seen": "the same",
    "runs": "in how many runs it was met, 1 at least",
}
_HISTORY = {
    "pipeline": _NAMES["pipeline"],
    "runs": "how many were learnt from",
    "quiet_runs": "how many of the latest ones brought nothing new",
    "last_run": "the day of the latest one, in UTC",
}


def text() -> str:
    """Return the page. Raises SystemExit where the code has keys that nobody described."""
    size = f"{parse.KIND.size_max >> 20} MiB and {parse.ENTRIES_MAX:,} entries at most"
    return page(
        "Baseline",
        "The keys of a baseline's file, as the code has them. [The manual](../baseline.md) tells how one is "
        "learnt, "
        f"reviewed and used, and every error. YAML in UTF-8, {size}; no task may have a destination, port "
        f"and transport "
        "twice.",
        "## The file",
        _rows(parse.TOP_KEYS, _TOP),
        "## An entry",
        _rows(entries.KEYS, _ENTRY),
        "## A pipeline's history",
        "All of it must be there, but `pipeline`:",
        _rows(parse.HISTORY_KEYS, _HISTORY),
    )


def _rows(keys: tuple[str, ...], described: dict[str, str]) -> str:
    if set(keys) != described.keys():
        raise SystemExit(f"tools/reference/baseline.py and the code differ in {set(keys) ^ described.keys()}")
    return table(["key", ""], [[code(key), plain(described[key])] for key in keys])
