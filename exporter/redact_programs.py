"""Where programs take secrets that no name gives away, as data. New rules are rows here."""

from __future__ import annotations

import re
from typing import NamedTuple

_ANYTHING = re.compile(r".+", re.DOTALL)
_NOTHING = re.compile(r"(?!)")
"""Of an option that holds the name of a secret or of something else."""
_USER_AND_PASSWORD = re.compile(r"[^:]+:.*|:.+", re.DOTALL)
_USER_AND_PASSWORD_OR_TOKEN = re.compile(r"[^:]+:.*|:.+|[\w.~+/=-]{20,}", re.DOTALL)
_FILE_AND_PASSWORD = re.compile(r"(?P<kept>[^:]+:).+", re.DOTALL)
_PAIR = re.compile(r"(?P<kept>[\w.-]+=).+", re.DOTALL)
_NO_PAIR = re.compile(r"[^=]+")
_OPAQUE = re.compile(r"[\w+/=~-]{16,}")
_LOGIN_OF_ORACLE = re.compile(r"\w+/.+", re.DOTALL)


class SecretOption(NamedTuple):
    """An option that holds a secret although its name doesn't say so."""

    programs: frozenset[str]
    options: frozenset[str]
    subcommand: str | None = None
    """Only where this word came before, too."""
    shape: re.Pattern[str] = _ANYTHING
    """What a value with a secret looks like; its group `kept`, if it has one, is none."""
    separate: bool = True
    """The secret may be the next argument."""
    attached: bool = False
    """The secret may be glued to a short option: `-psecret`."""
    flags: str = ""
    """Short options without a value, which may stand before it in a cluster: `-fsSLu`."""


class SecretPlace(NamedTuple):
    """A secret that stands at a place among the arguments that are no options."""

    words: tuple[str, ...]
    """The way there: a word is waited for, `_` is whatever comes next, `?` a secret's name that has to come
    next, `*` is the secret, `**` are all from here on."""
    shape: re.Pattern[str] = _ANYTHING
    """As in SecretOption."""


def _words(text: str) -> frozenset[str]:
    return frozenset(text.split())


def _place(way: str, shape: re.Pattern[str] = _ANYTHING) -> SecretPlace:
    return SecretPlace(tuple(way.split()), shape)


_MYSQL = "mysql mysqldump mysqladmin mysqlimport mysqlcheck mysqlsh mariadb mariadb-dump mariadb-admin"
_REGISTRY_CLIENTS = "docker podman nerdctl buildah skopeo helm crane"

WRAPPED_PROGRAMS = _words("ssh scp sftp rsync")
"""Programs whose options are their own, whatever started them: `sshpass -p x ssh -p 22`."""

