"""Make a policy of a baseline: a section per task, so that no task may reach another one's destinations."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

from exporter.common.documents.scalars import scalar
from exporter.common.errors import UsageError
from exporter.common.net.dns_messages import DNS_PORT
from exporter.common.text import counted, first_of
from exporter.policy.compile import check_for_kernel
from exporter.policy.model import Name, Policy
from exporter.policy.parse import parse_policy
from exporter.policy.problems import PolicyError
from exporter.policy.rule_texts import ANY, chains_text, has_ports, rule_text, scheme_of

from .model import Baseline, Entry, Task
from .sections import Patterns, shown_task

_NO_PORT = "port 0, which no rule can name"
_TOLD_MAX = 100
"""The most tasks without a section that are named in comments."""
_SERVERS_MAX = 3
_KEY_MAX = 1000
"""The most characters of a key that YAML parsers accept on one line."""
_HEAD = """\
# Made from a baseline of {size}.
# What it has of a task is allowed to that task, by whatever program. Read each line, then try it with
# `mode: audit`, which denies nothing and tells what it would deny.
version: 1
mode: audit
"""
_BY_NAMES = (
    "# A baseline knows jobs by names, which their authors choose. With this line they are believed: whoever",
    "# names a job of theirs so gets what is allowed here. Better name the project in each key, as in",
    '# "github:github.com/OWNER/REPOSITORY:PIPELINE/TASK", and remove it.',
    "trust_names: true",
)


@dataclass
class Exported:
    """A policy file, and where it differs from its baseline."""

    lines: list[str]
    wider: Counter[str] = field(default_factory=Counter)
    """The number of entries whose rules allow more than the entry has, by transport."""
    left_out: Counter[str] = field(default_factory=Counter)
    """The number of entries that are in no rule, by reason."""


class _Rules(NamedTuple):
    """The rules of one task, each with the entries that it is for."""

    by_text: Mapping[str, Sequence[Entry]]
    left_out: Sequence[Entry]


def export(baseline: Baseline) -> Exported:
    """Make the policy of `baseline`, in mode `audit`."""
    made = Exported(list(_head(baseline)))
    tasks = baseline.tasks
    if set(tasks) == {Task(None, None)}:
        made.lines.append("# Its jobs have no names, so that this holds for all jobs, whatever their names.")
        made.lines += _allow(_rules(baseline.entries, made), "")
        return made
    patterns = Patterns(tasks)
    sections = {task: pattern for task in tasks if (pattern := patterns.of(task)) is not None}
    made.lines += _unsaid([task for task in tasks if task not in sections], patterns, tasks, made)
    made.lines += [*_BY_NAMES, "jobs:"] if sections else ["jobs: {}"]
    for task, pattern in sections.items():
        made.lines += _key(pattern)
        made.lines += _allow(_rules(tasks[task], made), "    ")
    return made


def as_policy(made: Exported) -> Policy:
    """Parse what `export` made. Raises UsageError if it is more than a policy, or the kernel, can hold."""
    text = "".join(f"{line}\n" for line in made.lines)
    try:
        policy = parse_policy(text.encode(), "policy")
        check_for_kernel(policy)
    except PolicyError as error:
        first = error.problems[0]
        what = f"the policy of this baseline can't be held: {first.what}"
        raise UsageError(what, hint="export a baseline of fewer pipelines, or remove entries") from None
    return policy


def _head(baseline: Baseline) -> Iterator[str]:
    pipelines = len({task.pipeline for task in baseline.tasks})
    size = ", ".join(
        (
            counted(pipelines, "pipeline"),
            counted(len(baseline.tasks), "task"),
            counted(len(baseline.entries), "destination"),
        )
    )
    yield from _HEAD.format(size=size).splitlines()
    if servers := _dns_servers(baseline):
        yield f"# Jobs ask {first_of(servers, _SERVERS_MAX)} for names. Machines differ in whom"
        yield "# they ask: this is for those of the machine that a job runs on."
        yield "resolvers: system"


def _dns_servers(baseline: Baseline) -> list[str]:
    found = {
        str(entry.host): None
        for entry in baseline.entries
        if entry.port == DNS_PORT and not isinstance(entry.host, Name) and has_ports(entry.transport)
    }
    return sorted(found)


def _unsaid(
    without: Sequence[Task], patterns: Patterns, tasks: Mapping[Task, Sequence[Entry]], made: Exported
) -> Iterator[str]:
    """Count the entries of the tasks that have no section, and name the tasks in comments."""
    for task in without:
        made.left_out[patterns.why_not(task)] += len(tasks[task])
    for task in without[:_TOLD_MAX]:
        yield f"# In no section: {shown_task(task)}: {patterns.why_not(task)}"
    if len(without) > _TOLD_MAX:
        yield f"# In no section: {len(without) - _TOLD_MAX:,} more tasks"


def _rules(entries: Sequence[Entry], made: Exported) -> _Rules:
    by_text: dict[str, list[Entry]] = {}
    left_out = []
    for entry in entries:
        text = _rule(entry)
        if text is None:
            made.left_out[_NO_PORT] += 1
            left_out.append(entry)
            continue
        if scheme_of(entry.transport) == ANY:
            made.wider[entry.transport] += 1
        by_text.setdefault(text, []).append(entry)
    return _Rules(by_text, left_out)


def _rule(entry: Entry) -> str | None:
    """Return the text of the rule for `entry`. None: its port is 0, which no rule can name."""
    scheme = scheme_of(entry.transport)
    port = entry.port if has_ports(scheme) else None
    return None if port == 0 else rule_text(str(entry.host), port, scheme)


def _key(pattern: str) -> list[str]:
    key = scalar(pattern)
    return [f"  {key}:"] if len(key) <= _KEY_MAX else [f"  ? {key}", "  :"]


def _allow(rules: _Rules, indent: str) -> Iterator[str]:
    yield f"{indent}allow:" if rules.by_text else f"{indent}allow: []"
    for entry in rules.left_out:
        yield f"{indent}  # in no rule: {entry.subject.shown}: {_NO_PORT}"
    for text, entries in rules.by_text.items():
        yield from (f"{indent}  # {_described(entry)}" for entry in entries)
        yield f'{indent}  - "{text}"'


def _described(entry: Entry) -> str:
    """Describe how often, when and by which chains `entry` was reached, and why its rule is wider, if so."""
    told = []
    if entry.runs is not None:
        told.append(counted(entry.runs, "run"))
    if entry.last_seen is not None:
        told.append(f"last on {entry.last_seen}")
    chains = sorted(" > ".join(chain) for chain in entry.lineages or ())
    by = chains_text(chains) if chains else "any program"
    head = ", ".join(told)
    if scheme_of(entry.transport) == ANY:
        port = "" if entry.port is None else f", port {entry.port}"
        by += f"; it was {entry.transport}{port}, which no rule can name, so this is every protocol and port"
    return f"{head}: {by}" if head else by
