"""Additions to a baseline or a policy, ready to be pasted, for a job's destinations that they lack."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace

from exporter.baseline.acts import chain_of, task_of, where_of
from exporter.baseline.model import Entry, Subject
from exporter.baseline.policy_draft import Draft
from exporter.baseline.seen import NotLearntError
from exporter.baseline.write import entry_lines
from exporter.common.text import printable
from exporter.events.programs import Lineage
from exporter.pipeline.ruling import ALLOWED, DENIED, WOULD_DENY
from exporter.pipeline.summary_table import NAME_MAX, Counted, SummaryKey, shortened
from exporter.policy.hosts import parse_single_host
from exporter.policy.model import DEFAULT

from .sheet import Sheet, attempts_of

_COMMAND = "##"
"""The beginning of a command to a CI runner, anywhere in a line of a log; additions may be printed to one."""


@dataclass(frozen=True, slots=True)
class Additions:
    """Pieces of a YAML file, each of them complete, so that any number of them may be shown."""

    title: str
    where: str
    """A sentence that says where the pieces belong, as HTML."""
    pieces: Sequence[str]
    """YAML of one or more lines each, without the last newline."""
    head: str = ""
    """YAML above the pieces, without the last newline. Empty for additions to an existing file."""
    left_out: int = 0
    """The number of attempts that no piece covers."""
    inline: Sequence[str] = ()
    """The pieces as words of one line, where they have such a form."""
    is_policy: bool = False
    """Whether the pieces belong in a policy; else in a baseline."""


def additions(sheet: Sheet) -> Iterator[Additions]:
    """Yield additions to the baseline for novel rows, and to the policy for rows that it would deny.

    Without a policy and a baseline, yield a whole policy for all rows of the job.
    """
    if sheet.novel:
        yield from _for_baseline(sheet)
    if sheet.mode is not None:
        yield _for_policy(sheet)
    elif not sheet.has_baseline:
        yield _first_policy(sheet)


def _for_baseline(sheet: Sheet) -> Iterator[Additions]:
    """Yield entries that the baseline lacks, and replacements, with more chains, for entries that it has."""
    chains, left_out = _novel(sheet)
    known = {entry.subject: entry for entry in sheet.baseline.entries} if sheet.baseline else {}
    added, changed = [], []
    for subject in sorted(chains, key=lambda subject: subject.order):
        entry = known.get(subject)
        if entry is None or entry.lineages is None:
            added.append(_entry(sheet, subject, chains[subject]))
        else:
            changed.append(replace(entry, lineages=entry.lineages | chains[subject]))
    below = "Once you know what each is for, paste them below <code>entries:</code> in the baseline."
    yield Additions("Add to the baseline", below, _pieces(added), left_out=left_out)
    instead = "The baseline has these destinations with other process chains: replace its entries by these."
    yield Additions("Change in the baseline", instead, _pieces(changed))


def _for_policy(sheet: Sheet) -> Additions:
    """Make rules for rows that no rule allows. Rows that a rule denies, or that were denied, stay so."""
    would = sheet.against(WOULD_DENY)
    unruled = [item for item in would if item[1].rule in (None, DEFAULT)]
    left_out = attempts_of(sheet.against(DENIED)) + attempts_of(would) - attempts_of(unruled)
    where = "Once you know what each is for, paste them below <code>allow:</code> in the policy."
    return _rules("Allow in the policy", where, _draft(sheet, unruled), left_out=left_out)


def _first_policy(sheet: Sheet) -> Additions:
    """Make a whole policy, in mode audit, that allows all rows of the job."""
    made = _draft(sheet, (item for item in sheet.outward if item[0].verdict == ALLOWED))
    head = []
    for line in made.lines():
        head.append(line)
        if line.startswith("allow:"):
            break
    where = "A policy that allows what this job did, for <code>--policy</code>: it denies nothing yet."
    return _rules("Start an allowlist", where, made, "\n".join(head))


def _rules(title: str, where: str, made: Draft, head: str = "", left_out: int = 0) -> Additions:
    rules = list(made.rules())
    pieces = [_inert(f'  # {described}\n  - "{rule}"') for rule, described in rules]
    left_out += sum(made.left_out.values())
    inline = [rule for rule, _ in rules]
    return Additions(title, where, pieces, _inert(head), left_out, inline, is_policy=True)


def _novel(sheet: Sheet) -> tuple[dict[Subject, frozenset[Lineage]], int]:
    """Return chains by subjects that the baseline lacks, and the attempts that no entry can cover."""
    found: dict[Subject, frozenset[Lineage]] = {}
    left_out = 0
    for row, traffic in sheet.novel:
        learnt = _learnt(sheet, row)
        if learnt is None:
            left_out += traffic.attempts
        else:
            subject, chain = learnt
            found[subject] = found.get(subject, frozenset()) | {chain}
    return found, left_out


def _learnt(sheet: Sheet, row: SummaryKey) -> tuple[Subject, Lineage] | None:
    """Return the entry that `baseline learn` would make of `row`. None: there is none, or it was denied."""
    if row.verdict == DENIED:
        return None
    try:
        task = task_of(sheet.pipeline, sheet.task)
        host, port, transport = where_of(row.host, row.port, row.transport)
        return Subject(task, parse_single_host(host), port, transport), chain_of(row.chain)
    except NotLearntError:
        return None


def _entry(sheet: Sheet, subject: Subject, chains: frozenset[Lineage]) -> Entry:
    return Entry(*subject, chains, sheet.day, sheet.day, 1)


def _pieces(entries: Iterable[Entry]) -> list[str]:
    return [_inert("\n".join(entry_lines(entry))) for entry in entries]


def _draft(sheet: Sheet, rows: Iterable[Counted]) -> Draft:
    made = Draft()
    for row, traffic in rows:
        made.add(
            {
                "server.address": row.host,
                "server.port": row.port,
                "network.transport": row.transport,
                "egress.lineage": [printable(name, limit=NAME_MAX) for name in shortened(row.chain)],
                "egress.attempts": traffic.attempts,
                "cicd.pipeline.name": sheet.pipeline or sheet.title,
            }
        )
    return made


def _inert(yaml: str) -> str:
    r"""Break up commands to a runner. Only quoted values can hold one, and in quotes `\x23` is a #."""
    return yaml.replace(_COMMAND, "#\\x23")
