"""Decide whether a value is a secret, by its name and by its own form."""

from __future__ import annotations

import re
from functools import lru_cache

REDACTED = "<redacted>"

_KEY_HOLDERS = (
    "stripe|openai|anthropic|sendgrid|mailgun|twilio|tencent|kaggle|tailscale|opsgenie|recaptcha|cosmos"
    "|fernet|jwt|session|aes|enc|encrypt|sops_age|insert|ingest|ingestion|integration|consumer"
)
"""Words before `_key` that make it a secret's name: `STRIPE_KEY` is one, but `PARTITION_KEY` isn't."""

SECRET_NAMES = (
    r"(?:passw(?:or)?d|passphrase|passcode|credential)(?!(?:_?less|ed|ing)(?:_|$))",
    r"secret(?!(?:ar(?:y|ies|ial|iat)|i(?:on|n|ve|vely)|ly|ome|ory?|_?less)s?(?:_|$))",
    r"token(?!iz|is(?:e|ing|ation)|omic|(?:_?less|_?bucket|s)(?:_|$))",
    r"(?:api|access|private|account|storage|signing|encryption|master|auth|deploy|shared)_?keys?\d*(?:_|$)",
    r"(?:^|_)(?:app|application|admin|subscription|service|license|write|hmac|functions|sse_c)_?keys?\d*(?:_|$)",
    r"(?:^|_)(?:pass|pw|pwd|pat|otp|auth|bearer|jwt|authorization)\d*$",
    r"^(?:(?:src|dest)?(?:store|key)pass|pass(?:in|out)|d?sonar_login|sig|x_(?:amz|goog)_signature)$",
    r"_art_api$",
    r"(?:^|_)(?:db|ks|ts|user|admin|ca|bind|smtp|imap|ftp|root|master|require|key|store)(?:pass|pw)$",
    r"(?:^|_)(?:web|sasl|rpc|sql|ldap|mail|http|smb|ssh|sudo)(?:pass|pw)$|_(?:psw|creds)\d*$",
    r"key_?material$|^cookie$|(?:proxy|upstream)_?auth$|(?:security|libsodium)_?key$",
    rf"(?:^|_)(?:{_KEY_HOLDERS})_(?:key|sk)\d*$|(?:auth|nonce|logged_in)_salt$",
    r"npm_auth_ident$|signing_in_memory_key$|basic_?auth_users$",
    r"^bundle_(?!mirror_)\w+__(?:com|org|net|io|dev)$",
    r"mnemonic$|seed_?phrase$|(?:^|_)psk$|pre_?shared_?key$|^unseal_key|(?:setup|registration|activation|certificate)_key$",
    r"erlang_?cookie$|cipher_?pass$",
)
"""Names (of options, variables, keys) whose value is a secret; they are matched in `lower_snake_case`.

Words that only begin like one of them, such as secretary, are excluded.
"""

HARMLESS_NAMES = (
    r"^(?:no|use|with|has|skip|show|print|list|create|generate|enable|disable|allow|require|verify|export|d?default)_",
    r"^(?:set|get|delete|describe|existing|rotate|update)_|_existing_secret$",
    r"_(?:files?|path|dir|directory|folder|url|uri|endpoint|host|hostname|server|service|port|sock)$",
    r"_(?:names?|ids?|arn|type|kind|format|version|ref|field|header|label|user|username|email|hint)$",
    r"_(?:length|len|size|limit|count|max|min|ttl|expiry|expiration|expires(?:_in)?|timeout|lifetime|age|interval)$",
    r"_(?:policy|policies|provider|manager|helper|store|backend|engine|mode|scopes?|issuer|audience|region)$",
    r"_(?:stdin|prompts?|attempts|env|var|variable|cmd|command|enabled|disabled|required|optional|only)$",
    r"_(?:authentication|algorithm|alg|method|index|location|rotation|check|hasher|encoder|encryption|uses|prefix|suffix)$",
    r"_config$|^auth_user_pass$|_namespace$|^user_signingkey$|secret_keys_|_password_key$",
    r"(?:passw(?:or)?d|passphrase|secret|token|credential)s?(?:file|path|dir|name|type|length|size|limit|count|policy)s?$",
)
"""Names that only speak of a secret: `--password-stdin`, `TOKEN_FILE`, `--no-password`."""

ALWAYS_SECRET_NAMES = frozenset({"vault_secret_id", "vault_dev_root_token_id"})

WEAK_NAMES = r"(?:(?:\w*_publish_)?key|code|sig|signature|hmac|sid|(?:x_)?session_?id|ticket)"
"""Names of options and URL parameters whose value is a secret only if it has the form of OPAQUE_VALUE."""
OPAQUE_VALUE = r"(?=[^\d]*\d)[\w%+=~-]{16,}"
"""A long word with a digit that is no path: `--key 0a1b2c3d4e5f6a7b` but not `--key client.pem`."""

NAMES_OF_FILES = (
    r"(?:private_?key|service_?key|credentials?|creds|(?:jwt|session|sops_age)_key)$|^(?:old)?pwd$"
)
"""Names whose value is no secret if it is a path."""

