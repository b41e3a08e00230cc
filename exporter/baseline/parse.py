"""Read the baseline file: YAML, `version: 1`. All errors in it are reported, each with its place."""

from __future__ import annotations

from pathlib import Path

from exporter.common.documents import tree
from exporter.common.documents.fields import Fields, check_version, is_another, read_fields, wrong_kind
from exporter.common.documents.problems import DocumentError, Problems, shown
from exporter.common.documents.tree import DocumentKind, Listing, Node

from .entries import read_count, read_date, read_entry, read_task
from .model import Baseline, Entry, History, Subject


class BaselineError(DocumentError):
    """An invalid baseline file. None of it is used: nothing counts as known by it, and nothing as novel."""

    kind = "baseline"


KIND = DocumentKind(
    "baseline",
    size_max=32 << 20,
    nodes_max=2_000_000,
    levels="five",
    smaller="make a baseline for each group of pipelines",
    wildcard="*.registry.example",
    made_of_spans="`ci-egress baseline learn` makes a baseline of spans",
)
"""Limits and words for baseline files. 100 pipelines of 50 destinations each need less than a tenth."""
ENTRIES_MAX = 50_000

TOP_KEYS = ("version", "entries", "pipelines")
_POLICY_KEYS = ("mode", "resolvers", "allow", "deny", "jobs")
HISTORY_KEYS = ("pipeline", "runs", "quiet_runs", "last_run")


def load_baseline(path: Path) -> Baseline:
    """Read the baseline file `path`. Raises BaselineError, and UsageError where it can't be read."""
    return parse_baseline(tree.load(path, KIND), str(path))


def parse_baseline(data: bytes, source: str) -> Baseline:
    """Read the baseline in `data`; `source` is its name in errors. Raises BaselineError."""
    problems = Problems()
    root = tree.read(data, KIND, problems)
    baseline = _baseline(root, problems) if root is not None else Baseline()
    if problems:
        raise BaselineError(source, problems)
    return baseline


def _baseline(root: Node, problems: Problems) -> Baseline:
    if is_another(root, TOP_KEYS, _POLICY_KEYS):
        problems.add(root, "this is a policy, no baseline", "make a baseline with `ci-egress baseline learn`")
        return Baseline()
    fields = read_fields(root, TOP_KEYS, "a baseline", problems)
    if fields is None:
        return Baseline()
    check_version(root, fields, problems)
    if "entries" not in fields:
        problems.add(root, "`entries` is missing", "write `entries: []` where nothing is known")
    return Baseline(_entries(_items(fields, "entries", problems), problems), _histories(fields, problems))


def _items(fields: Fields, key: str, problems: Problems) -> list[Node]:
    node = fields.get(key)
    if node is None:
        return []
    if not isinstance(node, Listing):
        wrong_kind(node, f"`{key}`", "a list, with `- pipeline: …` for each", problems)
        return []
    if len(node.items) > ENTRIES_MAX:
        problems.add(node.items[ENTRIES_MAX], f"more than {ENTRIES_MAX:,} {key}", KIND.smaller)
    return node.items[:ENTRIES_MAX]


def _entries(nodes: list[Node], problems: Problems) -> tuple[Entry, ...]:
    """Read all entries, sorted; duplicates are problems."""
    found: dict[Subject, Entry] = {}
    for node in nodes:
        entry = read_entry(node, problems)
        if entry is None:
            continue
        first = found.setdefault(entry.subject, entry)
        if first is not entry:
            what = f"duplicate: {shown(entry.subject.shown)} of this task stands in line {first.line}"
            problems.add(node, what, "merge the two")
    return tuple(found[subject] for subject in sorted(found, key=lambda subject: subject.order))


def _histories(fields: Fields, problems: Problems) -> dict[str | None, History]:
    found: dict[str | None, History] = {}
    for node in _items(fields, "pipelines", problems):
        of_one = read_fields(node, HISTORY_KEYS, "an item of `pipelines`", problems)
        history = _history(node, of_one, problems) if of_one is not None else None
        if of_one is None or history is None:
            continue
        pipeline = read_task(of_one, problems).pipeline
        if pipeline in found:
            what = f"duplicate: the pipeline {shown(pipeline or '')} is there twice"
            problems.add(node, what, "remove one of them")
        found[pipeline] = history
    return found


def _history(node: Node, fields: Fields, problems: Problems) -> History | None:
    before = len(problems)
    for key in HISTORY_KEYS[1:]:
        if key not in fields:
            problems.add(node, f"an item of `pipelines` without `{key}`", "add it, or remove the item")
    runs = read_count(fields, "runs", 1, problems)
    quiet_runs = read_count(fields, "quiet_runs", 0, problems)
    last_run = read_date(fields, "last_run", problems)
    if runs is not None and quiet_runs is not None and quiet_runs > runs:
        problems.add(fields["quiet_runs"], "more `quiet_runs` than `runs`", "they are the latest of these")
    if len(problems) > before or runs is None or quiet_runs is None or last_run is None:
        return None
    return History(runs, quiet_runs, last_run)
