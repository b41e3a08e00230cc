"""Redact secrets that are recognizable wherever they stand: keys, URLs, headers, JSON, code, tokens.

All patterns take linear time: a repetition is possessive, bounded, or starts only where the one before ended.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import NamedTuple

from .names import REDACTED, is_harmless, is_secret
from .tokens import TOKEN_SHAPES

_PRIVATE_KEY = re.compile(
    r"-----BEGIN [A-Z0-9 ]{0,40}PRIVATE KEY[A-Z ]{0,10}-----.*?(?:-----END [A-Z0-9 ]{0,50}-----(?:\\n)?|\Z)",
    re.DOTALL,
)

_PORT = r"\d{1,5}(?:[/?#\s\"',;]|\Z)"
_HOST = r"(?:\[[0-9a-fA-F:.]+\]|[\w-]+(?:\.[\w-]+)+|localhost)(?::\d+)?(?:[/?#\s\"']|\Z)"
_USER_INFO = re.compile(
    r"(?<![A-Za-z0-9+.-])(?P<scheme>[A-Za-z][A-Za-z0-9+.-]{0,31})://(?:"
    # One of three: a password with @ or / in it, up to a sure host; well-formed user information, with a
    # password or without; a password with / before any host.
    rf"(?P<any>[^\s/?#@:\"']{{0,64}}:(?!{_PORT})[^\s\"']{{1,256}}?)@(?={_HOST})"
    r"|(?P<proper>[^\s/?#\"']*)@"
    rf"|(?P<slashed>[^\s/?#@:\"']{{0,64}}:(?!{_PORT})[^\s@\"']{{1,256}})@)"
)
_CUT_USER_INFO = re.compile(
    rf"(?<=://)(?P<user>[^\s/?#@:\"'<>\[\]]{{1,64}}):(?!{_PORT})(?P<password>[^\s/?#@:\"'<>\[\]]{{4,}}+)(?=\s|\Z)"
)
# user:password@tcp(host:port)/name, as Go's drivers have it.
_DSN = re.compile(r"(?P<head>(?<![\w-])[\w-]{1,64}:)(?P<value>[^\s@\"'/]{1,256})(?=@(?:tcp|udp|unix)?[(/])")
# user:password@host without a scheme
_LOGIN = re.compile(
    r"(?P<head>(?<![\w.:/@%+-])(?!(?:mailto|sips?|xmpp|jid|acct|npm|file|ssh|git|workspace|pkg|patch|link|did):)"
    r"[A-Za-z_][\w.-]{0,63}:)(?P<value>(?![\d.]+@)[^\s/:=\"',;]{3,128})"
    r"(?=@(?:localhost|\d{1,3}(?:\.\d{1,3}){3}|"
    r"[A-Za-z][\w-]{0,62}(?:(?:\.[\w-]{1,63}){0,8}\.[A-Za-z]{2,24}|:\d{2,5}|(?=[\s,/]|\Z)))(?![\w@]))"
)
_ACCOUNT = re.compile(r"[a-z][a-z._-]{0,15}")

_AUTHORIZATION = re.compile(r"(?i)(?P<head>authorization[\"']?\s*+:\s*+)(?P<value>[^\"'\r\n]++)")
_BEARER = re.compile(r"(?i)(?P<head>\bbearer\s++)(?P<value>[\w.~+/=-]{16,})")
_NUMBER = re.compile(r"(?P<head>\"(?P<name>[\w.-]{1,128})\"\s*+:\s*+)(?P<value>\d{4,})")
# `_of_quotes` puts one of both quotes in place of Q.
_QUOTED = (
    # name = "value", "name": "value", ["name"] = "value", in whatever language
    r"(?P<head>(?<![\w.\"'-])(?P<quote>[\"']?)(?P<name>[\w.-]{1,128}+)(?P=quote)(?:[\]}]?+\s*+(?:=>|[:=])|\])\s*+Q)"
    r"(?P<value>(?:[^Q\\]|\\.)*+)",
    # name = "value" within a string, where quotes are escaped
    r"(?P<head>(?<![\w.-])(?P<name>[\w.-]{1,128}+)(?:\\Q)?\]?+\s*+[:=]\s*+\\Q)(?P<value>[^Q\\]*+)",
    # PASSWORD 'value' and IDENTIFIED WITH … BY 'value' in SQL, ConvertTo-SecureString 'value' in PowerShell
    r"(?P<head>(?i:\b(?:password|securestring|identified(?:\s{1,4}(?:with|via)\s{1,4}Q?\w{1,40}Q?)?\s{1,4}by)"
    r"\s{1,4})Q)(?P<value>[^Q]++)",
    # auth=("user", "value"), HTTPBasicAuth("user", "value"), login("user", "value")
    r"(?P<head>(?i:auth|login|create_user|create_superuser|changeuserpassword|credentials|PDO|mysqli_connect"
    r"|ftplib\.ftp)\w{0,16}\s?=?\s?\((?:\s?Q[^Q]{0,128}Q\s?,){1,3}\s?Q)(?P<value>[^Q]++)",
)

_DECRYPTED = (
    r"(?P<head>(?i:(?:pgp_sym|aes)_(?:en|de)crypt)\(\s?(?:[^Q(),]{1,64}|Q[^Q]{0,128}Q)\s?,\s?Q)"
    r"(?P<value>[^Q]++)"
)
# Further patterns with quotes, each behind a hint: a piece without which there is nothing to find.
_HINTED_QUOTED = (
    # PASSWORD('value'), set_password('value'), WITH PASSWORD = N'value'
    ("assword", r"(?P<head>(?i:\b(?:set_)?password\s?\(\s?|\bpassword\s?=\s?N)Q)(?P<value>[^Q]++)"),
    ("ASSWORD", r"(?P<head>\bPASSWORD\s?(?:\(\s?|=\s?N)Q)(?P<value>[^Q]++)"),
    ("password_hash", r"(?P<head>\bpassword_hash\s?\(\s?Q)(?P<value>[^Q]++)"),
    ("password_hash", r"(?P<head>Q)(?P<value>[^Q]++)(?=Q\s?\|\s?password_hash)"),
    ("bcrypt", r"(?P<head>\bbcrypt\s?\(\s?Q)(?P<value>[^Q]++)"),
    ("set_token", r"(?P<head>\bset_token\s?\(\s?Q)(?P<value>[^Q]++)"),
    # SET PASSWORD FOR name = 'value', PRAGMA key = 'value', SECRET 'value', AS name KEY 'value'
    ("SET PASSWORD ", r"(?P<head>\bSET\sPASSWORD\sFOR\s[^=\s]{1,80}\s{0,2}=\s{0,2}Q)(?P<value>[^Q]++)"),
    # crypt('value', gen_salt('bf')), pgp_sym_decrypt(column, 'value'), AES_DECRYPT(column, 'value')
    ("crypt(", r"(?P<head>\bcrypt\(\s?Q)(?P<value>[^Q]++)(?=Q\s?,\s?gen_salt\()"),
    *((hint, _DECRYPTED) for hint in ("crypt(", "CRYPT(")),
    # set_config('name', 'value', false)
    ("set_config(", r"(?P<head>\bset_config\(\s?Q(?P<name>[\w.-]{1,128})Q\s?,\s?Q)(?P<value>[^Q]++)"),
    # mysql('host:port', 'database', 'table', 'user', 'value') of ClickHouse
    ("sql(", r"(?P<head>\b(?:mysql|postgresql)\((?:\s?Q[^Q]{0,128}Q\s?,){4}\s?Q)(?P<value>[^Q]++)"),
    ("PRAGMA ", r"(?P<head>\bPRAGMA\s{1,2}(?:re)?key\s{0,2}=\s{0,2}Q)(?P<value>[^Q]++)"),
    ("SECRET ", r"(?P<head>\bSECRET\s{1,2}Q)(?P<value>[^Q]++)"),
    (" KEY ", r"(?P<head>\bAS\s\w{1,32}\sKEY\s{1,2}Q)(?P<value>[^Q]++)"),
    # jwt.encode(claims, 'value')
    ("jwt.", r"(?P<head>\bjwt\.(?:encode|decode|sign|verify)\([^Q]{1,128}?,\s?Q)(?P<value>[^Q]++)"),
    # "Type": "SecureString", "Value": "value"
    ("SecureString", r"(?P<head>QSecureStringQ\s*+,\s*+QValueQ\s*+:\s*+Q)(?P<value>[^Q\\]++)"),
    # {"name": "TOKEN", "value": "value"}, {"path": "/data/token", "value": "value"}
    (
        "alueQ",
        r"(?P<head>Q(?i:name|key|parameterkey|path)Q\s*+:\s*+Q(?:[\w./~-]{0,128}/)?(?P<name>[\w.-]{1,128})Q"
        r"\s*+,\s*+Q(?i:value|parametervalue)Q\s*+:\s*+Q)(?P<value>[^Q\\]++)",
    ),
    # expect "assword:"; send "value\r"
    ("send ", r"(?P<head>(?i:assw|assphrase)[^\n]{0,80}?\bsend\s{1,4}(?:--\s)?Q)(?P<value>[^Q\\]++)"),
)

# name=TOKEN,value=value and the like
_PAIR = re.compile(
    r"(?P<head>(?i:name|key)=(?P<name>[\w.-]{1,128}),[\w.\[\]-]{0,64}?(?i:value)=)(?P<value>[^,\s\"']++)"
)
# password = value, {password: value, …}
_SETTING = re.compile(
    r"(?P<head>(?:^|(?<=[\n\"'])|(?<=\\n))[ \t]{0,16}(?P<name>[\w.-]{1,64}+)"
    r"(?:[ \t]{0,4}:|[ \t]{1,4}=)[ \t]{1,4}"
    r"|(?<=[{,])[ \t]{0,16}(?P<named>[\w.-]{1,64}+)[ \t]{0,4}:[ \t]{1,4})"
    r"(?P<value>(?!\.)[^\s\"',;(){}\[\]<>$\\]{3,256}+)(?=[ \t]{0,4}(?:[\n},]|[\"'](?!\w)|\\n|\Z))"
)
_ELEMENT = re.compile(
    r"(?P<head><(?:\w{1,32}:)?(?P<name>[\w.-]{1,64}+)(?:\s[^<>]{0,128})?>)(?P<value>[^<>\s][^<>]{0,256})(?=</)"
)
# s/^password: .*/password: value/
_REPLACED = re.compile(
    r"(?P<head>(?<=[/|#])(?P<name>[\w.-]{1,64}+)(?:: {0,2}|=))(?P<value>[^/|#\s\"']++)"
    r"(?=[/|#][gimsI]*(?:\s|\Z|['\"]))"
)
# s/@TOKEN@/value/
_PLACEHOLDER = re.compile(
    r"(?P<head>(?<!\w)s(?P<slash>[/|#])(?:[@_%{$]{1,3}(?P<marked>[\w.-]{1,64}?)[@_%}]{1,3}|(?P<named>\w{1,64})_PLACEHOLDER)"
    r"(?P=slash))(?P<value>[^/|#\s\"']++)(?=(?P=slash))"
)
# ALTER USER name IDENTIFIED BY value
_IDENTIFIED = re.compile(
    r"(?i)(?P<head>(?:create|alter)\s+user\s+[^\s;]{1,64}\s+identified\s+by\s+)(?P<value>[^\s;'\"]++)"
)
_CONNECT = re.compile(
    r"(?P<head>(?i:connect\s+to\s+\S{1,64}\s+user\s+\S{1,64}\s+using\s+))(?P<value>[^\s;'\"]++)"
)
_QUOTED_OR_NOT = r"(?P<open>[\"']|)(?P<value>(?<=[\"'])[^\"'|]++|(?:[^\s\"'|;()\\]|\\\S|\([^\s\"'|()]*+\))+)"
_READING_PROGRAM = (
    r"(?:sudo\s+|npx\s+)?(?:chpasswd|passwd|smbpasswd|kinit|cryptsetup|kubeseal|cargo login|openssl passwd"
    r"|(?:vault|bao) (?:login|kv put|kv patch)|vercel env add|pass insert|secret-tool store"
    r"|\w{1,16} (?:create secret|secrets? (?:create|put|set|import|versions add)|functions:secrets:set)"
    r"|pulumi config set (?:[^|;&\n]{0,80} )?--secret"
    r"|systemd-creds encrypt)\b"
)
_READING_OPTION = (
    r"(?:--password-stdin|--with-token|--passphrase-fd|--stdin|-pass(?:in|out)? stdin"
    r"|\bsudo\s+(?:\S{1,64}\s+)?-S)\b"
)
# ; echo value) as in (echo value; echo value) |
_REST_OF_GROUP = r"(?:;\s*(?:echo|printf)\s[^|;&\n)]{1,80}){0,3};?\s*[)}]"
# echo value | docker login --password-stdin
_PIPED = re.compile(
    r"(?P<head>\b(?:echo|printf)\s+(?:-\w{1,3}\s+|[\"']?%s[\"']?\s+){0,3})"
    + _QUOTED_OR_NOT
    + rf"(?=[\"']?\s*+(?:{_REST_OF_GROUP}\s*)?\|\s*"
    + rf"(?:{_READING_PROGRAM}|[^|;&\n]{{0,160}}?{_READING_OPTION}))"
)
# docker login --password-stdin <<< value, or with a here-document
_HANDED = re.compile(
    rf"(?P<head>(?<![\w/.-])(?:{_READING_PROGRAM}|{_READING_OPTION})[^|;&<\n]{{0,160}}<<<\s*+)"
    + _QUOTED_OR_NOT
)
_LINE_OF_DOCUMENT = r"(?!\t{0,16}(?P=end)(?:[\n\"']|\Z))[^\n]*+"
_IN_DOCUMENT = re.compile(
    rf"(?P<head>(?<![\w/.-])(?:{_READING_PROGRAM}|{_READING_OPTION})[^|;&<\n]{{0,160}}"
    r"<<-?[ \t]{0,4}(?P<quote>[\"']?)(?P<end>\w{1,32}+)(?P=quote)[^\n<]{0,160}\n)"
    rf"(?P<value>{_LINE_OF_DOCUMENT}(?:\n{_LINE_OF_DOCUMENT})*)"
)
# password-command="echo value"
_COMMAND = re.compile(
    r"(?P<head>(?i:pass(?:word|phrase)?[_-]?(?:command|cmd|eval)|askpass)=[\"']?(?:echo|printf)\s+(?:-\w\s+)?)"
    + _QUOTED_OR_NOT
)
_ASSIGNED_IN_TCL = re.compile(r"(?P<head>\bset\s+(?P<name>pass\w{0,32})\s+)(?P<value>[^\s;\"']++)")
_DEBCONF = re.compile(r"(?P<head>/[\w-]{0,64}password[\w-]{0,16}\s+password\s+)(?P<value>[^\s\"']++)")

_TOKEN_HINTS = [(hint, shape.pattern) for shape in TOKEN_SHAPES for hint in shape.hints]


def redact_texts(texts: list[str]) -> list[str]:
    """Replace the secrets that are recognizable in the texts by `<redacted>`."""
    whole = "\0".join(texts)
    hinted = [pattern for hint, pattern in _TOKEN_HINTS if hint in whole]
    rules = [rule for mark, group in _RULES if mark in whole for rule in group if rule.hint in whole]
    tokens = list(dict.fromkeys(hinted))
    return [_redact_text(text, tokens, rules) for text in texts] if tokens or rules else texts


def _redact_text(text: str, tokens: list[re.Pattern[str]], rules: list[_Rule]) -> str:
    for pattern in tokens:
        text = pattern.sub(REDACTED, text)
    for rule in rules:
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
    """Redact the match's value if it is a secret, judged also by its name if it has one."""
    groups = match.groupdict()
    name, value = groups.get("name") or groups.get("marked") or groups.get("named"), match["value"]
    found = not is_harmless(value) if name is None else is_secret(name, value)
    return match["head"] + (match.groupdict().get("open") or "") + REDACTED if found else match[0]


