"""The jobs of a watch by scope: those that run, and those that are over and have left processes."""

from __future__ import annotations

from collections.abc import Iterator

from exporter.events import wire
from exporter.events.facts import ProcessKey

from .tenants import has_room, is_plenty
from .watched_job import JobKey, WatchedJob

JOBS_MAX = 1024
"""The most jobs that run at once: any process can execute with any variables, again and again.

Once half of them are there, each tenant has room for a few only (tenants.py), so that others find room, too.
"""
SCOPES_MAX = 2000
"""The most jobs that run, or have left running processes: the kernel's maps have room for this many."""
WITHOUT_ROOM = wire.SCOPE_WITHOUT_ROOM
"""The scope of jobs that find no room; it is held to a policy at least as strict as every job's.

Processes that may be of a job are held to the same policy, until their job is known.
"""


class JobsByScope:
    """A table of jobs; each has a scope from when it is found until none of its processes is left."""

    def __init__(self) -> None:
        """Begin with no job."""
        self.running: dict[int, WatchedJob] = {}
        """The jobs that run."""
        self.over: dict[int, WatchedJob] = {}
        """The jobs that are over, and whose processes still run."""
        self._scope_of: dict[JobKey, int] = {}
        self.next_scope = WITHOUT_ROOM + 1
        """The scope of the next job."""

    def of(self, scope: int) -> WatchedJob | None:
        """Return the job of `scope`; None without one."""
        return self.running.get(scope) or self.over.get(scope)

    def scope_of(self, key: JobKey) -> int | None:
        """Return the scope of the job of `key`; None without one."""
        return self._scope_of.get(key)

    def is_running(self, key: JobKey) -> bool:
        """Whether the job of `key` is there and runs."""
        return self._scope_of.get(key) in self.running

    def with_ids_of(self, key: JobKey) -> Iterator[WatchedJob]:
        """Yield the jobs that have the ids of `key`, whatever identity they claim."""
        for each, scope in self._scope_of.items():
            if each.ids == key.ids and (watched := self.of(scope)):
                yield watched

    def has_room(self, tenant: ProcessKey | None, *, is_new: bool) -> bool:
        """Whether `tenant` may have another running job; with `is_new`, also another scope."""
        if not has_room(self.running.values(), JOBS_MAX, tenant):
            return False
        return not is_new or has_room(self._all(), SCOPES_MAX, tenant)

    def is_plenty(self) -> bool:
        """Whether each tenant may have another job, since little of the room is taken."""
        return is_plenty(self.running.values(), JOBS_MAX) and is_plenty(self._all(), SCOPES_MAX)

    def _all(self) -> list[WatchedJob]:
        return [*self.running.values(), *self.over.values()]

    def reserve(self, scope: int) -> None:
        """Give `scope` to no further job."""
        self.next_scope = max(self.next_scope, scope + 1)

    def begin(self, scope: int, watched: WatchedJob) -> None:
        """Note that a job runs, perhaps one that was over."""
        self.reserve(scope)
        self.over.pop(scope, None)
        self._scope_of[watched.key] = scope
        self.running[scope] = watched

    def leave(self, scope: int, watched: WatchedJob) -> None:
        """Note that a job is over, and has left processes."""
        self._scope_of[watched.key] = scope
        self.over[scope] = watched

    def forget(self, watched: WatchedJob) -> None:
        """Forget a job that is neither in `running` nor in `over` any more."""
        del self._scope_of[watched.key]
