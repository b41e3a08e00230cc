"""Secrets in command lines become `<redacted>` before anything leaves the process.

Two passes: first what a text gives away by itself (keys, headers, URLs, tokens), then what an argument means
by where it stands: `--password x`, `TOKEN=x`, `curl -u user:pw`, also among the words of a script as in
`sh -c '…'`. Each takes time linear in the length of the command line, whatever stands in it: repetition in
the patterns is possessive, bounded, or starts only where the one before has ended.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from functools import lru_cache

from exporter import redact_rules as rules
from exporter.redact_rules import REDACTED, SecretOption

_MAX_NAME_CHARS = 128
_MAX_SCRIPT_DEPTH = 4

_PRIVATE_KEY = re.compile(
    r"-----BEGIN [A-Z0-9 ]{0,40}PRIVATE KEY[A-Z ]{0,10}-----.*?(?:-----END [A-Z0-9 ]{0,50}-----|\Z)",
    re.DOTALL,
)
_USER_INFO = re.compile(r"(?<![A-Za-z0-9+.-])([A-Za-z][A-Za-z0-9+.-]{0,31})://([^\s/?#\"']*)@")
_PASSWORD_WITH_SLASH = re.compile(r"(?<=://)[^\s/?#@:\"']{0,256}:(?!\d{1,5}(?:[/?#\s]|\Z))[^\s@\"']{1,256}@")
_AUTHORIZATION = re.compile(r"(?i)(authorization\s*+:\s*+)[^\"'\r\n]++")
_BEARER = re.compile(r"(?i)\b(bearer\s++)[\w.~+/=-]{16,}")
_QUOTED_PAIRS = tuple(
    re.compile(pattern.replace("Q", quote))
    for quote in "\"'"
    for pattern in (
        # "name": "value" and ["name"] = "value", then the same within a string, where quotes are escaped.
        r"(?P<head>Q(?P<name>[\w.-]{1,128})Q\]?+\s*+[:=]\s*+Q)(?P<value>(?:[^Q\\]|\\.)*+)",
        r"(?P<head>\\Q(?P<name>[\w.-]{1,128})\\Q\]?+\s*+[:=]\s*+\\Q)(?P<value>[^Q\\]*+)",
    )
)
_TOKEN = re.compile(rf"(?<![A-Za-z0-9])(?:{'|'.join(shape.pattern for shape in rules.TOKEN_SHAPES)})")
_TOKEN_HINTS = tuple(hint for shape in rules.TOKEN_SHAPES for hint in shape.hints)

_WORD = re.compile(
    rf"(?:{REDACTED}|[^\s\"'`;&|<>()\\]++|\\.|\"(?:[^\"\\]|\\.)*+(?:\"|\Z)|'[^']*+(?:'|\Z))++", re.DOTALL
)
_SPACE = re.compile(r"\s")
_KEY = re.compile(r"(?<![\w.-])([\w.-]++)=(?!=)")
_NAME = re.compile(r"[\w.:/@-]+")
_VALUE = re.compile(r"[^\s&;,\"']*+")
_HEADER = re.compile(r"(-H|--(?:proxy-)?header=)?([\"']?)([A-Za-z][\w-]*+)\s*+:\s*+(?=\S)")
_CAMEL = re.compile(r"(?<=[a-z0-9])(?=[A-Z])")
_SECRET_NAME = re.compile("|".join(rules.SECRET_NAMES))
_HARMLESS_NAME = re.compile("|".join(rules.HARMLESS_NAMES))
_NAME_OF_FILE = re.compile(rules.NAMES_OF_FILES)
_HARMLESS_VALUE = re.compile("|".join((REDACTED, *rules.HARMLESS_VALUES)), re.IGNORECASE | re.DOTALL)
_PATH = re.compile(r"(?:~|\.{1,2})?/.*|.*\.(?:pem|key|json)", re.DOTALL)
_KNOWN_WORDS = rules.NAME_VALUE_COMMANDS.union(
    *(row.programs for row in rules.SECRET_OPTIONS),
    {row.subcommand for row in rules.SECRET_OPTIONS if row.subcommand},
)


def redact_arguments(arguments: Sequence[str]) -> list[str]:
    """The arguments (argv, the program first) with `<redacted>` for what is secret in them; idempotent."""
    return _redact_words([_redact_text(argument) for argument in arguments], depth=0)


def _redact_text(text: str) -> str:
    """What gives itself away, wherever it stands. A test for a fixed piece of text guards each pattern."""
    if "PRIVATE KEY" in text:
        text = _PRIVATE_KEY.sub(REDACTED, text)
    if "://" in text and "@" in text:
        text = _USER_INFO.sub(_without_user_info, _PASSWORD_WITH_SLASH.sub(f"{REDACTED}@", text))
    if '"' in text or "'" in text:
        for pattern in _QUOTED_PAIRS:
            text = pattern.sub(_without_value, text)
    if ":" in text or " " in text:
        text = _BEARER.sub(rf"\1{REDACTED}", _AUTHORIZATION.sub(rf"\1{REDACTED}", text))
    return _TOKEN.sub(REDACTED, text) if any(hint in text for hint in _TOKEN_HINTS) else text


def _without_user_info(match: re.Match[str]) -> str:
    scheme, user_info = match.groups()
    # Over http a name alone may be a token; elsewhere (ssh://git@…) it is an account.
    is_secret = ":" in user_info or (scheme.lower().endswith(("http", "https")) and user_info != "git")
    return f"{scheme}://{REDACTED}@" if is_secret else match[0]


def _without_value(match: re.Match[str]) -> str:
    name, value = match["name"], match["value"]
    return match["head"] + REDACTED if _is_secret(name, value) else match[0]


def _redact_words(words: Sequence[str], depth: int) -> list[str]:
    """Redact `words` by their places; `depth` counts the scripts around them."""
    seen: set[str] = set()
    redacted: list[str] = []
    previous = ""
    for word in words:
        redacted.append(_redact_word(word, previous, seen, depth))
        _note(word.rpartition("/")[2], seen)
        previous = word
    return redacted


def _note(name: str, seen: set[str]) -> None:
    if name in rules.WRAPPED_PROGRAMS:
        seen.clear()
    elif name in _KNOWN_WORDS:
        seen.add(name)


def _redact_word(word: str, previous: str, seen: set[str], depth: int) -> str:
    if len(word) > 1 and word[0] in "\"'" and word.find(word[0], 1) == len(word) - 1:
        return word[0] + _redact_word(word[1:-1], previous, seen, depth) + word[-1]
    if _announces_secret(previous, seen) and not word.startswith("-"):
        return word if _is_harmless(word, previous) else REDACTED
    if option := _attached_option(word, seen):
        return option + REDACTED
    if header := _secret_header(word, previous):
        return header
    return _redact_inside(word, previous, depth)


def _redact_inside(word: str, previous: str, depth: int) -> str:
    key = _KEY.match(word)
    is_assignment = key is not None and previous not in rules.SCRIPT_OPTIONS and is_secret_name(key[1])
    is_script = _SPACE.search(word) is not None and previous not in rules.MESSAGE_OPTIONS
    if is_assignment or not is_script or depth >= _MAX_SCRIPT_DEPTH:
        return _redact_assignments(word) if "=" in word else word
    words = iter(_redact_words(_WORD.findall(word), depth + 1))
    return _WORD.sub(lambda _: next(words), word)


def _redact_assignments(word: str) -> str:
    """`name=value` for secret names: the whole rest of the word when it starts it, else up to a delimiter."""
    pieces: list[str] = []
    done = 0
    for key in _KEY.finditer(word):
        if key.start() < done or not is_secret_name(key[1]):
            continue
        value = word[key.end() :] if key.start() == 0 else _value_at(word, key.end())
        pieces += word[done : key.end()], value if _is_harmless(value, key[1]) else REDACTED
        done = key.end() + len(value)
    return "".join((*pieces, word[done:]))


def _value_at(word: str, start: int) -> str:
    value = _VALUE.match(word, start)
    return value[0] if value else ""


def _announces_secret(previous: str, seen: set[str]) -> bool:
    """Whether the argument after `previous` is a secret."""
    if any(row.separate and _is_option(previous, row) for row in _rows_for(seen)):
        return True
    is_named = previous.startswith("-") or not seen.isdisjoint(rules.NAME_VALUE_COMMANDS)
    return is_named and _NAME.fullmatch(previous) is not None and is_secret_name(previous)


def _is_option(word: str, row: SecretOption) -> bool:
    """Whether `word` is one of the row's options, or ends a cluster of short ones: `curl -sSu`."""
    is_cluster = word[1:].isalpha() and f"-{word[-1]}" in row.options
    return word in row.options or is_cluster


