"""What a secret looks like, as data: names, options, shapes of tokens. New rules are rows here.

There is no rule by randomness: a commit id, a digest and a cache key look as random as a password.
"""

from __future__ import annotations

from typing import NamedTuple

REDACTED = "<redacted>"

SECRET_NAMES = (
    r"passw(?:or)?d|passphrase|passcode|secret|credential",
    r"token(?!iz|s(?:_|$))",
    r"(?:api|access|private|account|storage|signing|encryption|master|auth|deploy|shared)_?keys?\d*(?:_|$)",
    r"(?:^|_)(?:app|application|admin|subscription|service|license|write|hmac)_?keys?\d*(?:_|$)",
    r"(?:^|_)(?:pass|pw|pwd|pat|otp|auth|bearer|jwt|authorization)\d*$",
    r"^(?:(?:src|dest)?(?:store|key)pass|pass(?:in|out)|d?sonar_login|sig|x_(?:amz|goog)_signature)$",
)
"""Names (of options, variables, keys) whose value is a secret; names come as `lower_snake_case`."""

HARMLESS_NAMES = (
    r"^(?:no|use|with|has|skip|show|print|list|create|generate|enable|disable|allow|require|verify)_",
    r"_(?:files?|path|dir|directory|folder|url|uri|endpoint|host|hostname|server|port|sock)$",
    r"_(?:names?|ids?|arn|type|kind|format|version|ref|field|header|label|user|username|email|hint)$",
    r"_(?:length|len|size|limit|count|max|min|ttl|expiry|expiration|expires|timeout|lifetime|age|interval)$",
    r"_(?:policy|provider|manager|helper|store|backend|engine|mode|scopes?|issuer|audience|namespace|region)$",
    r"_(?:stdin|prompts?|attempts|env|var|variable|cmd|command|enabled|disabled|required|optional|only)$",
    r"_(?:authentication|algorithm|alg|method|index|location|rotation|check)$",
)
"""Names that only speak of a secret: `--password-stdin`, `TOKEN_FILE`, `--no-password`."""

ALWAYS_SECRET_NAMES = frozenset({"vault_secret_id"})

NAMES_OF_FILES = r"(?:private_?key|service_?key|credentials?)$|^(?:old)?pwd$"
"""Names whose value is no secret where it is a path."""

HARMLESS_VALUES = (
    r"(?:true|false|yes|no|on|off|none|null|undefined|[01yn])?",
    r"\*+",
    r"\$\w+|\$\{\w+\}|\$\([^()]*\)|%\w+%|\{\{[^{}]*\}\}",
    r"(?:file|env|fd):.*|stdin|-",
    r"(?:id|type|src|source)=.*",
)
"""Values that hold no secret whatever the name says: switches, references, the mounts of `docker build`."""

HEADER_OPTIONS = frozenset({"-H", "--header", "--proxy-header"})
SECRET_HEADERS = frozenset({"authorization", "proxy-authorization", "cookie", "set-cookie"})

SCRIPT_OPTIONS = frozenset({"-c", "-ec", "-lc", "-xc", "-ce", "-exc", "-euc", "-euxc", "--command", "--eval"})
"""Options whose value is a program in some language: an assignment in it ends where its word ends."""
MESSAGE_OPTIONS = frozenset({"-m", "-am", "--message", "--title", "--body", "--description", "--notes"})
"""Options whose value is prose: a word in it that looks like an option is none."""
WRAPPED_PROGRAMS = frozenset({"ssh", "scp", "sftp", "rsync"})
"""Programs whose options are their own, whatever started them: `sshpass -p x ssh -p 22`."""
NAME_VALUE_COMMANDS = frozenset({"set", "config"})
"""`npm config set NAME VALUE` and its like."""


class SecretOption(NamedTuple):
    """An option that holds a secret although its name doesn't say so."""

    programs: frozenset[str]
    options: frozenset[str]
    subcommand: str | None = None
    """Only where this word came before, too."""
    separate: bool = True
    """The secret may be the next argument."""
    attached: bool = False
    """The secret may be glued to it: `-psecret`."""


def _words(text: str) -> frozenset[str]:
    return frozenset(text.split())


