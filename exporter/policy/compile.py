"""Compile the policy of one job to entries of the kernel's maps, as plain data: the loader adds the scope.

compiled = compile_policy(effective(policy, who), system_resolvers())
compiled.addresses, compiled.names, compiled.ports  # the entries
compiled.rule(1)  # the rule behind a choice's number

The lookup that the kernel has to follow; its result must be that of decide.py, and the tests check it:

1. Take IPv4 as ::ffff:a.b.c.d, icmp (1) for ipv6-icmp (58), tcp (6) for MPTCP (262), port 0 where there is
   none.
2. `held` is the process's mask of `executables` in its chain. An entry holds if `held & needed == needed`.
3. best = nothing, of rank 0. For each class in (protocol, port), (protocol, 0), (0, 0):
4.   choice = the longest match of (class, address) in `addresses`, if there is one;
5.   while it doesn't hold: choice = alternatives[choice.following], until `following` is 0: nothing;
6.   if it holds and its rank is larger than the best one's, it is the best.
7. If best.rank >= FINAL, or nothing is in `granted` for the address: decided (step 10).
8. sets = the mask of rule sets in `granted`. For the same classes: take the first that has an entry in
   `ports`.
9.   Go through its steps, as long as `more`: of each that holds, denied |= sets & deny, allowed |= sets &
     allow, sets &= ~(deny | allow). Then if denied: DENY. Else if allowed: ALLOW. Else:
10. The best choice's verdict; without one, DENY, by `default`.

Granting is the other half: a question's name, if it is a host's name of at most 251 bytes, is looked up in
`names` (in lower case, reversed, with a NUL behind it: longest match), and the bit of its rule set is added
to the mask of each address in the answer. So one hash lookup has the verdicts of all names of an address,
however many names share it. Rule sets that deny are granted like the others.

Where lookups are refused, a question's name is looked up in `questions` in the same way. It may be asked for
if the entry says so, or if a CNAME of a name that may be asked for led to it. `questions` also has each
pattern with each search domain behind it. Such a pattern has no rules of its own, and so the rule set of the
wildcard around it, if there is one.

Why the three lookups suffice. A trie finds only the longest prefix of its class, so shorter ones, in the
same class, come along as alternatives where they can matter: a deny that is final, or a rule for all chains
behind one with a lineage. Across the classes nothing has to be added, since ranks compare: a deny is above
all, then the longer prefix, then the stated port. Names need no ranks: an entry of `ports` says all for its
class, wider ones included, which is why the first one is enough.

A connect to a Unix socket is looked up in `addresses` by a digest of the socket's name, in the class
(UNIX, 0) alone. Without a choice, it is allowed.

DENY is the policy's verdict; the job's mode, and no entry, decides whether it is reported or enforced. Limits
that a policy can meet (of executables, alternatives, rule sets, steps) are errors with a place, like those of
the file.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import reduce
from operator import or_

from exporter.common.documents.problems import Problems

from .compile_addresses import compile_addresses
from .compile_names import NamedRules, compile_names
from .entries import ENTRIES_ROOM, EXECUTABLES_MAX, AddressKey, Choice, NameKey, PortKey, Portless, Step
from .model import (
    LOOPBACK,
    Address,
    Effect,
    JobPolicy,
    Mode,
    Name,
    Policy,
    Protocol,
    Rule,
    Section,
    strictest,
)
from .problems import PolicyError

_PORTLESS = {
    Protocol.ANY: Portless.ALL,
    Protocol.ICMP: Portless.ICMP,
    Protocol.TCP: Portless.TCP,
    Protocol.UDP: Portless.UDP,
    Protocol.UNIX: Portless.NOTHING,
}


@dataclass(frozen=True)
class Compiled:
    """One job's policy for the kernel, and its rules, to find the rule that decided in the kernel."""

    mode: Mode
    rules: tuple[Rule, ...]
    """The file's rules and the implied ones. A choice's `rule` is a place in here, from 1; 0 is none."""
    executables: dict[str, int]
    """Names and paths in `lineage`, each with its bit's number, from 0. One file may have several."""
    addresses: dict[AddressKey, Choice]
    alternatives: tuple[Choice, ...]
    """The choices that `following` leads to. `alternatives[0]` is never used, since 0 means none."""
    names: dict[NameKey, int]
    """The number of each pattern's rule set, from 0."""
    questions: dict[NameKey, bool]
    """Whether each pattern, with a rule set or not, may be asked for; empty unless lookups are refused."""
    ports: dict[PortKey, Step]
    named: NamedRules
    """The rules of each name pattern."""
    portless: Portless
    """The protocols for which raw and ping sockets may be made."""
    refuses_lookups: bool

    def rule(self, number: int) -> Rule | None:
        """Return the rule of a choice; None for `default`."""
        return self.rules[number - 1] if number else None


