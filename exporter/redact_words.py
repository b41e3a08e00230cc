"""Redacts the secrets that a single word names itself: `Name: value`, `--name:value`, `name=value`."""

from __future__ import annotations

import re

from exporter import redact_rules as rules
from exporter.redact_names import is_harmless, is_secret, is_secret_name, is_weak_name, is_weak_secret
from exporter.redact_rules import REDACTED

KEY = re.compile(r"(?<![\w.-])([\w.-]++):?=(?!=)")
"""A name with its `=`, behind which a value follows."""
_OPTIONS_BEHIND = re.compile(r"[\"']?-")
_VALUE = re.compile(r"[^\s&;,\"']*+")
_NAMED = re.compile(r"(--?|/)?([\w.-]++)(:\s*+)(\S++)")
_HEADER = re.compile(r"(-H=?|[\w.:/-]{0,256}?[hH]eader=)?([\"']?)([A-Za-z][\w-]*+)\s*+:\s*+(?=\S)")


def quote_around(word: str) -> str:
    """Return the quote that encloses the whole word, as in a script; empty if none does."""
    is_quoted = len(word) > 1 and word[0] in "\"'" and word.find(word[0], 1) == len(word) - 1
    return word[0] if is_quoted else ""


def options_behind_name(word: str) -> tuple[str, str]:
    """Split `ARGS=--token x` into `ARGS=` and `--token x`, so that the name isn't taken for the option's.

    For a word of another form, the first part is empty.
    """
    key = KEY.match(word)
    at = key.end() if key and _OPTIONS_BEHIND.match(word, key.end()) else 0
    return word[:at], word[at:]


def without_secret(value: str, shape: re.Pattern[str]) -> str:
    """Replace `value` by `<redacted>`, except what `shape` keeps, if it has that shape and isn't harmless."""
    match = shape.fullmatch(value)
    if match is None or is_harmless(value):
        return value
    kept = match.groupdict().get("kept", "")
    return value if is_harmless(value[len(kept) :]) else kept + REDACTED


def redact_named(word: str, previous: str) -> str | None:
    """Redact the value in `Name: value`, `--name:value` or `NAME:value`. None: it is no secret."""
    if ":" not in word:
        return None
    header = _HEADER.match(word)
    if header is not None and _is_secret_header(header, word[header.end() :], previous):
        return header[0] + REDACTED + header[2]
    named = _NAMED.fullmatch(word)
    if named is None:
        return None
    dash, name, colon, value = named.groups()
    # Without a dash, and not in capitals, it is rather an image with its tag or a target, such as token:1.2.
    is_name = dash or name.isupper() or name == "pass" or colon != ":"
    return f"{dash or ''}{name}{colon}{REDACTED}" if is_name and is_secret(name, value) else None


def _is_secret_header(header: re.Match[str], value: str, previous: str) -> bool:
    option, _, name = header.groups()
    is_header = option or previous in rules.HEADER_OPTIONS or name.lower().startswith("x-")
    is_known = (
        rules.SECRET_HEADERS.fullmatch(name.lower()) or is_secret_name(name) or is_weak_secret(name, value)
    )
    return bool(is_header and is_known and not is_harmless(value))


def redact_assignments(word: str) -> str:
    """Redact secret values in `name=value`: all the rest if the word begins with it, else to a delimiter."""
    pieces: list[str] = []
    done = 0
    for key in KEY.finditer(word):
        # What a secret's name announces is taken as a whole, secret or not: no character is looked at twice.
        if key.start() < done or not (is_secret_name(key[1]) or _may_be_weak(word, key)):
            continue
        value = word[key.end() :] if key.start() == 0 else _value_at(word, key.end())
        is_found = is_secret(key[1], value) or is_weak_secret(key[1], value)
        pieces += word[done : key.end()], REDACTED if is_found else value
        done = key.end() + len(value)
    return "".join((*pieces, word[done:]))


def _may_be_weak(word: str, key: re.Match[str]) -> bool:
    """Whether the name is a weak one, of an option or of a URL's parameter."""
    is_parameter = word[key.start() - 1 : key.start()] in ("?", "&")
    return (is_parameter or key[1].startswith("-")) and is_weak_name(key[1])


def _value_at(word: str, start: int) -> str:
    value = _VALUE.match(word, start)
    return value[0] if value else ""
