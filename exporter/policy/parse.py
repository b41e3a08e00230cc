"""Read the policy file: YAML, `version: 1`. All errors in it are reported, each with its place."""

from __future__ import annotations

import re
from pathlib import Path

from exporter.common.documents import tree
from exporter.common.documents.fields import (
    Fields,
    check_version,
    is_another,
    read_choice,
    read_fields,
    read_pairs,
    read_text,
    wrong_kind,
)
from exporter.common.documents.problems import InvalidTextError, Problems, shown
from exporter.common.documents.tree import DocumentKind, Listing, Mapping, Node, Scalar

from . import overlaps, rules
from .hosts import parse_single_host
from .keys import Key, parse_key
from .model import Effect, Lookups, Mode, Name, Policy, Rule, Section, resolvers_rule
from .problems import PolicyError
from .rules import read_mapping_rule, read_scalar_rule

KIND = DocumentKind(
    "policy",
    size_max=4 << 20,
    nodes_max=250_000,
    levels="six",
    smaller="split the policy by jobs",
    wildcard="*.registry.example:443",
    made_of_spans="`ci-egress policy init` drafts a policy of spans",
)
RULES_MAX = 20_000
ENDPOINTS_SOURCE = "--allowed-endpoints"
_ENDPOINTS_HINT = 'put blanks between destinations, as in "registry.example:443 udp://192.0.2.53:53"'

TOP_KEYS = ("version", "mode", "resolvers", "dns", "search_domains", "allow", "deny", "trust_names", "jobs")
_BASELINE_KEYS = ("entries", "pipelines")
SECTION_KEYS = ("mode", "dns", "allow", "deny", "protected_ref", "trust_names")
SEARCH_MAX = 16
"""The most search domains: each needs as many kernel entries as there are rules for names."""
_WORD = re.compile(r"\S+")


def load_policy(path: Path) -> Policy:
    """Read the policy file `path`. Raises PolicyError, and UsageError where it can't be read."""
    return parse_policy(tree.load(path, KIND), str(path))


def parse_policy(data: bytes, source: str) -> Policy:
    """Read the policy in `data`; `source` is its name in errors and rules. Raises PolicyError."""
    problems = Problems()
    root = tree.read(data, KIND, problems)
    policy = _Reader(source, problems).policy(root) if root is not None else Policy()
    overlaps.check(policy, problems)
    if problems:
        raise PolicyError(source, problems)
    return policy


def parse_allowed_endpoints(text: str) -> Policy:
    """Read a policy from destinations with blanks between them. Raises PolicyError.

    Each destination allows as much as in a file. The system's resolvers are allowed, too.
    """
    problems = Problems()
    found: dict[tuple[object, ...], Rule] = {}
    for number, line in enumerate(text.split("\n"), 1):
        for word in _WORD.finditer(line):
            place = Scalar(number, word.start() + 1, word.group(), is_plain=True)
            rule = read_scalar_rule(place, Effect.ALLOW, ENDPOINTS_SOURCE, problems)
            if rule is not None:
                found.setdefault(rule.meaning, rule)
    if problems:
        raise PolicyError(ENDPOINTS_SOURCE, problems, _ENDPOINTS_HINT)
    resolvers = resolvers_rule(ENDPOINTS_SOURCE, 1, 1)
    return Policy(rules=tuple(found.values()), resolvers=resolvers)


