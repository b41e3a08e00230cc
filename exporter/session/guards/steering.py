"""Notice that others steer an instance while its exporter runs: switch enforcement on or off, or stop it."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from exporter.common.clock import Rhythm, boot_ns
from exporter.events.facts import Switched
from exporter.kernel.maps.registry import JobMode
from exporter.pipeline.procfs import user_name

if TYPE_CHECKING:
    from exporter.kernel.tracer import Tracer

POLICY = "policy"
"""`egress.tamper.kind` of a mode changed without `ci-egress enforce`, or with it where it isn't allowed."""
STOPPED = "stopped"
"""`egress.tamper.kind` of a call of `ci-egress stop` where it isn't allowed."""
_LOOK_S = 1.0


class Steering:
    """A check of which mode each job is in, by the kernel's maps, and whether `ci-egress stop` was called."""

    def __init__(
        self,
        tracer: Tracer,
        handle: Callable[[Switched], object],
        say: Callable[[str], object],
        tampered: Callable[[str, str], object],
        *,
        ends_by_token: bool = False,
    ) -> None:
        """`handle` gets an event for each change of mode, and `say` a line about it.

        If no command of ci-egress made the change, `tampered` gets the kind and the line instead of `say`.
        With `ends_by_token`, a change by these commands is tampering, too: the machine is the job's, and the
        job may have had anybody call them.
        """
        self._tracer = tracer
        self._handle = handle
        self._say = say
        self._tampered = tampered
        self._ends_by_token = ends_by_token
        self._modes: dict[int, JobMode] = {}
        self._is_stopped = False
        self._rhythm = Rhythm(_LOOK_S)

    def begin(self, scope: int) -> None:
        """Note the mode of `scope`. Call it once its job is registered and its policy, if any, is in force.

        Call it again when the policy changes.
        """
        self._modes[scope] = self._tracer.mode(scope)

    def end(self, scope: int) -> None:
        """Forget `scope`, since its job is over."""
        self._modes.pop(scope, None)

    def look(self) -> None:
        """Report changes of mode, and a stop. Cheap: a lookup for each job, and once a second for a stop."""
        if self._is_stopped:
            return
        for scope, before in list(self._modes.items()):
            mode = self._tracer.mode(scope)
            if mode is not before:
                self._modes[scope] = mode
                self._turned(scope, mode)
        if self._rhythm.is_time():
            by = self._tracer.stopped_by()
            if by is not None:
                self._is_stopped = True
                self._stopped(by)

    def _turned(self, scope: int, mode: JobMode) -> None:
        self._tracer.frames.look()
        job = self._tracer.registered(scope)
        name = job.label if job else "a job"
        self._handle(Switched(boot_ns(), scope, mode is JobMode.ENFORCE))
        told = {
            JobMode.ENFORCE: f"enforcement turned on for {name}",
            JobMode.AUDIT: f"enforcement turned off for {name}",
        }.get(mode, f"{name} is held to no policy any more")
        if job is not None and mode is not JobMode.NONE and job.switched is mode:
            self._told(POLICY, f"{told} by {user_name(job.switched_by)}")
        else:
            self._tampered(POLICY, f"{told}, and not by `ci-egress enforce`")

    def _stopped(self, by: int) -> None:
        self._tracer.detach()  # `ci-egress stop` can't detach links that are held open here
        for scope, mode in self._modes.items():
            if mode is JobMode.ENFORCE:
                self._handle(Switched(boot_ns(), scope, is_enforcing=False))
        told = "the programs were detached: from now on nothing is traced, nor denied"
        self._told(STOPPED, f"{told}; {user_name(by)} called `ci-egress stop`")

    def _told(self, kind: str, told: str) -> None:
        if self._ends_by_token:
            self._tampered(kind, told)
        else:
            self._say(told)
