"""Secrets in command lines become `<redacted>` before anything leaves the process.

redact_arguments(["curl", "-u", "me:hunter2", "https://registry.example"])
# ['curl', '-u', '<redacted>', 'https://registry.example']
redact_arguments(["sh", "-c", "TOKEN=abc123 make"])  # ['sh', '-c', 'TOKEN=<redacted> make']

There are two passes. The first finds secrets that are recognizable anywhere in a text (`text.py`). The
second finds those that an argument's place reveals: `--password x`, `TOKEN=x`, `curl -u user:pw`, also among
the words of a script as in `sh -c '…'`. Both take time linear in the length of the command line, whatever
stands in it. The rules are data: `names.py`, `programs.py`, `machines.py`, `places.py`, `accounts.py`,
`tokens.py`; docs/redaction.md lists the secrets that they find and miss.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from functools import cached_property

from .logins import (
    MAX_LOGIN_WORDS,
    changes_password,
    is_option,
    is_password_of,
    last_argument,
    name_of,
    takes_value,
)
from .names import (
    AUTHORIZATION_SCHEMES,
    KEY,
    MESSAGE_OPTIONS,
    REDACTED,
    SCRIPT_OPTIONS,
    is_harmless,
    is_secret_name,
    is_weak_secret,
    options_behind_name,
    quote_around,
    redact_assignments,
    redact_named,
    without_secret,
)
from .places import PLACES_OF_ANY, SECRET_PLACES
from .programs import (
    CONTAINER_PROGRAMS,
    HOUSES,
    LATE_WORDS,
    LOGIN_OPTIONS,
    OTHER_PROGRAMS,
    PASSWORD_OPTIONS,
    SECRET_OPTIONS,
    WRAPPED_PROGRAMS,
)
from .rows import LOGIN, NOTHING, PLACEHOLDERS, SecretOption, SecretPlace
from .text import redact_texts

_MAX_SCRIPT_DEPTH = 4
_MAX_ROUNDS = 6
_MAX_CLUSTER_CHARS = 8
_OPTION_MARKS = ("-", "/")

# A placeholder such as <redacted> or <token> is one word.
_WORD = re.compile(
    r"(?:<[\w-]{1,40}>|[^\s\"'`;&|<>()\\]++|\\.|\"(?:[^\"\\]|\\.)*+(?:\"|\Z)|'[^']*+(?:'|\Z))++", re.DOTALL
)
_NAME = re.compile(r"[\w.:/@\[\]\"'-]+")
_SPACE = re.compile(r"\s")
_OPTION = re.compile(r"--?[A-Za-z][A-Za-z_.,-]*+(?:[=:].*)?|-[A-Za-z]\d{0,5}", re.DOTALL)
# -DTOKEN is a macro and takes no value.
_OPTION_NAME = re.compile(r"(--?(?!D)[\w.:-]++)=?")
_BARE_HEADER = re.compile(r"(?i)(?:-H)?[\"']?(?:proxy-)?authorization:")

_ROWS: dict[str, list[tuple[int, SecretOption]]] = {}
"""The rows of SECRET_OPTIONS by each word that they are about, with their rank: of two, the first counts."""
for _rank, _about in enumerate(SECRET_OPTIONS):
    for _word in _about.programs | _about.subcommands:
        _ROWS.setdefault(_word, []).append((_rank, _about))
_PLACES: dict[str, list[SecretPlace]] = {}
for _row in SECRET_PLACES:
    _PLACES.setdefault(_row.words[0], []).append(_row)
_PLACES_OF_WORD = {word: list(rows) for word, rows in _PLACES.items()}
"""The rows of _PLACES and PLACES_OF_ANY by their first word. A path looks up _PLACES alone: the rows of
PLACES_OF_ANY begin with a subcommand."""
for _row in PLACES_OF_ANY:
    _PLACES_OF_WORD.setdefault(_row.words[0], []).append(_row)


def redact_arguments(arguments: Sequence[str]) -> list[str]:
    """Replace the secrets in the arguments (argv, the program first) by `<redacted>`; idempotent.

    A recording holds redacted arguments, and its replay, which redacts again, has to give the same spans.
    """
    given = list(arguments)
    for _ in range(_MAX_ROUNDS):
        redacted = _redact_words(redact_texts(given), depth=0)
        if redacted == given:
            break
        # Once a secret is gone, the words around it may mean something else.
        given = redacted
    return redacted


def _redact_words(words: Sequence[str], depth: int) -> list[str]:
    """Redact `words` by their places; `depth` is the number of scripts that they are nested in."""
    before = _Before(words, depth)
    return [before.redacted(word) for word in words]


class _Before:
    """The state after some words of a command line, by which the next word is judged."""

    def __init__(self, words: Sequence[str], depth: int) -> None:
        self._words = words
        self._at = 0
        self._is_other = False
        """Whether one of OTHER_PROGRAMS, whose `-p` is no password, was among the words so far."""
        self._depth = depth
        self._late = late = LATE_WORDS.intersection(words)
        """The words of LATE_WORDS that stand anywhere in the command line."""
        self._seen = set(late)
        """The words so far that rows of SECRET_OPTIONS are about, and those in `_late`."""
        self._options: dict[str, tuple[int, SecretOption]] = {}
        """Rows with their rank, by options that hold a secret (or surely none) after the words so far."""
        self._is_change = False
        """Whether a subcommand changes a password: then the last argument is the new one, as a rule."""
        self._here: dict[tuple[SecretPlace, int], None] = {}
        """The places under way whose next word is a placeholder, with the position reached."""
        self._awaited: dict[str, dict[SecretPlace, int]] = {}
        """Other places under way, by the word they wait for: a line full of first words must stay cheap."""
        self._previous = ""

    def redacted(self, word: str) -> str:
        """Return the word without its secret, and note it as the word before the next one."""
        quote = quote_around(word)
        bare = word[1:-1] if quote else word
        safe = self._redact(bare)
        self._note(bare)
        return f"{quote}{safe}{quote}"

    def _redact(self, word: str) -> str:
        option = self._option_before()
        if option is not None and option.separate and not option.is_flag:
            safe = without_secret(word, option.shape)
            return safe if safe != word or option.shape is NOTHING else self._redact_alone(word)
        at_place = self._redact_place(word) if self._here or word in self._awaited else None
        if at_place is not None:
            return at_place
        if self._is_secret(word, option):
            return word if is_harmless(word, self._previous) else REDACTED
        return self._redact_login(word) or self._redact_alone(word)

    def _option_before(self) -> SecretOption | None:
        if self._previous[:1] not in _OPTION_MARKS:
            return None
        return self._option(self._previous) or self._clustered(self._previous)

    def _is_secret(self, word: str, option: SecretOption | None) -> bool:
        """Whether all of `word` is a secret, by the words before it; `option` is the row of the last one."""
        if self._is_change and self._at == self._last:
            return True
        if self._previous[:1] not in _OPTION_MARKS and self._previous[-1:] != ":":
            return False
        if option is None and self._previous in PASSWORD_OPTIONS and self._is_password(word):
            return True
        return not (option is not None and option.is_flag) and self._announces_secret(word)

    def _redact_login(self, word: str) -> str | None:
        """Redact `name:password` behind an option such as `--user`. None: the word is no such pair."""
        if self._previous not in LOGIN_OPTIONS or not self._seen.isdisjoint(CONTAINER_PROGRAMS):
            return None
        safe = without_secret(word, LOGIN)
        return safe if safe != word else None

    def _redact_alone(self, word: str) -> str:
        """Redact the secrets that the word itself reveals."""
        attached = self._redact_attached(word) if word[:1] in "-/" else None
        return attached or redact_named(word, self._previous) or self._redact_inside(word)

    @cached_property
    def _last(self) -> int:
        return last_argument(self._words)

    def _is_password(self, word: str) -> bool:
        before = self._words[max(self._at - MAX_LOGIN_WORDS, 0) : self._at]
        return not self._is_other and is_password_of(before, word)

    def _option(self, name: str) -> SecretOption | None:
        ranked = self._options.get(name)
        return ranked[1] if ranked else None

    def _announces_secret(self, word: str) -> bool:
        previous = self._previous
        if previous.startswith("-"):
            name = _OPTION_NAME.fullmatch(previous)
            if name is None or (word.startswith("-") and (len(word) == 1 or _OPTION.fullmatch(word))):
                return False
            return is_secret_name(name[1]) or is_weak_secret(name[1], word)
        return previous.endswith(":") and _BARE_HEADER.fullmatch(previous) is not None

    def _clustered(self, word: str) -> SecretOption | None:
        """Find the option that ends a cluster of short ones: `curl -sSu`."""
        option = self._option(f"-{word[-1:]}") if word.startswith("-") else None
        return option if option and option.flags and not word[1:-1].strip(option.flags) else None

    def _redact_attached(self, word: str) -> str | None:
        """Redact `-psecret`, `-sSupsecret` or `--user=secret`. None: no secret is glued to an option."""
        name, equals, value = word.partition("=")
        option = self._option(name)
        if equals and option and not option.is_flag:
            return f"{name}={without_secret(value, option.shape)}"
        name, colon, value = word.partition(":")
        option = self._option(f"{name}:") if colon else None
        if option:
            return f"{name}:{without_secret(value, option.shape)}"
        if word.startswith("-") and not word.startswith("--"):
            return self._redact_cluster(word)
        return None

    def _redact_cluster(self, word: str) -> str | None:
        for at in range(1, min(len(word) - 1, _MAX_CLUSTER_CHARS)):
            option = self._option(f"-{word[at]}")
            if option and option.attached and all(flag in option.flags for flag in word[1:at]):
                return word[: at + 1] + without_secret(word[at + 1 :], option.shape)
        return None

    def _redact_place(self, word: str) -> str | None:
        """Redact the word if it stands at a secret's place. None: it doesn't. Moves all places on, too."""
        is_an_option = is_option(word)
        safe = word
        here, self._here = self._here, {}
        for row, at in here:
            if row.words[at] in ("!", "*", "**") and not is_an_option and safe == word:
                safe = without_secret(word, row.shape)
            self._go(row, at, word, is_an_option=is_an_option)
        for row, at in self._awaited.pop(word, {}).items():
            self._enter(row, at + 1)
        return safe if safe != word else None

    def _go(self, row: SecretPlace, at: int, word: str, *, is_an_option: bool) -> None:
        """Move `row` on by `word`: it goes a step further, stays, or is given up."""
        wanted = row.words[at]
        is_waiting = wanted == "?" and is_option(self._previous)
        if is_an_option:
            is_lost = row.words[at - 1] == "?" or wanted == "!"
        else:
            is_name = wanted != "?" or (_NAME.fullmatch(word) is not None and is_secret_name(word))
            is_waiting = is_waiting and not is_name
            is_lost = not is_name and not is_waiting
        if not is_an_option and wanted in ("_", "*") and self._may_be_taken(row, at):
            self._enter(row, at)
        if not is_lost:
            self._enter(row, at if is_an_option or is_waiting or wanted == "**" else at + 1)

    def _may_be_taken(self, row: SecretPlace, at: int) -> bool:
        """Whether the word may be an option's value, so that the next word would be the one at `at`."""
        previous = self._previous
        return takes_value(previous) and previous != row.words[at - 1] and "!" not in row.words

    def _enter(self, row: SecretPlace, at: int) -> None:
        """Make `row` wait for the word at position `at` of its way; behind the end there is none."""
        if at == len(row.words):
            return
        wanted = row.words[at]
        if wanted in PLACEHOLDERS:
            self._here[row, at] = None
        else:
            self._awaited.setdefault(wanted, {})[row] = at

    def _note(self, word: str) -> None:
        name = name_of(word)
        if name in WRAPPED_PROGRAMS and self._seen.isdisjoint(HOUSES):
            self._seen, self._options = set(self._late), {}
            self._here.clear()
            self._awaited.clear()
        elif name in _ROWS and name not in self._seen:
            self._seen.add(name)
            self._learn(name)
        for row in (_PLACES_OF_WORD if name == word else _PLACES).get(name, ()):
            if not row.beside or row.beside in self._late:
                self._enter(row, 1)
        self._is_change = self._is_change or changes_password(self._previous, word)
        self._is_other = self._is_other or name in OTHER_PROGRAMS
        self._at += 1
        is_scheme = word.lower() in AUTHORIZATION_SCHEMES and _BARE_HEADER.fullmatch(self._previous)
        self._previous = self._previous if is_scheme else word

    def _learn(self, name: str) -> None:
        """Add the options that hold a secret now that `name` was there; of two rows the first one counts."""
        for rank, row in _ROWS[name]:
            is_about = not self._seen.isdisjoint(row.programs)
            if not is_about or (row.subcommands and self._seen.isdisjoint(row.subcommands)):
                continue
            for option in row.options:
                known = self._options.get(option)
                if known is None or rank < known[0]:
                    self._options[option] = (rank, row)

    def _redact_inside(self, word: str) -> str:
        key = KEY.match(word)
        is_assignment = key and self._previous not in SCRIPT_OPTIONS and is_secret_name(key[1])
        is_script = _SPACE.search(word) is not None and self._previous not in MESSAGE_OPTIONS
        if is_assignment or not is_script or self._depth >= _MAX_SCRIPT_DEPTH:
            return redact_assignments(word) if "=" in word else word
        head, options = options_behind_name(word)
        words = iter(_redact_words(_WORD.findall(options), self._depth + 1))
        return head + _WORD.sub(lambda _: next(words), options)
