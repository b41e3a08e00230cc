"""Instances as other processes see them, by their pins, whether or not their exporters are alive."""

from __future__ import annotations

import math
import os
import re
import shutil
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, nullcontext, suppress
from dataclasses import dataclass
from fnmatch import fnmatchcase
from functools import partial
from pathlib import Path

from exporter.common.errors import KernelError
from exporter.events import wire
from exporter.kernel.bpf import detach_link
from exporter.kernel.locks import changing_modes, is_locked
from exporter.kernel.maps.modes import mode_entry, mode_of, put_mode
from exporter.kernel.maps.registry import JobMode, Registered, Registry
from exporter.kernel.mounts import find_bpffs
from exporter.kernel.pins import (
    UNREADABLE,
    has_links,
    home_of,
    layout_of,
    live_processes,
    map_number,
    may_be_needed,
    open_map,
    remove,
)
from exporter.kernel.programs.hooks import PROGRAMS
from exporter.kernel.programs.kinds import FOR_POLICIES, Hook
from exporter.kernel.programs.links import Link, attached_links, attached_pins
from exporter.kernel.requirements import tracing_capabilities

from .stop_frames import Gap, stopping

_HOME = re.compile(r"ci-egress(-[0-9]+)?")
_HOOKS = frozenset(program.name for program in PROGRAMS if isinstance(program, Hook))
"""The names of the programs without which some acts aren't seen, and so not denied."""
LOCKED_S = 1.0
"""The most seconds spent on stopping frames while others wait for the lock: these give up after a few."""


@dataclass(frozen=True)
class Instance:
    """An instance, as its exporter pinned it."""

    directory: Path
    is_alive: bool
    """Whether its exporter is running."""
    layout: int
    """The edition of bpf/egress.h that it was made with; 0: it never began to run; -1: it can't be read."""

    @property
    def name(self) -> str:
        """The instance's id."""
        return self.directory.name

    @property
    def is_of_this_version(self) -> bool:
        """Whether this version can read its maps."""
        return self.layout == wire.LAYOUT


@dataclass(frozen=True)
class InstanceJob:
    """A job of an instance, and its state in the kernel."""

    instance: Instance
    scope: int
    job: Registered
    mode: JobMode
    """The mode in the instance's maps; NONE: the job has no policy."""
    is_attached: bool
    """Whether all programs are attached: otherwise some acts go unseen."""

    @property
    def effective(self) -> JobMode:
        """The mode in effect; NONE: acts that the policy denies are neither stopped nor reported."""
        return self.mode if self.is_attached else JobMode.NONE


def instances() -> list[Instance]:
    """List this user's instances, or for root all users'. Raises KernelError without the right to look."""
    tracing_capabilities()
    bpffs = find_bpffs()
    if bpffs is None:
        return []
    found = []
    for home in _homes(bpffs):
        with suppress(FileNotFoundError):  # it may go meanwhile
            found += [path for path in sorted(home.iterdir()) if path.is_dir() and not path.is_symlink()]
    return [instance for path in found for instance in _looked_at(path)]


def _homes(bpffs: Path) -> list[Path]:
    if os.geteuid() != 0:
        return [home_of(os.geteuid(), bpffs)]
    homes = (path for path in sorted(bpffs.iterdir()) if _HOME.fullmatch(path.name))
    return [home for home in homes if home.is_dir() and not home.is_symlink()]


def _looked_at(directory: Path) -> Iterator[Instance]:
    layout = -1
    with suppress(*UNREADABLE):
        layout = layout_of(directory)
    with suppress(FileNotFoundError):
        yield Instance(directory, is_locked(directory), layout)


def matching(found: list[Instance], name: str) -> Instance:
    """Return the instance called `name`, or the only one whose id begins with `name`.

    Raises KernelError when there isn't exactly one.
    """
    matches = [instance for instance in found if instance.name.startswith(name)]
    exact = [instance for instance in matches if instance.name == name]
    if len(exact or matches) == 1:
        return (exact or matches)[0]
    hint = "`ci-egress enforce status` lists them"
    if not matches:
        raise NoMatchError(f"there is no instance {name!r}", hint=hint)
    raise NoMatchError(f"{name!r} begins the id of {len(matches)} instances", hint=hint)


class NoMatchError(KernelError):
    """A request that matches no instance or no job, or several instances."""

    exit_status = 1


def jobs_of(instance: Instance) -> list[InstanceJob]:
    """List the jobs of `instance`, which is of this version. Raises KernelError when it can't be read."""
    directory = instance.directory
    try:
        with open_map(directory, "jobs") as jobs, open_map(directory, "modes") as modes:
            needed = _HOOKS if any(True for _ in modes) else _HOOKS - FOR_POLICIES
            is_attached = _attached(directory) >= needed
            return [
                InstanceJob(instance, scope, job, mode_of(modes, scope), is_attached)
                for scope, job in Registry(jobs, partial(changing_modes, directory))
            ]
    except FileNotFoundError:
        return []  # it begins, or ends
    except UNREADABLE as error:
        raise KernelError(f"instance {instance.name} can't be read: {error}", hint=_hint(instance)) from None


def _attached(directory: Path) -> frozenset[str]:
    """Return the names of the attached programs, by pinned links, else by links that the exporter holds."""
    if has_links(directory):
        return attached_pins(directory)
    return frozenset(link.program for link in _unpinned(directory))


