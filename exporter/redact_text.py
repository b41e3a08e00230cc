"""Secrets that give themselves away wherever they stand: keys, URLs, headers, fields of JSON and of code, tokens.

A test for a fixed piece of text guards each pattern, which makes the usual case cheap. All patterns are linear:
repetition is possessive, bounded, or starts only where the one before has ended.
"""

from __future__ import annotations

import re

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
    # A password with @ or / in it, up to what is surely a host; a name with or without a password as it should
    # be; a password with / before any host.
    rf"(?P<any>[^\s/?#@:\"']{{0,64}}:(?!{_PORT})[^\s\"']{{1,256}}?)@(?={_HOST})"
    r"|(?P<proper>[^\s/?#\"']*)@"
    rf"|(?P<slashed>[^\s/?#@:\"']{{0,64}}:(?!{_PORT})[^\s@\"']{{1,256}})@)"
)
_CUT_USER_INFO = re.compile(
    rf"(?<=://)(?P<user>[^\s/?#@:\"'<>\[\]]{{1,64}}):(?!{_PORT})(?P<password>[^\s/?#@:\"'<>\[\]]{{4,}}+)(?=\s|\Z)"
)
_ACCOUNT = re.compile(r"[a-z][a-z._-]{0,15}")

_AUTHORIZATION = re.compile(r"(?i)(?P<head>authorization[\"']?\s*+:\s*+)(?P<value>[^\"'\r\n]++)")
_BEARER = re.compile(r"(?i)(?P<head>\bbearer\s++)(?P<value>[\w.~+/=-]{16,})")
_NUMBER = re.compile(r"(?P<head>\"(?P<name>[\w.-]{1,128})\"\s*+:\s*+)(?P<value>\d{4,})")
_QUOTED = tuple(
    re.compile(pattern.replace("Q", quote))
    for quote in "\"'"
    for pattern in (
        # name = "value", "name": "value", ["name"] = "value", then the same within a string, where quotes are escaped.
        r"(?P<head>(?<![\w.-])(?P<name>[\w.-]{1,128}+)[\"']?\s?(?:\]?+\s*+(?:=>|[:=])|\])\s*+Q)(?P<value>(?:[^Q\\]|\\.)*+)",
        r"(?P<head>(?<![\w.-])(?P<name>[\w.-]{1,128}+)(?:\\Q)?\]?+\s*+[:=]\s*+\\Q)(?P<value>[^Q\\]*+)",
        # SQL: PASSWORD 'value', IDENTIFIED BY 'value'.
        r"(?P<head>(?i:\b(?:password|identified\s{1,4}by)\s{1,4})Q)(?P<value>[^Q]++)",
        # auth=("user", "value"), HTTPBasicAuth("user", "value")
        r"(?P<head>(?i:auth)\w{0,16}\s?=?\s?\(\s?Q[^Q]{0,128}Q\s?,\s?Q)(?P<value>[^Q]++)",
    )
)


def redact_texts(texts: list[str]) -> list[str]:
    """The texts with `<redacted>` for what gives itself away in them."""
    whole = "\0".join(texts)
    hinted = [shape.pattern for shape in TOKEN_SHAPES if any(hint in whole for hint in shape.hints)]
    return [_redact_text(text, hinted) for text in texts]


def _redact_text(text: str, tokens: list[re.Pattern[str]]) -> str:
    if "PRIVATE KEY" in text:
        text = _PRIVATE_KEY.sub(REDACTED, text)
    for pattern in tokens:
        text = pattern.sub(REDACTED, text)
    if "://" in text:
        text = _USER_INFO.sub(_without_user_info, text) if "@" in text else text
        text = _CUT_USER_INFO.sub(_without_cut_password, text)
    if '"' in text or "'" in text:
        for pattern in (*_QUOTED, _NUMBER):
            text = pattern.sub(_without_value, text)
    if ":" in text or " " in text:
        for pattern in (_AUTHORIZATION, _BEARER):
            text = pattern.sub(_without_value, text)
    return text


def _without_user_info(match: re.Match[str]) -> str:
    scheme = match["scheme"]
    user_info = match["any"] or match["proper"] or match["slashed"] or ""
    user, colon, password = user_info.partition(":")
    if colon:
        return match[0] if is_harmless(password) and password else f"{scheme}://{REDACTED}@"
    # Over http a name alone may be a token; elsewhere (ssh://git@…) it is an account.
    is_token = scheme.lower().endswith(("http", "https")) and not (_ACCOUNT.fullmatch(user) or is_harmless(user))
    return f"{scheme}://{REDACTED}@" if is_token else match[0]


def _without_cut_password(match: re.Match[str]) -> str:
    return match[0] if is_harmless(match["password"]) else f"{match['user']}:{REDACTED}"


def _without_value(match: re.Match[str]) -> str:
    """The match with `<redacted>` for its value, if that is a secret under its name, where it has one."""
    name, value = match.groupdict().get("name"), match["value"]
    found = not is_harmless(value) if name is None else is_secret(name, value)
    return match["head"] + REDACTED if found else match[0]
