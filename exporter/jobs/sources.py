"""The small language of the table in `providers.py`: it says from which variables a job's field is read."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from typing import NamedTuple

from .text import clean_text

_VARIABLE = re.compile(r"\$([A-Z][A-Z0-9_]*)")


class Part(NamedTuple):
    """A piece of a variable's value."""

    variable: str
    pattern: str
    """A regular expression with one group, matched at the start of the cleaned value."""


Source = str | Part | tuple[str | Part, ...]
"""A template with `$VARIABLES`, a `Part`, or several of them: the first whose variables are set counts."""


Clean = Callable[[str], str | None]
"""A function that makes a variable's value usable; it returns None when nothing is left."""


def resolve(source: Source, environ: Mapping[str, str], clean: Clean = clean_text) -> str | None:
    """Return the cleaned value of `source` in `environ`. None: a variable that it needs is unset or empty."""
    if isinstance(source, Part):
        return _part(source, environ, clean)
    if isinstance(source, str):
        return _fill(source, environ, clean)
    return next((value for each in source if (value := resolve(each, environ, clean))), None)


def variables(source: Source) -> frozenset[str]:
    """Return the names of the variables that `source` reads."""
    if isinstance(source, Part):
        return frozenset({source.variable})
    if isinstance(source, str):
        return frozenset(_VARIABLE.findall(source))
    return frozenset[str]().union(*map(variables, source))


def _part(part: Part, environ: Mapping[str, str], clean: Clean) -> str | None:
    match = re.match(part.pattern, read(part.variable, environ, clean) or "")
    return clean(match[1]) if match else None


def _fill(template: str, environ: Mapping[str, str], clean: Clean) -> str | None:
    values = {name: read(name, environ, clean) for name in _VARIABLE.findall(template)}
    if not values or None in values.values():
        return None
    return clean(_VARIABLE.sub(lambda match: values[match[1]] or "", template))


def read(name: str, environ: Mapping[str, str], clean: Clean = clean_text) -> str | None:
    """Return the cleaned value of one variable. None: it is unset or empty."""
    return clean(environ.get(name, ""))