SECRET_OPTIONS = (
    # transfer
    SecretOption(
        _words("curl"),
        _words("-u -U"),
        shape=_USER_AND_PASSWORD,
        attached=True,
        flags="fsSLkvgiIGOJNnq#012346",
    ),
    SecretOption(_words("curl"), _words("--user --proxy-user"), shape=_USER_AND_PASSWORD),
    SecretOption(_words("curl"), _words("--oauth2-bearer")),
    SecretOption(_words("curl"), _words("-b --cookie"), shape=_PAIR, flags="fsSLkv"),
    SecretOption(_words("curl"), _words("-E --cert --proxy-cert"), shape=_FILE_AND_PASSWORD, flags="fsSLkv"),
    SecretOption(_words("http https xh"), _words("-a --auth"), shape=_USER_AND_PASSWORD_OR_TOKEN),
    SecretOption(_words("ab"), _words("-A -P"), shape=_USER_AND_PASSWORD),
    SecretOption(_words("lftp open"), _words("-u"), shape=re.compile(r"(?P<kept>[^,]*,).+")),
    SecretOption(_words("ncftpput ncftpget hydra"), _words("-p"), attached=True),
    SecretOption(_words("sshpass"), _words("-p"), attached=True),
    SecretOption(_words("smbclient rpcclient"), _words("-U"), shape=re.compile(r"(?P<kept>[^%]*%).+")),
    SecretOption(_words("snmpwalk snmpget snmpset snmpbulkwalk"), _words("-A -X -c")),
    SecretOption(_words("ipmitool"), _words("-P")),
    SecretOption(_words("swaks sendemail"), _words("-ap -xp")),
    # databases
    SecretOption(_words(_MYSQL), _words("-p"), separate=False, attached=True),
    SecretOption(
        _words("mongo mongosh mongodump mongorestore cqlsh cypher-shell rabbitmqadmin"), _words("-p")
    ),
    SecretOption(_words("etcdctl"), _words("--user"), shape=_USER_AND_PASSWORD),
    SecretOption(_words("redis-cli"), _words("-a")),
    SecretOption(_words("sqlcmd bcp"), _words("-P"), attached=True),
    SecretOption(_words("ldapsearch ldapadd ldapmodify ldapdelete ldapwhoami"), _words("-w"), attached=True),
    # registries and packages
    SecretOption(_words(_REGISTRY_CLIENTS), _words("-p"), subcommand="login", attached=True),
    SecretOption(_words("oras"), _words("-p")),
    SecretOption(_words("oc az cf fly conan"), _words("-p"), subcommand="login", attached=True),
    SecretOption(_words("conan"), _words("-p"), subcommand="user"),
    SecretOption(
        _words("podman buildah skopeo crictl"),
        _words("--creds --src-creds --dest-creds"),
        shape=_USER_AND_PASSWORD,
    ),
    SecretOption(_words("ctr"), _words("-u --user"), shape=_USER_AND_PASSWORD),
    SecretOption(_words("twine"), _words("-p"), attached=True),
    SecretOption(_words("poetry uv"), _words("-p"), subcommand="publish"),
    SecretOption(_words("uv"), _words("-t"), subcommand="publish"),
    SecretOption(_words("pdm"), _words("-P"), subcommand="publish"),
    SecretOption(_words("hatch"), _words("-a"), subcommand="publish"),
    SecretOption(_words("gem nuget choco"), _words("-k"), shape=_OPAQUE),
    SecretOption(_words("nuget"), _words("-p"), subcommand="source"),
    SecretOption(_words("anaconda codecov doctl vercel"), _words("-t"), shape=_OPAQUE),
    SecretOption(_words("chromatic"), _words("-t")),
    SecretOption(_words("cypress"), _words("-k")),
    SecretOption(_words("expo expo-cli"), _words("-p"), subcommand="login"),
    # clouds, clusters and CI
    SecretOption(_words("fly flyctl"), _words("-t"), subcommand="deploy", shape=_OPAQUE),
    SecretOption(_words("kubectl oc"), _words("--from-literal"), subcommand="secret", shape=_PAIR),
    SecretOption(_words("aws"), _words("--value"), subcommand="SecureString"),
    SecretOption(_words("az"), _words("--value"), subcommand="secret"),
    SecretOption(_words("az"), _words("-p"), subcommand="sql"),
    SecretOption(_words("drone"), _words("--data"), subcommand="secret"),
    SecretOption(_words("gh"), _words("-b --body"), subcommand="secret", attached=True),
    SecretOption(_words("gitlab-runner"), _words("-r"), subcommand="register"),
    SecretOption(_words("act"), _words("-s --secret"), shape=_PAIR),
    SecretOption(_words("kaggle"), _words("-v"), subcommand="key"),
    SecretOption(_words("honeymarker sc"), _words("-k"), shape=_OPAQUE),
    # values that would be taken for secrets
    SecretOption(_words("gcloud berglas envconsul"), _words("--secret -secret"), shape=_NOTHING),
    SecretOption(_words("ansible-vault"), _words("-n --name --stdin-name"), shape=_NOTHING),
    SecretOption(_words("gh"), _words("-h --hostname"), shape=_NOTHING),
    # signing, packing, accounts
    SecretOption(_words("openssl"), _words("-k -K -pass -hmac -psk")),
    SecretOption(_words("ssh-keygen"), _words("-N -P")),
    SecretOption(_words("signtool"), _words("/p")),
    SecretOption(_words("security"), _words("-p"), subcommand="unlock-keychain"),
    SecretOption(_words("security"), _words("-p"), subcommand="create-keychain"),
    SecretOption(_words("security"), _words("-P"), subcommand="import"),
    SecretOption(_words("security"), _words("-k"), subcommand="set-key-partition-list"),
    SecretOption(_words("altool"), _words("-p")),
    SecretOption(_words("zip unzip"), _words("-P"), attached=True, flags="rqejloX0123456789"),
    SecretOption(_words("7z 7za 7zr unrar rar"), _words("-p"), separate=False, attached=True),
    SecretOption(
        _words("rar"), _words("-h"), shape=re.compile(r"(?P<kept>p).+"), separate=False, attached=True
    ),
    SecretOption(_words("useradd usermod"), _words("-p")),
    SecretOption(_words("caddy"), _words("--plaintext")),
)

