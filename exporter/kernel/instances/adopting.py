"""Taking over the instance of a killed watch, whose programs have gone on running unchanged."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Collection, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

from exporter.common.errors import KernelError
from exporter.events import wire
from exporter.kernel.bpf import U32
from exporter.kernel.compilation.sources import edition
from exporter.kernel.locks import MODES, lock, locked
from exporter.kernel.maps.windows import Coverage
from exporter.kernel.mounts import ensure_bpffs
from exporter.kernel.pins import (
    UNREADABLE,
    config_of,
    has_links,
    home_of,
    is_of_watch,
    is_ours_alone,
    layout_of,
    map_number,
    may_be_needed,
    open_map,
    sweep,
)
from exporter.kernel.programs.hooks import PROGRAMS
from exporter.kernel.programs.kinds import FOR_POLICIES, Hook, Reserve, Tracepoint, is_needed
from exporter.kernel.programs.links import pinned_links
from exporter.kernel.requirements import require_host
from exporter.kernel.tracer import PINNED_MAPS, Tracer

_NAME_BYTES = 15
"""The most bytes of a program's name that the kernel keeps."""
_RESERVES = frozenset(f"prog_{each.name}" for each in PROGRAMS if isinstance(each, Reserve))
_PATIENCE_S, _PAUSE_S = 1.0, 0.01


class Adopted:
    """An instance that this process has taken over."""

    def __init__(self, directory: Path, stack: ExitStack) -> None:
        """Closing `stack` gives up the lock on the instance, and closes what `loaded` opened."""
        self._directory = directory
        self._stack = stack

    def loaded(self, coverage: Coverage) -> Tracer:
        """Open the instance's maps for a tracer; its programs have been running all the time.

        Raises KernelError.
        """
        assert coverage.is_host and coverage.reads_environments  # noqa: S101, PT018 - what watches follow
        try:
            return Tracer(self._directory, self._stack, coverage, is_adopted=True)
        except UNREADABLE as error:
            raise _unfit(self._directory, f"it can't be read: {error}") from None

    def attach(self) -> None:
        """Do nothing: the programs are attached already."""


@contextmanager
def adopting(*, has_policy: bool, tell: Callable[[str], object] = lambda _: None) -> Iterator[Adopted | None]:
    """Take over the instance of a killed watch; yields None where there is none.

    If this fails, or the caller fails later, the instance stays attached: only detaching its programs removes
    it. `tell` is as for `sweep`. Raises KernelError when a watch is still running, when several instances
    could be meant, or when the instance doesn't fit.
    """
    require_host()
    home = home_of(os.geteuid(), ensure_bpffs())
    with ExitStack() as stack:
        directory = None
        if home.exists() and is_ours_alone(home):  # else a start moves it aside
            with locked(home):
                directory = _take(home, stack)
                if directory is not None:
                    if flaw := _flaw(directory):
                        raise _unfit(directory, flaw)
                    _require_policy(directory, has_policy=has_policy)
                    _put_in_charge(directory)
                    sweep(home, tell)
        yield None if directory is None else Adopted(directory, stack)


def _take(home: Path, stack: ExitStack) -> Path | None:
    """Find the instance to adopt, and lock it until `stack` ends; None where there is none."""
    others = stack.enter_context(ExitStack())
    dead, living = dict[Path, int](), list[Path]()
    for directory in sorted(path for path in home.iterdir() if path.is_dir()):
        if not has_links(directory) or not _is_watchs(directory):
            continue
        held = _lock(directory)
        if held is not None:
            dead[directory] = held
            others.callback(os.close, held)
        elif layout_of(directory) == wire.LAYOUT:
            living.append(directory)
    if not dead and living:
        what = f"a watch runs already: instance {living[0].name}"
        raise KernelError(what, hint="end that one first; only what a killed watch left can be adopted")
    chosen = [each for each in dead if may_be_needed(each)] or [each for each in dead if not _flaw(each)][:1]
    if len(chosen) > 1:
        names = ", ".join(directory.name for directory in chosen)
        what = f"several watches were killed and left something that goes on: instances {names}"
        raise KernelError(
            what, hint="`ci-egress enforce status` tells what they do; stop all but one of them"
        )
    if not chosen:
        others.close()  # the next start sweeps them
        return None
    stack.callback(os.close, os.dup(dead[chosen[0]]))  # the duplicate holds the same lock
    others.close()
    return chosen[0]


