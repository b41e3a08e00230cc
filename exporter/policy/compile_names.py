"""Compile rules for names to entries of a trie and a hash, which compile.py explains.

A pattern (a name or wildcard that rules name) takes in the rules of the wildcards around it, since a trie
finds the longest match only. The verdicts of all these rules, port by port, are the pattern's behaviour.
Patterns of the same behaviour share a rule set: a policy of a thousand names has a handful of rule sets.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple

from exporter.common.documents.problems import Problems

from .decide import precedence
from .endpoints import NAME_MAX
from .entries import RULE_SETS_MAX, STEPS_MAX, NameKey, PortKey, Step
from .model import ANY_LOOKUP, Effect, Lookups, Name, PortClass, Rule, zones


class _Say(NamedTuple):
    """The verdict of one rule, if the executables that it needs are in the chain."""

    needed: int
    effect: Effect


_Chain = tuple[_Say, ...]
"""The verdicts of several rules, sorted by precedence: the first one that holds decides."""
_Behaviour = Mapping[PortClass, _Chain]
"""The verdicts of a pattern's rules for each port class; a missing class has those of the next wider one."""
_Masks = dict[tuple[int, int], tuple[int, int]]
"""The rule sets that allow and those that deny, by place in the chain and executables needed."""


@dataclass(frozen=True)
class NamedRules:
    """The rules of each pattern, to find the one that decided: the kernel doesn't say which."""

    rules: tuple[Rule, ...]
    needed: tuple[int, ...]
    patterns: dict[Name, tuple[int, ...]]
    """Places in `rules`, by precedence: the rules of the pattern itself and of the wildcards around it."""
    sets: dict[Name, int]

    def pattern(self, name: str) -> Name | None:
        """Find the most specific pattern that covers `name` (in lower case)."""
        exact = Name(name)
        return next((each for each in (exact, *_around(exact)) if each in self.patterns), None)

    def around(self, pattern: Name) -> Name | None:
        """Find the nearest wildcard with rules that covers `pattern`."""
        return next((each for each in _around(pattern) if each in self.patterns), None)

    def set_around(self, pattern: Name) -> int | None:
        """Return the rule set of `pattern`, else of the nearest wildcard around it. None: there is none."""
        wider = pattern if pattern in self.patterns else self.around(pattern)
        return None if wider is None else self.sets[wider]

    def rule_set(self, name: str) -> int | None:
        """Return the rule set that a question for `name` grants. None: it grants nothing."""
        pattern = self.pattern(name)
        return None if pattern is None else self.sets[pattern]

    def granted(self, names: Iterable[str]) -> int:
        """Return the mask of the rule sets granted to an address that questions for `names` led to.

        Another policy numbers its rule sets otherwise: when a job's policy changes, all masks are made anew.
        """
        numbers = {self.rule_set(name) for name in names}
        return sum(1 << number for number in numbers if number is not None)

    def decided(self, effect: Effect, wanted: PortClass, names: Iterable[str], held: int) -> int | None:
        """Find the rule by which the kernel allowed or denied `wanted` by `names`; return its number, from 1.

        `effect` is the kernel's decision, `held` the mask of executables in the chain. None: no rule for
        these names can have decided so.
        """
        best = [self._best(name, wanted, held) for name in names]
        places = sorted(place for place in best if place is not None and self.rules[place].effect is effect)
        place = max(places, key=lambda place: precedence(self.rules[place]), default=None)
        return None if place is None else place + 1

    def _best(self, name: str, wanted: PortClass, held: int) -> int | None:
        pattern = self.pattern(name)
        places = self.patterns[pattern] if pattern else ()
        return next(
            (
                place
                for place in places
                if self.rules[place].covers(wanted) and held & self.needed[place] == self.needed[place]
            ),
            None,
        )


@dataclass(frozen=True)
class CompiledNames:
    """The entries of the maps for names and for ports, and the rules that they were made of."""

    names: dict[NameKey, int]
    questions: dict[NameKey, bool]
    ports: dict[PortKey, Step]
    rules: NamedRules


def compile_names(
    rules: Sequence[Rule], needed: Sequence[int], problems: Problems, lookups: Lookups = ANY_LOOKUP
) -> CompiledNames:
    """Compile the rules for names; more rule sets or steps than the kernel has room for are a problem."""
    patterns = _patterns(rules)
    behaviours: dict[tuple[tuple[object, ...], ...], int] = {}
    distinct: dict[frozenset[tuple[PortClass, _Chain]], int] = {}
    sets = {}
    for pattern, places in patterns.items():
        said = tuple((rules[place].classes, needed[place], rules[place].effect) for place in places)
        number = behaviours.get(said)
        if number is None:
            behaviour = _behaviour([rules[place] for place in places], [needed[place] for place in places])
            number = behaviours[said] = distinct.setdefault(frozenset(behaviour.items()), len(distinct))
            if number == RULE_SETS_MAX:
                fix = "give names the same ports and lineages, or deny and allow networks instead"
                what = f"names with more than {RULE_SETS_MAX} different sets of ports and lineages"
                problems.add(rules[places[0]], what, fix)
        sets[pattern] = number
    ports = _ports([dict(behaviour) for behaviour in distinct])
    _check_steps(ports, rules, problems)
    named = NamedRules(tuple(rules), tuple(needed), patterns, sets)
    names = {_key(pattern): number for pattern, number in sets.items()}
    if not lookups.are_refused:
        return CompiledNames(names, {}, ports, named)
    searched = {each for pattern in sets for each in _searched(pattern, lookups.search)}
    around = ((each, named.around(each)) for each in sorted(searched - sets.keys()))
    names |= {_key(each): sets[wider] for each, wider in around if wider is not None}
    allowing = {number for behaviour, number in distinct.items() if _allows(behaviour)}
    questions = {
        _key(each): any(named.set_around(meant) in allowing for meant in _meant(each, lookups.search))
        for each in (*sets, *sorted(searched - sets.keys()))
    }
    return CompiledNames(names, questions, ports, named)