SECRET_PLACES = (
    # name and value as two arguments
    _place("config ? *"),
    _place("config set ? *"),
    _place("configure set ? *"),
    _place("npm set ? *"),
    _place("put ? *"),
    _place("write _ ? *"),
    _place("modify _ ? *"),
    _place("mysqladmin password *"),
    _place("secret_access_key *"),
    _place("wg private-key *"),
    _place("nmcli password *"),
    _place("machine login _ password *"),
    _place("pdftk owner_pw *"),
    _place("pdftk user_pw *"),
    _place("qpdf --encrypt * *"),
    _place("poetry config _ _ *", re.compile(r"[^\s:/]{6,}")),
    _place("composer config _ _ *", re.compile(r"[^\s:/]{6,}")),
    _place("composer config _ *", re.compile(r"[\w-]{20,}")),
    _place("bundle config _ *", re.compile(r"[\w-]{20,}|[^\s:/]+:[^\s/]+")),
    _place("bundle config set _ *", re.compile(r"[^\s:/]+:[^\s/]+")),
    # logging in
    _place("vault login **", _NO_PAIR),
    _place("vault unwrap *"),
    _place("vault unseal *"),
    _place("cargo login **", _OPAQUE),
    _place("snyk auth *", _OPAQUE),
    _place("wandb login *", _OPAQUE),
    _place("gh auth login *", _OPAQUE),
    _place("ngrok authtoken *"),
    _place("ngrok add-authtoken *"),
    _place("cloudflared install *", _OPAQUE),
    _place("fly auth token *"),
    _place("bw login _ *"),
    _place("bw unlock *"),
    _place("op signin _ _ **"),
    _place("gcloud activate-refresh-token _ *"),
    _place("conda token set *"),
    _place("nuget setapikey *"),
    _place("nuget push _ *", _OPAQUE),
    _place("mc set _ _ _ *"),
    _place("mc add _ _ _ *"),
    _place("sqlplus *", _LOGIN_OF_ORACLE),
    _place("exp *", _LOGIN_OF_ORACLE),
    _place("imp *", _LOGIN_OF_ORACLE),
    # storing secrets
    _place("vault kv put _ **", _PAIR),
    _place("vault kv patch _ **", _PAIR),
    _place("vault write _ **", re.compile(r"(?P<kept>secret_id=).+")),
    _place("secrets set **", _PAIR),
    _place("snyk config set *", re.compile(r"(?P<kept>api=).+")),
    _place("glab variable set _ *"),
    _place("user-secrets set _ *"),
    _place("ansible-vault encrypt_string **"),
    _place("redis-cli AUTH *"),
    _place("rabbitmqctl add_user _ *"),
    _place("rabbitmqctl change_password _ *"),
    # hashing
    _place("htpasswd _ **"),
    _place("mkpasswd **"),
    _place("openssl passwd *"),
    _place("wpa_passphrase _ *"),
    _place("rclone obscure *"),
)