def _attached_option(word: str, seen: set[str]) -> str | None:
    """The option of `-psecret` or `--user=secret`; None when nothing secret is glued to one."""
    if not word.startswith("-") or len(word) == len("-p"):
        return None
    rows = _rows_for(seen)
    if word.startswith("--"):
        option, equals, _ = word.partition("=")
        return next((option + equals for row in rows if equals and option in row.options), None)
    option = word[: len("-p")]
    return next((option for row in rows if row.attached and option in row.options), None)


def _rows_for(seen: set[str]) -> list[SecretOption]:
    if not seen:
        return []
    return [
        row
        for row in rules.SECRET_OPTIONS
        if not seen.isdisjoint(row.programs) and (row.subcommand is None or row.subcommand in seen)
    ]


def _secret_header(word: str, previous: str) -> str | None:
    """The header with its value redacted; None when `word` is no secret header."""
    header = _HEADER.match(word) if ":" in word else None
    if header is None:
        return None
    option, quote, name = header.groups()
    is_header = option or previous in rules.HEADER_OPTIONS or name.lower().startswith("x-")
    if not is_header or not (name.lower() in rules.SECRET_HEADERS or is_secret_name(name)):
        return None
    return header[0] + REDACTED + quote


def _is_secret(name: str, value: str) -> bool:
    return is_secret_name(name) and not _is_harmless(value, name)


def _is_harmless(value: str, name: str) -> bool:
    if _HARMLESS_VALUE.fullmatch(value):
        return True
    return bool(_NAME_OF_FILE.search(_snake_case(name)) and _PATH.fullmatch(value))


def is_secret_name(name: str) -> bool:
    """Whether an option, a variable or a key of this name holds a secret."""
    return _is_secret_name(name[-_MAX_NAME_CHARS:])


@lru_cache(maxsize=1024)
def _is_secret_name(name: str) -> bool:
    words = _snake_case(name)
    if words in rules.ALWAYS_SECRET_NAMES:
        return True
    return _SECRET_NAME.search(words) is not None and _HARMLESS_NAME.search(words) is None


def _snake_case(name: str) -> str:
    """`--apiKey`, `API-KEY` and `api.key` as `api_key`."""
    spaced = _CAMEL.sub("_", name[-_MAX_NAME_CHARS:].lstrip("-"))
    return spaced.lower().replace("-", "_").replace(".", "_")
