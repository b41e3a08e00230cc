"""What a row says that tells where a program takes a secret; the rows are in the modules named after them."""

from __future__ import annotations

import re
from typing import NamedTuple

ANYTHING = re.compile(r".+", re.DOTALL)
NOTHING = re.compile(r"(?!)")
"""Of an option that holds the name of a secret or of something else."""
USER_AND_PASSWORD = re.compile(r"[^:]+:.*|:.+", re.DOTALL)
AFTER_USER = re.compile(r"(?P<kept>[^:]{1,128}:).+", re.DOTALL)
"""As USER_AND_PASSWORD, where the user stays."""
LOGIN = re.compile(r"(?P<kept>(?P<user>[\w.@+-]{1,64}):)(?!\d+$|(?P=user)$)[^/\s].*", re.DOTALL)
"""As AFTER_USER, where a user and a group, or a name and a port, are none."""
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
"""Of an option that takes a command which prints the secret."""


PLACEHOLDERS = ("_", "?", "!", "*", "**")
"""What a place's way has where no certain word is waited for."""


class SecretOption(NamedTuple):
    """An option that holds a secret although its name doesn't say so, or that holds none although it does."""

    programs: frozenset[str]
    options: frozenset[str]
    """As they are written; one that ends in a colon has its value glued to it: `/p:secret`."""
    subcommands: frozenset[str] = frozenset()
    """Only where one of these words came before, too, or stands anywhere if it is one of LATE_WORDS."""
    shape: re.Pattern[str] = ANYTHING
    """What a value with a secret looks like; its group `kept`, if it has one, is none."""
    separate: bool = True
    """The secret may be the next argument."""
    attached: bool = False
    """The secret may be glued to a short option: `-psecret`."""
    flags: str = ""
    """Short options without a value, which may stand before it in a cluster: `-fsSLu`."""
    is_flag: bool = False
    """It takes no value: what comes after it is none of its own."""


class SecretPlace(NamedTuple):
    """A secret that stands at a place among the arguments that are no options."""

    words: tuple[str, ...]
    """The way there: a word is waited for, `_` is whatever comes next, `?` a secret's name that has to come
    next, `*` is the secret, `!` one that has to come next, `**` are all from here on."""
    shape: re.Pattern[str] = ANYTHING
    """As in SecretOption."""
    beside: str = ""
    """Only where this word, one of LATE_WORDS, stands anywhere."""


def words(text: str) -> frozenset[str]:
    """The words of a row."""
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
    """A row of SECRET_OPTIONS; `after` are its subcommands."""
    return SecretOption(
        words(programs), words(options), words(after), shape, separate, attached, flags, is_flag
    )


def place(way: str, shape: re.Pattern[str] = ANYTHING, beside: str = "") -> SecretPlace:
    """A row of SECRET_PLACES."""
    return SecretPlace(tuple(way.split()), shape, beside)
