"""How many secrets are found and how many ordinary command lines suffer, as docs/redaction.md says it."""

from __future__ import annotations

import re
import shlex
from typing import Any

from detect_secrets.core.plugins.util import get_mapping_from_secret_type_to_class
from detect_secrets.plugins.high_entropy_strings import HighEntropyStringsPlugin
from detect_secrets.plugins.ip_public import IPPublicDetector
from detect_secrets.plugins.keyword import KeywordDetector

from exporter.redact.command_lines import redact_arguments
from exporter.redact.tokens import TOKEN_SHAPES
from tests.checkout import ROOT
from tests.unit.redact.corpus import (
    LEFT_OVER_CHARS,
    SecretLine,
    ordinary_lines,
    readable_lines,
    secret_lines,
    tool_lines,
)

_SECRETS = secret_lines()
_TOOLS = tool_lines()
_ORDINARY = ordinary_lines()
_READABLE = readable_lines()
_MANUAL = (ROOT / "docs" / "redaction.md").read_text(encoding="utf-8")


def missed() -> list[SecretLine]:
    return [line for line in _SECRETS if line.left_in(redact_arguments(line.arguments))]


def changed() -> list[list[str]]:
    return [arguments for arguments in _ORDINARY if redact_arguments(arguments) != arguments]


def listed(heading: str) -> list[str]:
    """The lines of the code block below a heading of the manual."""
    block = re.search(rf"^## {heading}$.*?^```\w*\n(.*?)^```$", _MANUAL, re.DOTALL | re.MULTILINE)
    assert block is not None, f"docs/redaction.md has no code block under {heading}"
    return block[1].splitlines()


def row(name: str, lines: int, hits: int) -> str:
    return f"| {name} | {lines:,} | {hits:,} | {hits / lines:.2%} |".replace("%", " %")


def test_the_corpus_is_large_and_varied() -> None:
    assert len(_SECRETS) >= 200
    assert len(_ORDINARY) >= 1000
    assert all(line.secrets for line in _SECRETS)
    assert len({line.text for line in _SECRETS}) == len(_SECRETS)
    assert len({tuple(arguments) for arguments in _ORDINARY}) == len(_ORDINARY)
    assert len({arguments[0] for arguments in _ORDINARY}) >= 300


def test_recall_is_what_the_manual_says() -> None:
    found = len(_SECRETS) - len(missed())
    assert found >= 0.97 * len(_SECRETS)
    assert row("with secrets, of which nothing is left", len(_SECRETS), found) in _MANUAL
    assert listed("Secrets that stay") == [line.text for line in missed()]


def test_false_positives_are_what_the_manual_says() -> None:
    assert len(changed()) <= 0.005 * len(_ORDINARY)
    assert row("ordinary, of which something is lost", len(_ORDINARY), len(changed())) in _MANUAL
    assert listed("What is taken for a secret") == [shlex.join(arguments) for arguments in changed()]


def test_no_tool_keeps_its_secret() -> None:
    assert len(_TOOLS) >= 1800
    assert len({line.arguments[0] for line in _TOOLS}) >= 800
    assert len({line.text for line in _TOOLS}) == len(_TOOLS)
    assert all(line.secrets for line in _TOOLS)
    left = [line.text for line in _TOOLS if line.left_in(redact_arguments(line.arguments))]
    assert left == []
    assert f"all {len(_TOOLS):,} lines of" in _MANUAL


def test_what_is_readable_stays_so() -> None:
    assert len(_READABLE) >= 600
    assert len({tuple(arguments) for arguments in _READABLE}) == len(_READABLE)
    assert [arguments for arguments in _READABLE if redact_arguments(arguments) != arguments] == []
    assert f"{len(_READABLE):,} that look like them" in _MANUAL


def test_few_words_beside_a_secret_are_lost_with_it() -> None:
    lost = [line.text for line in _TOOLS if _others(line, redact_arguments(line.arguments))]
    assert f"another word is lost, too, in {len(lost)} of them" in _MANUAL, lost


def _others(line: SecretLine, redacted: list[str]) -> list[str]:
    """The arguments that hold nothing of a secret, and yet are others now."""
    words = zip(line.arguments, redacted, line.others, strict=True)
    return [word for word, shown, is_other in words if is_other and word != shown]


def test_what_a_secret_leaves_behind_is_still_a_command_line() -> None:
    for line in (*_SECRETS, *_TOOLS):
        redacted = redact_arguments(line.arguments)
        assert len(redacted) == len(line.arguments)
        assert redacted[0] == line.arguments[0]
        assert redact_arguments(redacted) == redacted, line.text


def test_every_shape_of_a_token_is_in_the_corpus() -> None:
    arguments = [argument for line in _SECRETS for argument in line.arguments]
    unused = [
        shape.pattern.pattern
        for shape in TOKEN_SHAPES
        if not any(shape.pattern.search(argument) for argument in arguments)
    ]
    assert unused == []


def test_no_ordinary_argument_has_the_shape_of_a_token() -> None:
    arguments = [argument for line in _ORDINARY for argument in line]
    assert [one for one in arguments for shape in TOKEN_SHAPES if shape.pattern.search(one)] == []


def vendors() -> list[Any]:
    """The plugins of detect-secrets that know what a vendor's secret looks like: none goes by randomness."""
    kinds = get_mapping_from_secret_type_to_class().values()
    others = (HighEntropyStringsPlugin, IPPublicDetector, KeywordDetector)
    return [kind() for kind in kinds if not issubclass(kind, others)]


def test_what_detect_secrets_knows_is_redacted_too() -> None:
    plugins = vendors()
    useful: set[str] = set()
    left: list[tuple[str, str]] = []
    for line in _SECRETS:
        shown = "\n".join(redact_arguments(line.arguments))
        for plugin in plugins:
            found = {secret for argument in line.arguments for secret in plugin.analyze_string(argument)}
            useful |= {type(plugin).__name__} if found else set()
            left += [(line.text, one) for one in found if len(one) >= LEFT_OVER_CHARS and one in shown]
    assert left == []
    assert useful == {type(plugin).__name__ for plugin in plugins}, (
        "a plugin found nothing: add a line for it"
    )
