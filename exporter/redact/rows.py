"""The types and shapes of the rows that say where programs take secrets; other modules hold the rows."""

from __future__ import annotations

import re
from typing import NamedTuple

ANYTHING = re.compile(r".+", re.DOTALL)
NOTHING = re.compile(r"(?!)")
"""The shape for an option whose value is no secret, but the name of one or of something else."""
USER_AND_PASSWORD = re.compile(r"[^:]+:.*|:.+", re.DOTALL)
AFTER_USER = re.compile(r"(?P<kept>[^:]{1,128}:).+", re.DOTALL)
"""Like USER_AND_PASSWORD, but the user is kept."""
LOGIN = re.compile(r"(?P<kept>(?P<user>[\w.@+-]{1,64}):)(?!\d+$|(?P=user)$)[^/\s].*", re.DOTALL)
"""Like AFTER_USER, but doesn't match a user and a group (`app:app`), or a name and a port."""
USER_AND_PASSWORD_OR_TOKEN = re.compile(r"[^:]+:.*|:.+|[\w.~+/=-]{20,}", re.DOTALL)
FILE_AND_PASSWORD = re.compile(r"(?P<kept>[^:]+:).+", re.DOTALL)
PAIR = re.compile(r"(?P<kept>[^\s=]+=).+", re.DOTALL)
NAMED = re.compile(r"(?i)(?P<kept>\w{0,64}(?:password|token|api_key|secret)\w{0,64}:).+", re.DOTALL)
NO_PAIR = re.compile(r"[^=]+")
OPAQUE = re.compile(r"[\w+/=~-]{16,}")
AFTER_PERCENT = re.compile(r"(?P<kept>[^%]*%).+")
AFTER_COMMA = re.compile(r"(?P<kept>[^,]*,).+")
LOGIN_OF_ORACLE = re.compile(r"(?P<kept>(?:userid=)?[\w$#]+/)[^/].*", re.DOTALL | re.IGNORECASE)
LOGIN_AT_HOST = re.compile(r"(?P<kept>[^:@]{0,128}:).+@[^@]+", re.DOTALL)
ECHOED = re.compile(r"(?P<kept>(?:echo|printf)\s(?:-\w+\s|'?%s'?\s)*).+", re.DOTALL)
"""The shape for an option that takes a command which prints the secret."""


PLACEHOLDERS = ("_", "?", "!", "*", "**")
"""The symbols in `SecretPlace.words`, which match words that aren't spelled out."""


class SecretOption(NamedTuple):
    """An option that holds a secret although its name doesn't say so, or none although its name says so."""

    programs: frozenset[str]
    options: frozenset[str]
    """The options as they are written; to one that ends in a colon the value is glued: `/p:secret`."""
    subcommands: frozenset[str] = frozenset()
    """If set, the row counts only behind one of these words; one of LATE_WORDS may stand anywhere."""
    shape: re.Pattern[str] = ANYTHING
    """The form of a value with a secret; its group `kept`, if any, isn't part of the secret."""
    separate: bool = True
    """Whether the secret may be the next argument."""
    attached: bool = False
    """Whether the secret may be glued to a short option: `-psecret`."""
    flags: str = ""
    """Short options without a value that may stand before this one in a cluster: `-fsSLu`."""
    is_flag: bool = False
    """Whether the option takes no value, so that the next argument isn't its value."""


class SecretPlace(NamedTuple):
    """A place of a secret among the arguments that are no options."""

    words: tuple[str, ...]
    """The way to the secret. A plain word may come later, with other words before it; `_` is any next word;
    `?` is a secret's name, which must come next; `*` is the secret; `!` is the secret, which must come next;
    `**` is each word from here on."""
    shape: re.Pattern[str] = ANYTHING
    """The form of a value with a secret, as in SecretOption."""
    beside: str = ""
    """If set, the row counts only if this word, one of LATE_WORDS, stands anywhere."""


def words(text: str) -> frozenset[str]:
    """Split a column of a row into its words."""
    return frozenset(text.split())


def option(  # noqa: PLR0913 - the columns of a row
    programs: str,
    options: str,
    *,
    after: str = "",
    shape: re.Pattern[str] = ANYTHING,
    separate: bool = True,
    attached: bool = False,
    flags: str = "",
    is_flag: bool = False,
) -> SecretOption:
    """Make a row of SECRET_OPTIONS; `after` holds its subcommands."""
    return SecretOption(
        words(programs), words(options), words(after), shape, separate, attached, flags, is_flag
    )


def place(way: str, shape: re.Pattern[str] = ANYTHING, beside: str = "") -> SecretPlace:
    """Make a row of SECRET_PLACES; `way` holds its words."""
    return SecretPlace(tuple(way.split()), shape, beside)