SECRET_OPTIONS = (
    SecretOption(_words("curl"), _words("-u -U"), attached=True),
    SecretOption(_words("curl"), _words("--user --proxy-user --oauth2-bearer -b --cookie")),
    SecretOption(
        _words(
            "mysql mysqldump mysqladmin mysqlimport mysqlcheck mysqlsh mariadb mariadb-dump mariadb-admin"
        ),
        _words("-p"),
        separate=False,
        attached=True,
    ),
    SecretOption(_words("sshpass"), _words("-p"), attached=True),
    SecretOption(
        _words("docker podman nerdctl buildah skopeo helm oras crane"),
        _words("-p"),
        subcommand="login",
        attached=True,
    ),
    SecretOption(_words("oc az cf"), _words("-p"), subcommand="login", attached=True),
    SecretOption(_words("twine mongo mongosh mongodump mongorestore"), _words("-p")),
    SecretOption(_words("redis-cli"), _words("-a")),
    SecretOption(_words("ldapsearch ldapadd ldapmodify ldapdelete ldapwhoami"), _words("-w"), attached=True),
    SecretOption(_words("sqlcmd bcp"), _words("-P"), attached=True),
    SecretOption(_words("smbclient rpcclient"), _words("-U")),
    SecretOption(_words("zip unzip"), _words("-P"), attached=True),
    SecretOption(_words("7z 7za 7zr"), _words("-p"), separate=False, attached=True),
    SecretOption(_words("openssl"), _words("-k -K -pass")),
    SecretOption(_words("ssh-keygen"), _words("-N -P")),
    SecretOption(_words("codecov"), _words("-t")),
    SecretOption(_words("http https xh"), _words("-a")),
)


class TokenShape(NamedTuple):
    """A token that its own form gives away."""

    hints: tuple[str, ...]
    """Without any of these pieces in the text there is no such token: what makes the usual case cheap."""
    pattern: str


TOKEN_SHAPES = (
    TokenShape(("ghp_", "gho_", "ghu_", "ghs_", "ghr_"), r"gh[pousr]_[A-Za-z0-9]{20,}"),
    TokenShape(("github_pat_",), r"github_pat_\w{20,}"),
    TokenShape(
        ("glpat-", "glptt-", "gldt-", "glrt-", "glcbt-", "glft-", "glsoat-", "glagent-", "gloas-"),
        r"gl(?:pat|ptt|dt|rt|cbt|ft|soat|agent|oas)-[\w.-]{16,}",
    ),
    TokenShape(("AKIA", "ASIA", "ABIA", "ACCA"), r"A(?:KI|SI|BI|CC)A[A-Z0-9]{16}(?![A-Za-z0-9])"),
    TokenShape(("xox", "xapp-"), r"(?:xox[abeoprs]|xapp)-[A-Za-z0-9-]{10,}"),
    TokenShape(("hooks.slack.com",), r"(?<=hooks\.slack\.com/)services/[\w/]{16,}"),
    TokenShape(("api/webhooks/",), r"(?<=api/webhooks/)\d{5,}/[\w-]{20,}"),
    TokenShape(("npm_",), r"npm_[A-Za-z0-9]{30,}"),
    TokenShape(("pypi-AgE",), r"pypi-AgE[\w-]{16,}"),
    TokenShape(("k_live_", "k_test_", "whsec_"), r"(?:[rsp]k_(?:live|test)|whsec)_[A-Za-z0-9]{10,}"),
    TokenShape(("AIza",), r"AIza[\w-]{35,}"),
    TokenShape(("ya29.",), r"ya29\.[\w-]{20,}"),
    TokenShape(("GOCSPX-",), r"GOCSPX-[\w-]{20,}"),
    TokenShape(("sk-",), r"sk-(?:(?:ant|proj|svcacct|admin|or)-[\w-]{16,}|[A-Za-z0-9]{20,})"),
    TokenShape(("eyJ",), r"eyJ[\w-]{8,1024}\.eyJ[\w-]{8,}\.[\w-]*"),
    TokenShape(("hvs.", "hvb."), r"hv[sb]\.[\w-]{20,}"),
    TokenShape(("SG.",), r"SG\.[\w-]{16,}\.[\w-]{16,}"),
    TokenShape(("hf_",), r"hf_[A-Za-z0-9]{30,}"),
    TokenShape(("dckr_",), r"dckr_(?:pat|oat)_[\w-]{20,}"),
    TokenShape(("do_v1_", "doo_v1_", "dop_v1_", "dor_v1_"), r"do[opr]_v1_[a-f0-9]{40,}"),
    TokenShape(("dapi",), r"dapi[a-f0-9]{32}(?![A-Za-z0-9])"),
    TokenShape(("ATATT3x", "ATBB"), r"(?:ATATT3x|ATBB)[\w=-]{20,}"),
    TokenShape(("rubygems_",), r"rubygems_[a-f0-9]{40,}"),
    TokenShape(("CCIPAT_", "CCIPRJ_"), r"CCIP(?:AT|RJ)_\w{20,}"),
    TokenShape(("bkua_",), r"bkua_[a-f0-9]{40,}"),
    TokenShape(("tskey-",), r"tskey-[a-z]+-[\w-]{10,}"),
    TokenShape(("glsa_",), r"glsa_\w{30,}"),
    TokenShape(("shpat_", "shpss_", "shpca_"), r"shp(?:at|ss|ca)_[a-fA-F0-9]{32,}"),
    TokenShape(("AGE-SECRET-KEY-",), r"AGE-SECRET-KEY-1[A-Z0-9]{40,}"),
    TokenShape((":AA",), r"\d{8,10}:AA[\w-]{33,}"),
)