class _Rule(NamedTuple):
    hint: str
    """A piece without which a text has nothing for the pattern to find: so the usual case is cheap."""
    pattern: re.Pattern[str]
    replacement: str | Callable[[re.Match[str]], str]


_OF_URLS = (
    _Rule("://", _USER_INFO, _without_user_info),
    _Rule("://", _CUT_USER_INFO, _without_cut_password),
    _Rule("@", _DSN, _without_value),
    _Rule("@", _LOGIN, _without_value),
)
_OF_SCRIPTS = (
    *(_Rule(hint, _PAIR, _without_value) for hint in ("value=", "Value=")),
    *(_Rule(hint, _SETTING, _without_value) for hint in (": ", "= ")),
    _Rule("</", _ELEMENT, _without_value),
    *(_Rule(hint, _REPLACED, _without_value) for hint in ("s/", "s|", "s#")),
    *(_Rule(hint, _PLACEHOLDER, _without_value) for hint in ("s/", "s|", "s#")),
    *(_Rule(hint, _IDENTIFIED, _without_value) for hint in ("identified ", "IDENTIFIED ")),
    *(_Rule(hint, _CONNECT, _without_value) for hint in ("using ", "USING ")),
    _Rule("|", _PIPED, _without_value),
    _Rule("<<<", _HANDED, _without_value),
    _Rule("<<", _IN_DOCUMENT, _without_value),
    _Rule("echo ", _COMMAND, _without_value),
    _Rule("set pass", _ASSIGNED_IN_TCL, _without_value),
    _Rule(" password ", _DEBCONF, _without_value),
    _Rule(" ", _BEARER, _without_value),
)


def _of_quotes(quote: str) -> tuple[_Rule, ...]:
    ways = [*((quote, way) for way in _QUOTED), *_HINTED_QUOTED]
    return tuple(
        _Rule(hint.replace("Q", quote), re.compile(way.replace("Q", quote)), _without_value)
        for hint, way in ways
    )


_RULES = (
    ("PRIVATE KEY", (_Rule("PRIVATE KEY", _PRIVATE_KEY, REDACTED),)),
    (":", _OF_URLS),
    ('"', _of_quotes('"')),
    ("'", _of_quotes("'")),
    ('"', (_Rule('"', _NUMBER, _without_value),)),
    (":", (_Rule(":", _AUTHORIZATION, _without_value),)),
    ("", _OF_SCRIPTS),
)
"""All rules in their order, in groups; a group is applied only if its mark is in one of the texts."""