def _is_watchs(directory: Path) -> bool:
    """Whether a watch made the instance, or may have: an instance of another version doesn't show it."""
    try:
        layout = layout_of(directory)
        if layout == wire.LAYOUT:
            return is_of_watch(directory)
    except UNREADABLE:
        return False
    return layout != 0


def _lock(directory: Path) -> int | None:
    """Return a descriptor that locks `directory`; None if its exporter still holds the lock after a second.

    A process that only checks whether the exporter is alive holds the lock for a moment.
    """
    deadline_s = time.monotonic() + _PATIENCE_S
    while (held := lock(directory, blocking=False)) is None and time.monotonic() < deadline_s:
        time.sleep(_PAUSE_S)
    return held


def _flaw(directory: Path) -> str:
    """Return why this version can't go on with the instance, "" if it can: its programs are all there."""
    try:
        if layout_of(directory) != wire.LAYOUT or config_of(directory).edition != edition():
            return "it is of another version of ci-egress"
        pins = {path.name for path in directory.iterdir()}
        wanted = {f"map_{name}" for name in PINNED_MAPS}
        if _is_for_policies(pins):
            wanted |= _RESERVES
        if missing := sorted(wanted - pins):
            return f"{missing[0]} isn't pinned any more"
        numbers = {map_number(directory / name) for name in pins if name.startswith("map_")}
        attached = {
            name
            for name, link in pinned_links(directory)
            if link.program == name[:_NAME_BYTES] and link.maps & numbers
        }
        needed = _linked(attached, has_policy=_is_for_policies(pins))
        if detached := [name for name in needed if name not in attached]:
            return f"{detached[0]} isn't attached any more"
    except UNREADABLE as error:
        return f"it can't be read: {error}"
    return ""


def _is_for_policies(pins: Collection[str]) -> bool:
    """Whether any program is pinned that is loaded only for policies."""
    return any(f"{kind}_{name}" in pins for name in FOR_POLICIES for kind in ("link", "prog"))


def _linked(attached: Collection[str], *, has_policy: bool) -> list[str]:
    """Return the names of the programs that an instance must have attached, where it has `attached`."""
    return [
        each.name
        for each in PROGRAMS
        if has_policy or each.name not in FOR_POLICIES
        if isinstance(each, Hook)
        or (isinstance(each, Tracepoint) and not each.is_optional and is_needed(each, attached))
    ]


def _require_policy(directory: Path, *, has_policy: bool) -> None:
    """Check that the instance holds jobs to policies if this process has one. Raises KernelError."""
    if has_policy and not _is_for_policies([path.name for path in directory.iterdir()]):
        what = f"instance {directory.name}, which a killed watch left, has no programs for a policy"
        hint = (
            f"`ci-egress stop {directory.name}` ends it; start again after it, or without --policy and "
            "--allowed-endpoints"
        )
        raise KernelError(what, hint=hint)
    with open_map(directory, "modes") as modes:
        if not has_policy and any(True for _ in modes):
            what = f"instance {directory.name}, which a killed watch left, holds jobs to a policy"
            hint = (
                f"give --policy FILE or --allowed-endpoints TEXT; `ci-egress stop {directory.name}` ends it"
            )
            raise KernelError(what, hint=hint)


def _put_in_charge(directory: Path) -> None:
    """Enter this process as the instance's exporter, which isn't traced."""
    (directory / MODES).mkdir(mode=0o700, exist_ok=True)  # somebody may have removed it
    with open_map(directory, "config") as config, open_map(directory, "procs") as procs:
        value = config_of(directory)._replace(self_pid=os.getpid())
        config.update(U32.pack(0), wire.CONFIG_VALUE.pack(*value))
        procs.delete(U32.pack(os.getpid()))


def _unfit(directory: Path, why: str) -> KernelError:
    what = f"instance {directory.name}, which a killed ci-egress left, can't be adopted: {why}"
    hint = (
        f"`ci-egress stop {directory.name}` ends it, and then what it denies is allowed; start again after it"
    )
    return KernelError(what, hint=hint)
