"""What to add to a baseline or a policy, ready to be pasted, for a job that went where they don't lead."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace

from exporter.baseline.acts import chain_of, task_of, where_of
from exporter.baseline.model import Entry, Subject
from exporter.baseline.seen import NotLearntError
from exporter.baseline.write import entry_lines
from exporter.policy.draft import Draft
from exporter.policy.hosts import parse_single_host
from exporter.policy.model import DEFAULT
from exporter.programs import Lineage
from exporter.report.sheet import Sheet, attempts_of
from exporter.summary_table import NAME_MAX, Counted, Row, shortened
from exporter.terms import ALLOWED, DENIED, WOULD_DENY
from exporter.text import printable

_COMMAND = "##"
"""Begins a command for runners, wherever in a line of a log: this text may be printed, too."""


@dataclass(frozen=True, slots=True)
class Additions:
    """Pieces of a YAML file, each of them whole: as many as there is room for may be shown."""

    title: str
    where: str
    """Says where they belong; HTML."""
    pieces: Sequence[str]
    """Text of one or more lines, without the last one's end."""
    head: str = ""
    """What stands above them; the same. Empty for what goes into a file that is there."""
    left_out: int = 0
    """How many attempts are in none."""
    inline: Sequence[str] = ()
    """The same as words of one line, where there is such a form."""
    is_policy: bool = False
    """Whether they belong in a policy; else in a baseline."""


def additions(sheet: Sheet) -> Iterator[Additions]:
    """For what is novel; for what the policy is against, or without a policy and a baseline, for all."""
    if sheet.novel:
        yield from _for_baseline(sheet)
    if sheet.mode is not None:
        yield _for_policy(sheet)
    elif not sheet.has_baseline:
        yield _first_policy(sheet)


def _for_baseline(sheet: Sheet) -> Iterator[Additions]:
    """Entries that it lacks; and those that stand in for ones that it has, with more chains."""
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
    """Rules for what none would have allowed; what a `deny` names, and what was denied, stays so."""
    would = sheet.against(WOULD_DENY)
    unruled = [item for item in would if item[1].rule in (None, DEFAULT)]
    left_out = attempts_of(sheet.against(DENIED)) + attempts_of(would) - attempts_of(unruled)
    where = "Once you know what each is for, paste them below <code>allow:</code> in the policy."
    return _rules("Allow in the policy", where, _draft(sheet, unruled), left_out=left_out)


def _first_policy(sheet: Sheet) -> Additions:
    """A whole one, in mode audit."""
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
    """Chains of what the baseline lacks, and how many attempts no entry can be about."""
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


def _learnt(sheet: Sheet, row: Row) -> tuple[Subject, Lineage] | None:
    """What `baseline learn` would make of it; None where it would leave it out, as what is denied."""
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
    r"""Without what a runner would obey. In quotes, where alone a value could hold it, `\x23` is a #."""
    return yaml.replace(_COMMAND, "#\\x23")
