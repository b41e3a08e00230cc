"""A store of acts under way, by key, with a limit: no scope takes the room of another."""

from __future__ import annotations

from collections.abc import Container, Hashable, Iterator
from typing import TYPE_CHECKING, Generic, TypeVar

if TYPE_CHECKING:
    from .flows import Flow

Key = TypeVar("Key", bound=Hashable)


class HeldFlows(Generic[Key]):
    """A store of acts with a limit; beyond it, the scope with the most acts gives up its oldest one.

    `len` may be called from any thread.
    """

    def __init__(self, most: int) -> None:
        """Create an empty store for at most `most` acts."""
        self._most = most
        self._scopes: dict[Key, int] = {}
        self._by_scope: dict[int, dict[Key, Flow]] = {}

    def __len__(self) -> int:
        return len(self._scopes)

    def __contains__(self, key: Key) -> bool:
        return key in self._scopes

    def get(self, key: Key) -> Flow | None:
        """Return the act held under `key`."""
        scope = self._scopes.get(key)
        return None if scope is None else self._by_scope[scope][key]

    def put(self, key: Key, flow: Flow) -> Iterator[Flow]:
        """Hold `flow` under `key`, which must be free; yield the act that is given up for it, if any."""
        scope = flow.attempt.scope
        own = self._by_scope.setdefault(scope, {})
        self._scopes[key] = scope
        own[key] = flow
        if len(self._scopes) > self._most:
            has_most = len(own) > self._most // len(self._by_scope)
            fullest = own if has_most else max(self._by_scope.values(), key=len)
            yield self._remove(next(iter(fullest)))

    def pop(self, key: Key) -> Flow | None:
        """Return the act held under `key`, and hold it no longer."""
        return self._remove(key) if key in self._scopes else None

    def take(self, scopes: Container[int]) -> Iterator[Flow]:
        """Give up all acts whose programs are of `scopes` by now, the oldest first."""
        for key, scope in list(self._scopes.items()):
            if self._by_scope[scope][key].attempt.scope in scopes:
                yield self._remove(key)

    def _remove(self, key: Key) -> Flow:
        scope = self._scopes.pop(key)
        own = self._by_scope[scope]
        flow = own.pop(key)
        if not own:
            del self._by_scope[scope]
        return flow