def compile_policy(policy: JobPolicy, resolvers: Iterable[Address] = ()) -> Compiled:
    """Compile `policy`; `resolvers` are the system's. Raises PolicyError for rules that don't fit."""
    rules = policy.all_rules(resolvers)
    problems = Problems()
    bits = _bits(rules, problems)
    needed = [sum(1 << bits[executable] for executable in set(rule.lineage)) for rule in rules]
    addresses, alternatives = compile_addresses(rules, needed, problems)
    named = compile_names(rules, needed, problems, policy.lookups)
    if problems:
        first = next(rule for rule in rules if rule.line is not None)
        raise PolicyError(first.source, problems)
    return Compiled(
        policy.mode,
        rules,
        bits,
        addresses,
        alternatives,
        named.names,
        named.questions,
        named.ports,
        named.rules,
        portless_sockets(rules),
        policy.lookups.are_refused,
    )


def portless_sockets(rules: Iterable[Rule]) -> Portless:
    """Return the protocols that some rule allows beyond loopback: a socket of any other is of no use."""
    allowing = (rule for rule in rules if rule.effect is Effect.ALLOW and rule not in LOOPBACK)
    return reduce(or_, (_PORTLESS[rule.protocol] for rule in allowing), Portless.NOTHING)


def _bits(rules: Iterable[Rule], problems: Problems) -> dict[str, int]:
    bits: dict[str, int] = {}
    for rule in rules:
        for executable in rule.lineage:
            if executable not in bits and len(bits) == EXECUTABLES_MAX:
                what = f"more than {EXECUTABLES_MAX} executables in `lineage`, over all rules of a job"
                problems.add(rule, what, "name fewer, or split the policy by jobs")
                return defaultdict(int, bits)
            bits.setdefault(executable, len(bits))
    return bits


def check_for_kernel(policy: Policy) -> None:
    """Compile `policy` for no section, and for each section alone. Raises PolicyError if one doesn't fit.

    A job that matches several sections may still need more than fits: that is reported when the job begins.
    """
    for section in (None, *policy.sections):
        compile_policy(policy.held_to((section,), section.rules) if section else policy.held_to((), ()))


def crowding(policy: Policy) -> list[str]:
    """Return a remark, with its place, if jobs may fill the kernel's tables; else an empty list.

    The general rules are written once for each combination of sections that running jobs match, and whoever
    names a job chooses which of the sections with wildcards it matches.
    """
    rules = strictest(policy).rules
    names = sum(isinstance(rule.host, Name) for rule in rules)
    addresses = sum(len(rule.classes) for rule in rules if not isinstance(rule.host, Name))
    entries, combinations = max(names, addresses), _combinations(policy.sections)
    if entries * combinations <= ENTRIES_ROOM:
        return []
    first = policy.sections[0]
    what = (
        f"jobs may match {combinations:,} combinations of sections, each with {entries:,} entries in a table"
    )
    held = "a job without room is held to the general rules, less what any section denies"
    fix = "name networks instead of addresses, or fewer sections with wildcards"
    return [f"{first.source}:{first.line}:{first.column}: {what} of {ENTRIES_ROOM:,}: {held}; {fix}"]


def _combinations(sections: Iterable[Section]) -> int:
    """Return how many combinations of sections jobs may match at most, none included."""
    by_project = defaultdict[tuple[str, str] | None, list[Section]](list)
    for section in sections:
        by_project[section.key.only_project].append(section)
    of_any = _within(by_project.pop(None, []))
    return of_any * (1 + sum(_within(each) - 1 for each in by_project.values()))


def _within(sections: Sequence[Section]) -> int:
    patterns = sum(section.key.is_for_names for section in sections)
    return (len(sections) - patterns + 1) << patterns