_ECHOED = r"(?:echo|printf)\s+(?:-\w+\s+|[\"']?%s[\"']?\s+)?[\"']?[^\s\"'$%-]"
"""A command that prints its own argument, not a variable: in `$(echo value)` the value may be a secret."""

HARMLESS_VALUES = (
    r"(?:true|false|yes|no|on|off|auto|enabled|disabled|none|null|undefined|[yn]|\d|\$)?",
    r"\*+|placeholder|x{3,}",
    r"(?:(?:bearer|basic|token)\s*)?"
    rf"(?:[:@,/%]?\\?(?:\$[A-Z_][A-Z0-9_]*|\$[a-z_]+|\$\{{[^{{}}]*\}}|\$\((?!{_ECHOED})[^()]*\)))*",
    r"%\w+%|\{\{[^{}]*\}\}|\{\w+\}|<[\w-]+>",
    r"(?:file|fileb|env|fd|secretref):.*|stdin|-|file|env|@microsoft\.keyvault\(.*\)",
    r"(?:process\.)?env\.\w+|\$env:\w+|convertto-securestring|read-host",
    r"@(?:\.{0,2}/.*|[\w-]+\.(?:txt|json|ya?ml|pem|key))",
    r"(?:id|type|src|source)=.*",
    r"[\w-]+:latest|inherit|read|write|required|optional",
)
"""Values that hold no secret under any name: switches, references, the mounts of `docker build`."""

HEADER_OPTIONS = frozenset(
    {"-H", "--header", "--headers", "--proxy-header", "--custom-header", "--add-header", "--http-header"}
    | {"-header", "-headers", "--extra-header", "--rpc-header", "-rpc-header", "--metadata", "-metadata"}
)
SECRET_HEADERS = re.compile(
    r"authorization|proxy-authorization|cookie|set-cookie|x-auth|x-authentication"
    r"|(?!idempotency|sec-|x-idempotency|surrogate|.*cache|partition|routing|.*encryption|.*object)[\w-]+-key"
    r"|accesskey|authentication|x-honeycomb-team"
)
AUTHORIZATION_SCHEMES = frozenset({"basic", "bearer", "token", "apikey", "digest", "negotiate"})

SCRIPT_OPTIONS = frozenset({"-c", "-ec", "-lc", "-xc", "-ce", "-exc", "-euc", "-euxc", "--command", "--eval"})
"""Options whose value is a program in some language: an assignment in it ends where its word ends."""
MESSAGE_OPTIONS = frozenset({"-m", "-am", "--message", "--title", "--body", "--description", "--notes"})
"""Options whose value is prose, in which a word that looks like an option is none."""


_MAX_NAME_CHARS = 128

_CAMEL = re.compile(r"(?<=[a-z0-9])(?=[A-Z])")
_DEFINED = re.compile(r"-[DJ](?=[a-z])")
_LAST_PART = re.compile(r"[^:/@]*$")
_SECRET = re.compile("|".join(SECRET_NAMES))
_HARMLESS = re.compile("|".join(HARMLESS_NAMES))
_OF_FILE = re.compile(NAMES_OF_FILES)
_WEAK = re.compile(WEAK_NAMES)
_OPAQUE_VALUE = re.compile(OPAQUE_VALUE)
_HARMLESS_VALUE = re.compile("|".join(HARMLESS_VALUES), re.IGNORECASE | re.DOTALL)
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
    if words in ALWAYS_SECRET_NAMES:
        return True
    return _SECRET.search(words) is not None and _HARMLESS.search(words) is None


def _snake_case(name: str) -> str:
    """Convert a name to snake case: `--apiKey`, `API-KEY`, `api.key` and `-DapiKey` become `api_key`."""
    defined = _DEFINED.match(name)
    last = _LAST_PART.search(name[defined.end() if defined else 0 :][-_MAX_NAME_CHARS:])
    spaced = _CAMEL.sub("_", last[0].lstrip("-") if last else "")
    return spaced.lower().replace("-", "_").replace(".", "_")


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
    """Split `ARGS=--token x` into `ARGS=` and `--token x`, so that `--token` is read as an option.

    For a word of another form, the first part is empty.
    """
    key = KEY.match(word)
    at = key.end() if key and _OPTIONS_BEHIND.match(word, key.end()) else 0
    return word[:at], word[at:]


def without_secret(value: str, shape: re.Pattern[str]) -> str:
    """Replace `value`, except the part that `shape` keeps, by `<redacted>` if it fits and isn't harmless."""
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
    is_header = option or previous in HEADER_OPTIONS or name.lower().startswith("x-")
    is_known = SECRET_HEADERS.fullmatch(name.lower()) or is_secret_name(name) or is_weak_secret(name, value)
    return bool(is_header and is_known and not is_harmless(value))


def redact_assignments(word: str) -> str:
    """Redact secret values in `name=value`: to the end of a word that begins so, else to a delimiter."""
    pieces: list[str] = []
    done = 0
    for key in KEY.finditer(word):
        # The value of a secret's name is taken as a whole, secret or not: no character is looked at twice.
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