class _Reader:
    """A reader of one document's tree."""

    def __init__(self, source: str, problems: Problems) -> None:
        self._source = source
        self._problems = problems
        self._rules = 0

    def policy(self, root: Node) -> Policy:
        if is_another(root, TOP_KEYS, _BASELINE_KEYS):
            fix = "make a policy of it with `ci-egress baseline export`"
            self._problems.add(root, "this is a baseline, no policy", fix)
            return Policy()
        fields = read_fields(root, TOP_KEYS, "a policy", self._problems)
        if fields is None:
            return Policy()
        check_version(root, fields, self._problems)
        resolvers = fields.get("resolvers")
        if resolvers and read_choice(resolvers, "resolvers", ("system",), self._problems) is None:
            resolvers = None
        return Policy(
            self._mode(fields) or Mode.AUDIT,
            self._both(fields),
            self._sections(fields.get("jobs")),
            resolvers_rule(self._source, resolvers.line, resolvers.column) if resolvers else None,
            self._flag(fields, "trust_names") or False,
            Lookups(self._refuses_lookups(fields), self._search(fields.get("search_domains"))),
        )

    def _sections(self, node: Node | None) -> tuple[Section, ...]:
        if node is None:
            return ()
        if not isinstance(node, Mapping):
            self._wrong_kind(
                node, "`jobs`", 'a mapping, as in `"release/*": {allow: [registry.example:443]}`'
            )
            return ()
        sections = []
        for name, body in read_pairs(node, self._problems):
            key = self._key(name)
            fields = read_fields(body, SECTION_KEYS, "a section of `jobs`", self._problems)
            if fields is not None:
                key = key._replace(is_protected=self._flag(fields, "protected_ref") or False)
                trusts_names = self._flag(fields, "trust_names")
                refuses = self._refuses_lookups(fields)
                said = (self._mode(fields), self._both(fields), trusts_names, refuses)
                sections.append(Section(key, *said, self._source, name.line, name.column))
        return tuple(sections)

    def _key(self, node: Scalar) -> Key:
        return read_text(node, parse_key, self._problems) or Key(node.text, node.text)

    def _flag(self, fields: Fields, name: str) -> bool | None:
        node = fields.get(name)
        text = read_choice(node, name, ("true", "false"), self._problems) if node else None
        return None if text is None else text == "true"

    def _refuses_lookups(self, fields: Fields) -> bool:
        node = fields.get("dns")
        effects = tuple(effect.value for effect in Effect)
        return node is not None and read_choice(node, "dns", effects, self._problems) == Effect.DENY.value

    def _search(self, node: Node | None) -> tuple[str, ...]:
        if node is None:
            return ()
        if not isinstance(node, Listing):
            self._wrong_kind(node, "`search_domains`", "a list, as in `[corp.example, lan]`")
            return ()
        if len(node.items) > SEARCH_MAX:
            self._problems.add(node, f"more than {SEARCH_MAX} domains that are searched", "name fewer")
        return tuple(name for item in node.items[:SEARCH_MAX] if (name := self._domain(item)) is not None)

    def _domain(self, node: Node) -> str | None:
        if not isinstance(node, Scalar):
            self._wrong_kind(node, "a domain of `search_domains`", "a text such as `corp.example`")
            return None
        try:
            host = parse_single_host(node.text)
        except InvalidTextError:
            host = None
        if isinstance(host, Name) and not host.is_wildcard:
            return host.text
        self._problems.add(node, f"{shown(node.text)} is no domain", "write it as in `corp.example`")
        return None

    def _mode(self, fields: Fields) -> Mode | None:
        node = fields.get("mode")
        modes = tuple(mode.value for mode in Mode)
        text = read_choice(node, "mode", modes, self._problems) if node is not None else None
        return Mode(text) if text is not None else None

    def _both(self, fields: Fields) -> tuple[Rule, ...]:
        """Read `allow` and `deny`, in the order of the file."""
        return tuple(
            rule
            for key, node in fields.items()
            if key in (Effect.ALLOW.value, Effect.DENY.value)
            for rule in self._listed(node, Effect(key))
        )

    def _listed(self, node: Node, effect: Effect) -> list[Rule]:
        if not isinstance(node, Listing):
            self._wrong_kind(node, f"`{effect.value}`", "a list, with `- registry.example:443` on each line")
            return []
        read = (self._rule(item, effect) for item in node.items)
        return [rule for rule in read if rule is not None]

    def _rule(self, node: Node, effect: Effect) -> Rule | None:
        self._rules += 1
        if self._rules > RULES_MAX:
            if self._rules == RULES_MAX + 1:
                self._problems.add(
                    node, f"more than {RULES_MAX:,} rules", "name networks and `*.` zones instead"
                )
            return None
        match node:
            case Scalar():
                return read_scalar_rule(node, effect, self._source, self._problems)
            case Mapping():
                fields = read_fields(node, rules.KEYS, "a rule", self._problems)
                if fields is None:
                    return None
                return read_mapping_rule(node, fields, effect, self._source, self._problems)
            case Listing():
                self._wrong_kind(
                    node, "a rule", 'a text such as "[2001:db8::/32]:443" (in quotes), or a mapping'
                )
                return None

    def _wrong_kind(self, node: Node, what: str, expected: str) -> None:
        wrong_kind(node, what, expected, self._problems)
