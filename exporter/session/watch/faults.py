"""Keep a watch going when a part of it fails: without the watch, no further job would be held."""

from __future__ import annotations

import traceback
from collections.abc import Callable

from exporter.common.errors import CiEgressError
from exporter.common.limits import limit_hint

_TOLD_MAX = 16
_GOES_ON = "the watch goes on, and what is denied stays denied"


class Faults:
    """A guard around the parts of a watch: it reports each kind of fault once, and lets the watch go on."""

    def __init__(self, tell: Callable[[str, str], object]) -> None:
        """Report faults to `tell`, which gets a line for people and the traceback."""
        self._tell = tell
        self._told: set[tuple[object, ...]] = set()

    def stand(self, part: Callable[[], object]) -> None:
        """Call `part`; report an exception that it raises instead of passing it on."""
        try:
            part()
        except Exception as error:  # noqa: BLE001 - a job may have brought about any of them
            self._met(error)

    def _met(self, error: Exception) -> None:
        """Report `error`, unless one of its kind was reported before, or `_TOLD_MAX` kinds were."""
        kind = (type(error), getattr(error, "errno", None), getattr(error, "what", None))
        if kind in self._told or len(self._told) >= _TOLD_MAX:
            return
        self._told.add(kind)
        said = f"{told_of(error)}; {_GOES_ON}"
        hint = error.hint if isinstance(error, CiEgressError) else limit_hint(said)
        self._tell(f"{said}; {hint or 'please report this'}", traceback.format_exc())


def told_of(error: Exception) -> str:
    """Return a line that describes `error`."""
    if isinstance(error, CiEgressError):
        return error.what
    if isinstance(error, MemoryError):
        return "Cannot allocate memory"
    return f"{type(error).__name__}: {error}"
