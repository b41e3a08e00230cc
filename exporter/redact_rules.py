"""Patterns of the names and values that are secrets, as data: new rules are rows here.

The forms of tokens are in `redact_tokens.py`, the options and places of single programs in
`redact_programs.py` and `redact_places.py`.
"""

from __future__ import annotations

import re

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
"""Values that hold no secret whatever the name says: switches, references, the mounts of `docker build`."""

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
