"""The command lines in tests/data: such with secrets, and ordinary ones."""

from __future__ import annotations

import random
import re
import shlex
import string
from typing import NamedTuple

from exporter.redact.names import REDACTED
from tests.checkout import ROOT

_DATA = ROOT / "tests/data"
_MARKED = re.compile("«(.*?)»", re.DOTALL)
_DRAWN = re.compile(r"\{([ahud])(\d+)\}|\{w\}")
_ALPHABETS = {
    "a": string.ascii_letters + string.digits,
    "h": "0123456789abcdef",
    "u": string.ascii_uppercase + string.digits,
    "d": string.digits,
}
_WEAK_PASSWORDS = (
    *("hunter2", "qwErty12", "letmein!", "P@ssw0rd", "Sommer2024", "c0rrecth0rse", "iloveyou", "Tr0ub4dor&3"),
    *(
        "s3cr3t",
        "b4ckd00r",
        "dolphin7",
        "sunshine5",
        "l3tm31n",
        "Jul1-2025x",
        "abc.123",
        "welcome1",
        "Ab12+cd=",
    ),
)
LEFT_OVER_CHARS = 4
"""So long a piece of a secret must not be left."""


class SecretLine(NamedTuple):
    """A command line and what must not be left of it."""

    text: str
    """As the file has it."""
    arguments: list[str]
    secrets: tuple[str, ...]
    others: tuple[bool, ...]
    """Which of the arguments hold nothing of a secret."""

    def left_in(self, redacted: list[str]) -> list[str]:
        """Pieces of the secrets, of 4 characters or more, that `redacted` still shows."""
        shown = "\n".join(redacted).replace(REDACTED, "\n")
        return [piece for secret in self.secrets for piece in _pieces(secret) if piece in shown]


def secret_lines() -> list[SecretLine]:
    """Of tests/data/secrets.txt, where its form is told."""
    return [_secret_line(line) for line in _lines("secrets.txt")]


def ordinary_lines() -> list[list[str]]:
    """The argv of each line of tests/data/ordinary.txt."""
    return [_words(line) for line in _lines("ordinary.txt")]


def tool_lines() -> list[SecretLine]:
    """Of tests/data/tools.txt, whose form is that of secrets.txt: how tools that take a secret are called."""
    return [_secret_line(line) for line in _lines("tools.txt")]


def readable_lines() -> list[list[str]]:
    """The argv of each line of tests/data/readable.txt."""
    return [_words(line) for line in _lines("readable.txt")]


def _secret_line(text: str) -> SecretLine:
    # Drawn by the line's own text, so that a failure is the same one the next time.
    drawing = random.Random(text)  # noqa: S311 - it only has to look like a secret
    marked = _MARKED.sub(lambda match: f"«{_assembled(match[1], drawing)}»", text)
    arguments = _words(marked)
    secrets = tuple(secret for argument in arguments for secret in _MARKED.findall(argument))
    others = tuple("«" not in argument for argument in arguments)
    return SecretLine(text, [re.sub("[«»]", "", argument) for argument in arguments], secrets, others)


def _assembled(template: str, drawing: random.Random) -> str:
    def drawn(match: re.Match[str]) -> str:
        if match[1] is None:
            return drawing.choice(_WEAK_PASSWORDS)
        return "".join(drawing.choices(_ALPHABETS[match[1]], k=int(match[2])))

    return _DRAWN.sub(drawn, template).replace("·", "")


def _pieces(secret: str) -> list[str]:
    last = max(len(secret) - LEFT_OVER_CHARS, 0)
    return [secret[at : at + LEFT_OVER_CHARS] for at in range(last + 1)]


def _words(line: str) -> list[str]:
    return shlex.split(line.replace("␤", "\n"))


def _lines(name: str) -> list[str]:
    text = (_DATA / name).read_text(encoding="utf-8")
    return [line for line in text.splitlines() if line and not line.startswith("#")]
