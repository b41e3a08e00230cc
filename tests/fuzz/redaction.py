"""Redaction: whatever the command line, it ends soon, loses no argument, keeps no secret that it knows."""

from __future__ import annotations

import string
from functools import cache

from exporter.events.arguments import Arguments, arguments_block
from exporter.redact.command_lines import redact_arguments
from exporter.redact.names import REDACTED
from tests.fuzz.draw import Draw
from tests.unit.redact.corpus import SecretLine, ordinary_lines, readable_lines, secret_lines, tool_lines
from tests.unit.redact.pieces import COMMANDS, HINTS, MARKS, NAMES, TEXTS, WORDS

_ALPHABET = string.ascii_letters + string.digits


def check(draw: Draw) -> None:
    """A planted secret in each third; the others are made of what the rules look for, or of changed lines."""
    way = draw.randrange(3)
    if way == 0:
        _a_planted_secret_is_gone(draw)
    elif way == 1:
        keeps_the_form(arguments_of(draw))
    else:
        keeps_the_form(_changed_line(draw))


def _a_planted_secret_is_gone(draw: Draw) -> None:
    if draw.chance(0.5):
        secret = "s3cr3t" + "".join(draw.choices(_ALPHABET, k=draw.randint(6, 40)))
        arguments = [word.format(secret) for word in draw.choice(COMMANDS).split()]
        secrets: tuple[str, ...] = (secret,)
    else:
        line = draw.choice(_found_lines())
        arguments, secrets = list(line.arguments), line.secrets
    arguments += draw.some(lambda: draw.choice(("x", "--verbose", "a=b", "-v", draw.text(6))), 4)
    redacted = redact_arguments(arguments)
    shown = "\0".join(redacted)
    assert not any(secret in shown for secret in secrets), (arguments, redacted)
    keeps_the_form(arguments)


def arguments_of(draw: Draw) -> list[str]:
    """A command line made of pieces."""
    return draw.some(lambda: _argument(draw), 12)


def keeps_the_form(arguments: list[str]) -> None:
    """No argument is lost, and what is redacted stays as it is."""
    once = redact_arguments(arguments)
    assert len(once) == len(arguments)
    assert redact_arguments(once) == once, (arguments, once)
    growth = sum(map(len, once)) - sum(map(len, arguments))
    assert growth < len(REDACTED) * "".join(once).count(REDACTED) or growth == 0
    shown = Arguments(arguments_block(arguments)).shown
    assert all(argument.encode().decode() == argument for argument in shown)


def _argument(draw: Draw) -> str:
    glue = draw.choice(("", "", " ", "=", ":"))
    return glue.join(draw.some(lambda: _piece(draw), 12))


def _piece(draw: Draw) -> str:
    pieces = draw.choice((WORDS, HINTS, MARKS, MARKS, NAMES, TEXTS))
    return draw.choice(pieces) if draw.chance(0.95) else draw.text(12)


def _changed_line(draw: Draw) -> list[str]:
    arguments = list(draw.choice(_all_lines()))
    for _ in range(draw.randint(1, 4)):
        at = draw.randrange(len(arguments))
        where = draw.randrange(len(arguments[at]) + 1)
        piece = _piece(draw)
        match draw.randrange(4):
            case 0:
                arguments[at] = arguments[at][:where] + piece + arguments[at][where:]
            case 1:
                arguments.insert(at, piece)
            case 2:
                arguments[at] = arguments[at][:where]
            case _:
                arguments[at:] = [" ".join(arguments[at:])]
    return arguments


@cache
def _found_lines() -> list[SecretLine]:
    """Those of the corpus whose secrets are found when nothing else stands there."""
    lines = [*secret_lines(), *tool_lines()]
    return [line for line in lines if not line.left_in(redact_arguments(line.arguments))]


@cache
def _all_lines() -> list[list[str]]:
    secret = [*secret_lines(), *tool_lines()]
    return [*(line.arguments for line in secret), *ordinary_lines(), *readable_lines()]
