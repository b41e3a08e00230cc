"""docs/policy.md says what is so: its policies are valid, its errors are those that are told."""

from __future__ import annotations

import re
from ipaddress import ip_address

import pytest

from exporter.policy.decide import EgressRequest, decide
from exporter.policy.parse import parse_policy
from tests.docs.pages import DOCS
from tests.unit.policy.files import errors, rules
from tests.unit.policy.test_endpoints import WRONG
from tests.unit.policy.test_overlaps import SAYS_NOTHING
from tests.unit.policy.test_parse import HOSTILE, ONE_ERROR

TEXT = (DOCS / "policy.md").read_text()
_CODE = re.compile(r"`[^`]*`")
_ROW = re.compile(r"^\| (.*?) ?\| (.*) \|$", re.MULTILINE)


def rows(after: str) -> list[tuple[str, str]]:
    """Of the table behind a sentence; cells without the code marks of the first column."""
    table = TEXT.partition(after)[2].split("\n\n")[1]
    found = [(row[1].strip("`"), row[2].replace("\\|", "|")) for row in _ROW.finditer(table)]
    assert len(found) > 2
    return found[1:] if found[1][0] != "---" else found[2:]


def normal(told: str) -> str:
    """What an error says, whatever it says it of."""
    what = told.partition("; ")[0]
    return re.sub(r"\d+", "0", _CODE.sub("``", what).partition("`: ")[0])


WRONG_RULES = rows("(here as the only one below `allow:`):")
WRONG_FILES = rows("(`\\n` is a line break, `\\t` a tab):")
WRONG_PAIRS = rows("because another always decides:")


@pytest.mark.parametrize("text", re.findall(r"^```yaml\n(.*?)^```", TEXT, re.MULTILINE | re.DOTALL))
def test_its_policies_are_valid(text: str) -> None:
    assert parse_policy(text.encode(), "docs").rules


@pytest.mark.parametrize(("rule", "told"), WRONG_RULES)
def test_its_rules_are_wrong_as_it_says(rule: str, told: str) -> None:
    assert [line.partition(": ")[2] for line in errors(f"version: 1\nallow:\n- {rule}\n")] == [told]


@pytest.mark.parametrize(("file", "told"), WRONG_FILES)
def test_its_files_are_wrong_as_it_says(file: str, told: str) -> None:
    assert [line.partition(": ")[2] for line in errors(file.replace("\\n", "\n").replace("\\t", "\t"))] == [
        told
    ]


@pytest.mark.parametrize(("pair", "told"), WRONG_PAIRS)
def test_its_rules_say_nothing_as_it_says(pair: str, told: str) -> None:
    text = pair.replace("\\n", "\n")
    assert [line.partition(": ")[2] for line in errors(f"version: 1\n{text}\n")] == [told]


def test_it_has_every_error_that_the_tests_know() -> None:
    known = {normal(told.partition(": ")[2]) for _, told in (*ONE_ERROR, *HOSTILE, *SAYS_NOTHING)}
    known |= {normal(what) for _, what in WRONG}
    documented = {normal(told) for _, told in (*WRONG_RULES, *WRONG_FILES, *WRONG_PAIRS)}
    limits = TEXT.partition("## Limits")[2]
    missing = {what for what in known - documented if not _is_in(what, limits) and "not YAML" not in what}
    assert missing == set()


def _is_in(what: str, limits: str) -> bool:
    return what in re.sub(r"\d+", "0", limits)


EXAMPLES = [
    (re.findall(r"(allow|deny) (`[^`]+`)", policy), act, told)
    for policy, act, told in re.findall(
        r"^\| ((?:allow|deny) .*) \| (tcp .*) \| (.*) \|$", TEXT, re.MULTILINE
    )
]


@pytest.mark.parametrize(("said", "act", "told"), EXAMPLES)
def test_its_examples_are_decided_as_it_says(said: list[tuple[str, str]], act: str, told: str) -> None:
    lists = {
        effect: "\n".join(rule.strip("`") for each, rule in said if each == effect)
        for effect in ("allow", "deny")
    }
    job = rules(**lists)
    found = re.fullmatch(r"tcp (?:(\S+):(\d+)(?:, looked up as (.*))?|port (\d+) of (.*))", act)
    assert found
    names = (
        {"both": ["a.example", "b.example"], None: []}.get(found[3], [found[3]]) if found[1] else [found[5]]
    )
    asked = EgressRequest(ip_address(found[1] or "192.0.2.1"), 6, int(found[2] or found[4]))
    decision = decide(job, asked, names=[name for name in names if name])
    assert decision.effect.value == ("allow" if told.startswith("allowed") else "deny")
    assert decision.rule is not None
    assert decision.rule.is_final == told.endswith("final")


def test_there_are_examples() -> None:
    assert len(EXAMPLES) == 9
