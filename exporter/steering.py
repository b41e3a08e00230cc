"""What others do to an instance while its exporter runs: turn enforcement on or off, or detach it."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import TYPE_CHECKING

from exporter.clock import boot_ns
from exporter.events import Switched
from exporter.kernel.registry import JobMode, Registered
from exporter.procfs import user_name

if TYPE_CHECKING:
    from exporter.kernel.tracer import Tracer

DETACHED, POLICY = "detached", "policy"
"""`egress.tamper.kind` of what wasn't done by `ci-egress enforce` or `stop`."""
_LOOK_S = 1.0


class Steering:
    """Looks what mode each job is in, by the kernel's maps, and whether the programs are attached."""

    def __init__(
        self,
        tracer: Tracer,
        handle: Callable[[Switched], object],
        say: Callable[[str], object],
        tampered: Callable[[str, str], object],
    ) -> None:
        """`handle` gets changes of what is in force, `say` a line for people on each.

        `tampered` gets the kind and a line where it was none of ci-egress's own commands.
        """
        self._tracer = tracer
        self._handle = handle
        self._say = say
        self._tampered = tampered
        self._modes: dict[int, JobMode] = {}
        self._is_attached = True
        self._looked_s = time.monotonic()

    def begin(self, scope: int) -> None:
        """The job of `scope` is registered, and governed if it has a policy; again when that changes."""
        self._modes[scope] = self._tracer.mode(scope)

    def end(self, scope: int) -> None:
        """It is over."""
        self._modes.pop(scope, None)

    def look(self) -> None:
        """See what changed. Cheap: a lookup for each job, and once a second a look at the programs."""
        if not self._is_attached:
            return
        for scope, before in list(self._modes.items()):
            mode = self._tracer.mode(scope)
            if mode is not before:
                self._modes[scope] = mode
                self._turned(scope, mode)
        if time.monotonic() - self._looked_s >= _LOOK_S:
            self._looked_s = time.monotonic()
            self._is_attached = self._tracer.is_attached()
            if not self._is_attached:
                self._detached()

    def _turned(self, scope: int, mode: JobMode) -> None:
        job = self._tracer.registered(scope)
        name = job.label if job else "a job"
        self._handle(Switched(boot_ns(), scope, mode is JobMode.ENFORCE))
        told = {
            JobMode.ENFORCE: f"enforcement turned on for {name}",
            JobMode.AUDIT: f"enforcement turned off for {name}",
        }.get(mode, f"{name} is held to no policy any more")
        if job is not None and mode is not JobMode.NONE and job.switched is mode:
            self._say(f"{told} by {user_name(job.switched_by)}")
        else:
            self._tampered(POLICY, f"{told}, and not by `ci-egress enforce`")

    def _detached(self) -> None:
        for scope, mode in self._modes.items():
            if mode is JobMode.ENFORCE:
                self._handle(Switched(boot_ns(), scope, is_enforcing=False))
        told = "the programs were detached: from now on nothing is traced, nor denied"
        who = self._who_stopped()
        if who is not None:
            self._say(f"{told}; {user_name(who.switched_by)} called `ci-egress stop`")
        else:
            self._tampered(DETACHED, f"{told}; it was not `ci-egress stop`")

    def _who_stopped(self) -> Registered | None:
        jobs = (self._tracer.registered(scope) for scope in self._modes)
        return next((job for job in jobs if job is not None and job.switched is JobMode.STOPPED), None)