def _allows(behaviour: Iterable[tuple[PortClass, _Chain]]) -> bool:
    return any(say.effect is Effect.ALLOW for _, chain in behaviour for say in chain)


def _searched(pattern: Name, domains: Iterable[str]) -> Iterator[Name]:
    """Yield the pattern with each search domain behind it, unless that is too long for a name."""
    for domain in domains:
        if len(pattern.text) + len(domain) + 1 <= NAME_MAX:
            yield pattern._replace(text=f"{pattern.text}.{domain}")


def _meant(pattern: Name, domains: Iterable[str]) -> Iterator[Name]:
    """Yield the names that a question for `pattern` may mean: itself, or it without a search domain."""
    yield pattern
    for domain in domains:
        if pattern.text.endswith(f".{domain}"):
            yield pattern._replace(text=pattern.text.removesuffix(f".{domain}"))


def _patterns(rules: Sequence[Rule]) -> dict[Name, tuple[int, ...]]:
    own: defaultdict[Name, list[int]] = defaultdict(list)
    for place, rule in enumerate(rules):
        if isinstance(rule.host, Name):
            own[rule.host].append(place)
    patterns = {}
    for pattern, places in own.items():
        inherited = [place for wider in _around(pattern) if wider in own for place in own[wider]]
        found = sorted(places + inherited)
        found.sort(key=lambda place: precedence(rules[place]), reverse=True)
        patterns[pattern] = tuple(found)
    return patterns


def _around(pattern: Name) -> Iterator[Name]:
    """Return the wildcards that cover `pattern`, nearest first."""
    return (Name(zone, is_wildcard=True) for zone in zones(pattern.text))


def _key(pattern: Name) -> NameKey:
    text = pattern.text.encode("ascii")[::-1] + (b"." if pattern.is_wildcard else b"\0")
    return NameKey(8 * len(text), text)


def _behaviour(rules: Sequence[Rule], needed: Sequence[int]) -> _Behaviour:
    """Return the verdicts of `rules`, sorted by precedence, for each port class that they name.

    A class that has the same verdicts as the next wider one is left out.
    """
    behaviour: dict[PortClass, _Chain] = {}
    classes = {each for rule in rules for each in rule.classes}
    for wanted in sorted(classes, key=lambda each: (each.protocol != 0, each.port != 0)):
        chain = _chain(wanted, rules, needed)
        wider = (behaviour[each] for each in wanted.with_wider() if each in behaviour)
        if chain != next(wider, ()):
            behaviour[wanted] = chain
    return behaviour


def _chain(wanted: PortClass, rules: Sequence[Rule], needed: Sequence[int]) -> _Chain:
    """List verdicts for `wanted` without those that never decide: an earlier one holds whenever they do."""
    kept: list[_Say] = []
    for rule, mask in zip(rules, needed, strict=True):
        if rule.covers(wanted) and not any(mask & earlier.needed == earlier.needed for earlier in kept):
            kept.append(_Say(mask, rule.effect))
    return tuple(kept)


def _ports(behaviours: Sequence[_Behaviour]) -> dict[PortKey, Step]:
    """Make entries for each class in which some set differs from the wider class; each is for all sets."""
    own: defaultdict[PortClass, dict[int, _Chain]] = defaultdict(dict)
    for number, behaviour in enumerate(behaviours):
        for wanted, chain in behaviour.items():
            own[wanted][number] = chain
    masks: dict[PortClass, _Masks] = {}
    ports = {}
    for wanted in sorted(own, key=lambda each: (each.protocol != 0, each.port != 0)):
        wider = (masks[each] for each in wanted.with_wider() if each in masks)
        masks[wanted] = _merged(next(wider, {}), own[wanted])
        for number, step in enumerate(_steps(masks[wanted])):
            ports[PortKey(*wanted, number)] = step
    return ports


def _merged(wider: _Masks, own: Mapping[int, _Chain]) -> _Masks:
    """Merge the masks of the wider class with the sets in `own`, which have other verdicts in this class."""
    others = ~sum(1 << number for number in own)
    merged = {at: (allow & others, deny & others) for at, (allow, deny) in wider.items()}
    for number, chain in own.items():
        for place, say in enumerate(chain):
            allow, deny = merged.get((place, say.needed), (0, 0))
            if say.effect is Effect.ALLOW:
                allow |= 1 << number
            else:
                deny |= 1 << number
            merged[place, say.needed] = allow, deny
    return merged


def _steps(masks: _Masks) -> Iterator[Step]:
    """Yield steps by place in the chains; steps of one place are for different sets, so any order will do."""
    said = [(needed, *masks[place, needed]) for place, needed in sorted(masks) if any(masks[place, needed])]
    for number, (needed, allow, deny) in enumerate(said, 1):
        yield Step(needed, allow, deny, more=number < len(said))


def _check_steps(ports: Mapping[PortKey, Step], rules: Sequence[Rule], problems: Problems) -> None:
    long = next((key for key in ports if key.step >= STEPS_MAX), None)
    if long is None:
        return
    wanted = PortClass(long.protocol, long.port)
    rule = next(
        rule for rule in rules if isinstance(rule.host, Name) and rule.lineage and rule.covers(wanted)
    )
    what = f"more than {STEPS_MAX} different lineages of names for one port"
    problems.add(rule, what, "use the same lineages for several names")
