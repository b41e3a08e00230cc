"""Decides whether a value is a secret, by its name and by its own form."""

from __future__ import annotations

import re
from functools import lru_cache

from exporter import redact_rules as rules

_MAX_NAME_CHARS = 128

_CAMEL = re.compile(r"(?<=[a-z0-9])(?=[A-Z])")
_DEFINED = re.compile(r"-[DJ](?=[a-z])")
_LAST_PART = re.compile(r"[^:/@]*$")
_SECRET = re.compile("|".join(rules.SECRET_NAMES))
_HARMLESS = re.compile("|".join(rules.HARMLESS_NAMES))
_OF_FILE = re.compile(rules.NAMES_OF_FILES)
_WEAK = re.compile(rules.WEAK_NAMES)
_OPAQUE_VALUE = re.compile(rules.OPAQUE_VALUE)
_HARMLESS_VALUE = re.compile("|".join(rules.HARMLESS_VALUES), re.IGNORECASE | re.DOTALL)
_PATH = re.compile(r"(?:~|\.{1,2})?/.*|.*\.(?:pem|key|json|creds)", re.DOTALL)


def is_secret_name(name: str) -> bool:
    """Whether an option, a variable or a key of this name holds a secret."""
    return _is_secret_name(name[-_MAX_NAME_CHARS:])


def is_secret(name: str, value: str) -> bool:
    """Whether `value` under this name is a secret."""
    return is_secret_name(name) and not is_harmless(value, name)


def is_weak_name(name: str) -> bool:
    """Whether the name is one of WEAK_NAMES, which mean a secret only with an opaque value."""
    return _WEAK.fullmatch(_snake_case(name)) is not None


def is_weak_secret(name: str, value: str) -> bool:
    """Whether the name is a weak one, such as `key`, and `value` an opaque one, so a secret."""
    return is_weak_name(name) and _OPAQUE_VALUE.fullmatch(value) is not None


def is_harmless(value: str, name: str = "") -> bool:
    """Whether `value` is no secret although its name, or its place, says so."""
    if _HARMLESS_VALUE.fullmatch(value.strip("\"'")):
        return True
    return bool(_OF_FILE.search(_snake_case(name)) and _PATH.fullmatch(value))


@lru_cache(maxsize=1024)
def _is_secret_name(name: str) -> bool:
    words = _snake_case(name)
    if words in rules.ALWAYS_SECRET_NAMES:
        return True
    return _SECRET.search(words) is not None and _HARMLESS.search(words) is None


def _snake_case(name: str) -> str:
    """Convert a name to snake case: `--apiKey`, `API-KEY`, `api.key` and `-DapiKey` become `api_key`."""
    defined = _DEFINED.match(name)
    last = _LAST_PART.search(name[defined.end() if defined else 0 :][-_MAX_NAME_CHARS:])
    spaced = _CAMEL.sub("_", last[0].lstrip("-") if last else "")
    return spaced.lower().replace("-", "_").replace(".", "_")
