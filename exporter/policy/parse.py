"""The policy file: YAML, `version: 1`. All that is wrong in it is told, each with its place."""

from __future__ import annotations

import re
from difflib import get_close_matches
from pathlib import Path

from exporter.errors import UsageError
from exporter.policy import document, overlaps, rules
from exporter.policy.document import Listing, Mapping, Node, Scalar
from exporter.policy.model import Effect, Mode, Policy, Rule, Section, resolvers_rule
from exporter.policy.problems import Place, PolicyError, Problems, shown
from exporter.policy.rules import read_mapping_rule, read_scalar_rule

VERSION = "1"
RULES_MAX = 20_000
ENDPOINTS_SOURCE = "--allowed-endpoints"
_ENDPOINTS_HINT = 'put blanks between destinations, as in "registry.example:443 udp://192.0.2.53:53"'

_TOP_KEYS = ("version", "mode", "resolvers", "allow", "deny", "jobs")
_SECTION_KEYS = ("mode", "allow", "deny")
_KINDS = {Scalar: "a text", Listing: "a list", Mapping: "a mapping"}
_EMPTY = ("", "~", "null")
_WORD = re.compile(r"\S+")


def load_policy(path: Path) -> Policy:
    """The policy in the file `path`. Raises PolicyError, and UsageError where it can't be read."""
    try:
        with path.open("rb") as file:
            data = file.read(document.SIZE_MAX + 1)
    except OSError as error:
        raise UsageError(
            f"cannot read the policy {path}: {error.strerror}", hint="name a file that this user can read"
        ) from None
    return parse_policy(data, str(path))


def parse_policy(data: bytes, source: str) -> Policy:
    """The policy in `data`; `source` is its name in errors and rules. Raises PolicyError."""
    problems = Problems()
    root = document.read(data, problems)
    if root is None and not problems:
        problems.add(Place(1, 1), "the file is empty", "a policy begins with `version: 1`")
    policy = _Reader(source, problems).policy(root) if root is not None else Policy()
    overlaps.check(policy, problems)
    if problems:
        raise PolicyError(source, problems)
    return policy


def parse_allowed_endpoints(text: str) -> Policy:
    """The policy that `text` stands for: destinations with blanks between. Raises PolicyError.

    Each allows what it would allow in a file. The system's resolvers are allowed, too.
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
    """Walks one tree."""

    def __init__(self, source: str, problems: Problems) -> None:
        self._source = source
        self._problems = problems
        self._rules = 0

    def policy(self, root: Node) -> Policy:
        fields = self._fields(root, _TOP_KEYS, "a policy")
        if fields is None:
            return Policy()
        if (version := fields.get("version")) is None:
            self._problems.add(root, "`version` is missing", "begin the file with `version: 1`")
        elif not (isinstance(version, Scalar) and version.is_plain and version.text == VERSION):
            self._problems.add(version, "not a version that this program knows", "write `version: 1`")
        resolvers = fields.get("resolvers")
        if resolvers is not None and self._text(resolvers, "resolvers", ("system",)) is None:
            resolvers = None
        return Policy(
            self._mode(fields) or Mode.AUDIT,
            self._both(fields),
            self._sections(fields.get("jobs")),
            resolvers_rule(self._source, resolvers.line, resolvers.column) if resolvers else None,
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
        for pattern, body in self._pairs(node):
            if not pattern.text:
                self._problems.add(
                    pattern, "an empty pattern", 'name jobs, as in "release/*", or "*" for all'
                )
            fields = self._fields(body, _SECTION_KEYS, "a section of `jobs`")
            if fields is not None:
                sections.append(Section(pattern.text, self._mode(fields), self._both(fields)))
        return tuple(sections)

    def _mode(self, fields: dict[str, Node]) -> Mode | None:
        node = fields.get("mode")
        text = self._text(node, "mode", tuple(mode.value for mode in Mode)) if node is not None else None
        return Mode(text) if text is not None else None

    def _both(self, fields: dict[str, Node]) -> tuple[Rule, ...]:
        """Allow and deny, in the order of the file."""
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
                fields = self._fields(node, rules.KEYS, "a rule")
                if fields is None:
                    return None
                return read_mapping_rule(node, fields, effect, self._source, self._problems)
            case Listing():
                self._wrong_kind(
                    node, "a rule", 'a text such as "[2001:db8::/32]:443" (in quotes), or a mapping'
                )
                return None

    def _fields(self, node: Node, known: tuple[str, ...], what: str) -> dict[str, Node] | None:
        """The values by their keys, which must be among `known`; None for what is no mapping."""
        if not isinstance(node, Mapping):
            self._wrong_kind(node, what, f"a mapping with {', '.join(known)}")
            return None
        fields = {}
        for key, value in self._pairs(node):
            if key.text in known:
                fields[key.text] = value
            else:
                near = get_close_matches(key.text, known, n=1)
                fix = f"did you mean `{near[0]}`?" if near else f"known here are {', '.join(known)}"
                self._problems.add(key, f"unknown key {shown(key.text)}", fix)
        return fields

    def _pairs(self, node: Mapping) -> list[tuple[Scalar, Node]]:
        """Those whose keys are text, and there once."""
        seen: dict[str, Scalar] = {}
        pairs = []
        for key, value in node.pairs:
            if not isinstance(key, Scalar):
                self._wrong_kind(key, "a key", "a text")
            elif key.text in seen:
                fix = f"merge it with line {seen[key.text].line}"
                self._problems.add(key, f"{shown(key.text)} is there twice", fix)
            else:
                seen[key.text] = key
                pairs.append((key, value))
        return pairs

    def _text(self, node: Node, key: str, known: tuple[str, ...]) -> str | None:
        if not isinstance(node, Scalar):
            self._wrong_kind(node, f"`{key}`", " or ".join(known))
            return None
        if node.text not in known:
            near = get_close_matches(node.text, known, n=1)
            fix = f"did you mean `{near[0]}`?" if near else f"write {' or '.join(known)}"
            self._problems.add(node, f"`{key}` can't be {shown(node.text)}", fix)
            return None
        return node.text

    def _wrong_kind(self, node: Node, what: str, expected: str) -> None:
        is_empty = isinstance(node, Scalar) and node.is_plain and node.text in _EMPTY
        told = "is empty" if is_empty else f"can't be {_KINDS[type(node)]}"
        self._problems.add(node, f"{what} {told}", f"it is {expected}")