def _unpinned(directory: Path) -> Iterator[Link]:
    """Iterate over the attached links of programs that use maps of this instance."""
    numbers = {map_number(pin) for pin in directory.glob("map_*")}
    return (link for link in attached_links() if link.maps & numbers)


def _hint(instance: Instance) -> str:
    return f"`ci-egress stop {instance.name}` removes it"


def selected(job: InstanceJob, pattern: str | None) -> bool:
    """Whether `pattern` (as in a shell) matches the job's pipeline, or pipeline/task; None matches all."""
    return pattern is None or any(fnmatchcase(name, pattern) for name in job.job.names)


def switch(job: InstanceJob, mode: JobMode, *, by: int) -> list[Gap]:
    """Enforce the policy of `job`, or only report acts against it, from the next act on.

    This writes one entry of a map, however many rules there are. An exporter that writes a mode meanwhile
    waits, and keeps the choice of user `by`. Returns the gaps through which frames still leave.

    Raises KernelError if the job has no policy, without changing anything; and if not all of the instance's
    programs are attached, after changing the mode all the same.
    """
    directory = job.instance.directory
    name = f"{job.job.label} (instance {job.instance.name})"
    try:
        with _stopping(job, mode) as stop_frames:
            stop_frames(math.inf)  # before the lock is taken: it may take a while, and others would wait
            with (
                open_map(directory, "jobs") as jobs,
                open_map(directory, "modes") as modes,
                changing_modes(directory),
            ):
                before = mode_entry(modes, job.scope)
                if before is None:
                    what = f"{name} has no policy: there is nothing to {_verb(mode)}"
                    raise KernelError(what, hint="start it with --policy FILE or --allowed-endpoints TEXT")
                gaps = stop_frames(LOCKED_S)  # before enforcement: then no frame leaves, whoever is killed
                # The choice before the mode: whoever sees the mode knows who chose it.
                Registry(jobs, partial(changing_modes, directory)).switch(job.scope, mode, by)
                put_mode(modes, job.scope, before._replace(is_enforcing=int(mode is JobMode.ENFORCE)))
    except UNREADABLE as error:
        raise KernelError(f"{name} can't be changed: {error}", hint=_hint(job.instance)) from None
    if not job.is_attached:
        what = f"{name}: its programs are not all attached, so not all that it does is looked at"
        raise KernelError(what, hint=f"{_hint(job.instance)}; then start it again")
    return gaps


def _stopping(job: InstanceJob, mode: JobMode) -> AbstractContextManager[Callable[[float], list[Gap]]]:
    """Return a context with a function that stops the job's frames, if its denials outlive the exporter.

    In that case the exporter may be gone already, or end now, so this process has to stop the frames. In any
    other case the function does nothing.
    """
    directory = job.instance.directory
    if mode is not JobMode.ENFORCE or job.mode is JobMode.NONE or not has_links(directory):
        return nullcontext(lambda _: [])
    return stopping(directory, job.scope)


def _verb(mode: JobMode) -> str:
    return "enforce" if mode is JobMode.ENFORCE else "turn off"


def stop(instance: Instance, *, by: int, tell: Callable[[str], object] = lambda _: None) -> bool:
    """Detach and unpin everything of `instance`; return whether it is gone. A living exporter notices.

    `tell` gets a line about connections that may send from now on what the instance dropped.
    """
    directory = instance.directory
    if directory.lstat().st_uid != os.geteuid():
        # Its owner may have put links there to files of others.
        shutil.rmtree(directory, ignore_errors=True)
        return not directory.exists()
    if instance.is_of_this_version:
        with suppress(*UNREADABLE, KernelError):
            _tell_of_the_end(directory, by)
    if not has_links(directory):
        with suppress(*UNREADABLE):
            _detach_unpinned(directory)
    return remove(directory, tell)


def _tell_of_the_end(directory: Path, by: int) -> None:
    with open_map(directory, "jobs") as jobs, changing_modes(directory):
        registry = Registry(jobs, partial(changing_modes, directory))
        for scope, _ in registry:
            registry.switch(scope, JobMode.STOPPED, by)


def _detach_unpinned(directory: Path) -> None:
    for link in _unpinned(directory):
        detach_link(link.descriptor)


def leftovers(found: list[Instance]) -> list[Instance]:
    """Return the instances in `found` that go on although their exporters are dead, or that can't be read."""
    return [instance for instance in found if not instance.is_alive and may_be_needed(instance.directory)]


def described(instance: Instance) -> str:
    """Describe a leftover, and its effect on jobs."""
    name = f"instance {instance.name}"
    if not instance.is_of_this_version:
        return f"{name} of another version of ci-egress is still attached, without its exporter"
    with suppress(*UNREADABLE, KernelError):
        enforcing = [job for job in jobs_of(instance) if job.effective is JobMode.ENFORCE]
        # Each label once: with --host-enforce the job of `run` has a second row, for its containers.
        jobs = dict.fromkeys(job.job.label for job in enforcing if job.job.is_job)
        whom = f" for {', '.join(jobs)}" if jobs else ""
        does = f"denies{whom}" if enforcing else "is attached"
        live = len(live_processes(instance.directory))
        of_it = f"{live} of its processes run" if live > 1 else f"{live or 'none'} of its processes runs"
        return f"{name} still {does}, although its exporter is gone; {of_it}"
    return f"{name} is left over and can't be read"
