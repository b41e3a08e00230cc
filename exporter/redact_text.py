"""Secrets that give themselves away wherever they stand: keys, URLs, headers, JSON, code, tokens.

All patterns are linear: repetition is possessive, bounded, or starts only where the one before has ended.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import NamedTuple

from exporter.redact_names import is_harmless, is_secret
from exporter.redact_rules import REDACTED
from exporter.redact_tokens import TOKEN_SHAPES

_PRIVATE_KEY = re.compile(
    r"-----BEGIN [A-Z0-9 ]{0,40}PRIVATE KEY[A-Z ]{0,10}-----.*?(?:-----END [A-Z0-9 ]{0,50}-----(?:\\n)?|\Z)",
    re.DOTALL,
)

_PORT = r"\d{1,5}(?:[/?#\s\"',;]|\Z)"
_HOST = r"(?:\[[0-9a-fA-F:.]+\]|[\w-]+(?:\.[\w-]+)+|localhost)(?::\d+)?(?:[/?#\s\"']|\Z)"
_USER_INFO = re.compile(
    r"(?<![A-Za-z0-9+.-])(?P<scheme>[A-Za-z][A-Za-z0-9+.-]{0,31})://(?:"
    # A password with @ or / in it, up to what is surely a host; what is as it should be, with a password or
    # without; a password with / before any host.
    rf"(?P<any>[^\s/?#@:\"']{{0,64}}:(?!{_PORT})[^\s\"']{{1,256}}?)@(?={_HOST})"
    r"|(?P<proper>[^\s/?#\"']*)@"
    rf"|(?P<slashed>[^\s/?#@:\"']{{0,64}}:(?!{_PORT})[^\s@\"']{{1,256}})@)"
)
_CUT_USER_INFO = re.compile(
    rf"(?<=://)(?P<user>[^\s/?#@:\"'<>\[\]]{{1,64}}):(?!{_PORT})(?P<password>[^\s/?#@:\"'<>\[\]]{{4,}}+)(?=\s|\Z)"
)
# user:password@tcp(host:port)/name, as Go's drivers have it.
_DSN = re.compile(r"(?P<head>(?<![\w-])[\w-]{1,64}:)(?P<value>[^\s@\"'/]{1,256})(?=@(?:tcp|udp|unix)?[(/])")
_ACCOUNT = re.compile(r"[a-z][a-z._-]{0,15}")

_AUTHORIZATION = re.compile(r"(?i)(?P<head>authorization[\"']?\s*+:\s*+)(?P<value>[^\"'\r\n]++)")
_BEARER = re.compile(r"(?i)(?P<head>\bbearer\s++)(?P<value>[\w.~+/=-]{16,})")
_NUMBER = re.compile(r"(?P<head>\"(?P<name>[\w.-]{1,128})\"\s*+:\s*+)(?P<value>\d{4,})")
# Q is the quote.
_QUOTED = (
    # name = "value", "name": "value", ["name"] = "value", in whatever language
    r"(?P<head>(?<![\w.\"'-])(?P<quote>[\"']?)(?P<name>[\w.-]{1,128}+)(?P=quote)(?:[\]}]?+\s*+(?:=>|[:=])|\])\s*+Q)"
    r"(?P<value>(?:[^Q\\]|\\.)*+)",
    # the same within a string, where quotes are escaped
    r"(?P<head>(?<![\w.-])(?P<name>[\w.-]{1,128}+)(?:\\Q)?\]?+\s*+[:=]\s*+\\Q)(?P<value>[^Q\\]*+)",
    # PASSWORD 'value' and IDENTIFIED BY 'value' in SQL, ConvertTo-SecureString 'value' in PowerShell
    r"(?P<head>(?i:\b(?:password|identified\s{1,4}by|securestring)\s{1,4})Q)(?P<value>[^Q]++)",
    # auth=("user", "value"), HTTPBasicAuth("user", "value"), login("user", "value")
    r"(?P<head>(?i:auth|login|create_user|create_superuser)\w{0,16}\s?=?\s?\((?:\s?Q[^Q]{0,128}Q\s?,){1,2}\s?Q)"
    r"(?P<value>[^Q]++)",
)

_TOKEN_HINTS = [(hint, shape.pattern) for shape in TOKEN_SHAPES for hint in shape.hints]


def redact_texts(texts: list[str]) -> list[str]:
    """The texts with `<redacted>` for what gives itself away in them."""
    whole = "\0".join(texts)
    tokens = list(dict.fromkeys(pattern for hint, pattern in _TOKEN_HINTS if hint in whole))
    return [_redact_text(text, tokens) for text in texts]


def _redact_text(text: str, tokens: list[re.Pattern[str]]) -> str:
    for pattern in tokens:
        text = pattern.sub(REDACTED, text)
    for rule in _RULES:
        if rule.hint in text:
            text = rule.pattern.sub(rule.replacement, text)
    return text


def _without_user_info(match: re.Match[str]) -> str:
    scheme = match["scheme"]
    user_info = match["any"] or match["proper"] or match["slashed"] or ""
    user, colon, password = user_info.partition(":")
    if colon:
        return match[0] if is_harmless(password) and password else f"{scheme}://{REDACTED}@"
    # Over http a name alone may be a token; elsewhere (ssh://git@…) it is an account.
    is_token = scheme.lower().endswith(("http", "https")) and not (
        _ACCOUNT.fullmatch(user) or is_harmless(user)
    )
    return f"{scheme}://{REDACTED}@" if is_token else match[0]


def _without_cut_password(match: re.Match[str]) -> str:
    return match[0] if is_harmless(match["password"]) else f"{match['user']}:{REDACTED}"


def _without_value(match: re.Match[str]) -> str:
    """The match with `<redacted>` for its value, if that is a secret under its name, where it has one."""
    name, value = match.groupdict().get("name"), match["value"]
    found = not is_harmless(value) if name is None else is_secret(name, value)
    return match["head"] + REDACTED if found else match[0]


class _Rule(NamedTuple):
    hint: str
    """Without this piece in a text there is nothing to find: what makes the usual case cheap."""
    pattern: re.Pattern[str]
    replacement: str | Callable[[re.Match[str]], str]


_RULES = (
    _Rule("PRIVATE KEY", _PRIVATE_KEY, REDACTED),
    _Rule("://", _USER_INFO, _without_user_info),
    _Rule("://", _CUT_USER_INFO, _without_cut_password),
    _Rule("@", _DSN, _without_value),
    *(
        _Rule(quote, re.compile(way.replace("Q", quote)), _without_value)
        for quote in "\"'"
        for way in _QUOTED
    ),
    _Rule('"', _NUMBER, _without_value),
    _Rule(":", _AUTHORIZATION, _without_value),
    _Rule(" ", _BEARER, _without_value),
)
