"""Pin directories: one for each instance, locked by its exporter, removed by a later one if need be."""

from __future__ import annotations

import os
import secrets
import shutil
import stat
import struct
from collections.abc import Callable, Iterator
from contextlib import ExitStack, closing, contextmanager, suppress
from pathlib import Path

from exporter.common.descriptors import closing_fd
from exporter.common.errors import KernelError
from exporter.events import wire
from exporter.kernel.bpf import U32, Map, detach_link, open_pinned
from exporter.kernel.frames.clsact import FILTERS, filter_name, remove_filters
from exporter.kernel.locks import MODES, lock, locked
from exporter.kernel.maps.candidates import all_of, known_scope
from exporter.kernel.maps.modes import enforced
from exporter.kernel.maps.procs import latest_procs

from .dropped_connections import MAPS, abort

UNREADABLE = (OSError, ValueError, struct.error)
"""The errors of an instance that can't be read."""
_LEFT = "left"
"""The name of a directory among the pins, by which an instance stays although its exporter ended."""
_REMOVALS = 3
"""The number of times that removing an instance is tried."""


@contextmanager
def new_instance(bpffs: Path, tell: Callable[[str], object] = lambda _: None) -> Iterator[Path]:
    """Make a pin directory under `bpffs`; at the end, remove it with everything pinned in it.

    First removes dead instances. `tell` is as for `remove`. Raises KernelError when bpffs can't be written.
    """
    home = home_of(os.geteuid(), bpffs)
    try:
        _claim(home)
        with locked(home):
            sweep(home, tell)
            directory = home / secrets.token_hex(8)
            directory.mkdir(mode=0o700)
            (directory / MODES).mkdir(mode=0o700)
            held = lock(directory, blocking=True)  # somebody may be checking right now whether it is free
    except OSError as error:
        raise KernelError(
            f"cannot use {home}: {error.strerror}",
            hint="see that bpffs is mounted read-write, and that this user may write to it",
        ) from None
    assert held is not None  # noqa: S101 - nobody else has a reason to remove it yet
    try:
        yield directory
    finally:
        if not (directory / _LEFT).exists():
            remove(directory, tell)
        os.close(held)


def leave(directory: Path) -> None:
    """Mark the instance to stay when its exporter ends: its policies are in force until it is stopped."""
    (directory / _LEFT).mkdir(exist_ok=True)


def home_of(uid: int, bpffs: Path) -> Path:
    """Return the directory of a user's instances: each user has one, since nobody may look into another's."""
    return bpffs / ("ci-egress" if uid == 0 else f"ci-egress-{uid}")


def _claim(home: Path) -> None:
    """Make `home` unless it is there. Raises KernelError when it is somebody else's.

    Where anyone may write to bpffs, somebody could have made it first, to hold its lock or to move instances
    away. Root moves such a directory aside; another user can't.
    """
    with suppress(FileExistsError):
        home.mkdir(mode=0o700)
    if is_ours_alone(home):
        return
    owner = home.lstat().st_uid
    try:
        home.rename(home.with_name(f"{home.name}.not-ours.{secrets.token_hex(4)}"))
    except PermissionError:
        raise KernelError(
            f"{home} is not ours alone: it belongs to user {owner}",
            hint=f"as root: mv {home} {home}.not-ours",
        ) from None
    home.mkdir(mode=0o700)


def is_ours_alone(home: Path) -> bool:
    """Whether nobody but this user can have put anything into `home`. Raises OSError."""
    status = home.lstat()
    is_own = stat.S_ISDIR(status.st_mode) and status.st_uid == os.geteuid()
    return is_own and not status.st_mode & (stat.S_IWGRP | stat.S_IWOTH)


def sweep(home: Path, tell: Callable[[str], object] = lambda _: None) -> list[Path]:
    """Remove the instances that nobody needs any more, and return them.

    An instance is removed when its lock is free, it doesn't enforce, and no process of its jobs is alive.
    `tell` is as for `remove`.
    """
    swept = []
    for directory in sorted(path for path in home.iterdir() if path.is_dir()):
        held = lock(directory, blocking=False)
        if held is None:
            continue
        with closing_fd(held):
            if _try_remove(directory, tell):
                swept.append(directory)
    return swept


def _try_remove(directory: Path, tell: Callable[[str], object]) -> bool:
    """Remove the instance if nobody needs it; return whether it is gone.

    An instance that can't be read or removed stays, and hinders nobody. A killed exporter may be at its last
    call, another version may have pinned other objects, and anything may have been put there by hand.
    """
    try:
        return not is_needed(directory) and remove(directory, tell)
    except UNREADABLE:
        return False


def is_needed(directory: Path) -> bool:
    """Whether the instance of a dead exporter still does anything for somebody.

    Without pinned links it does nothing: its start was interrupted, or its programs ended with its exporter.
    Raises one of UNREADABLE when it can't be read.
    """
    if not has_links(directory):
        return False
    is_strange = layout_of(directory) not in (0, wire.LAYOUT)
    return is_strange or is_enforcing(directory) or bool(live_processes(directory))


def may_be_needed(directory: Path) -> bool:
    """Whether `is_needed` is true; True, too, for an instance that can't be read."""
    try:
        return is_needed(directory)
    except UNREADABLE:
        return True


def has_links(directory: Path) -> bool:
    """Whether the instance has pinned links, by which its programs go on without the exporter."""
    return any(directory.glob("link_*"))


def layout_of(directory: Path) -> int:
    """Return the instance's edition of bpf/egress.h; 0: it never began. Raises OSError."""
    with suppress(FileNotFoundError):
        with open_map(directory, "config") as config:
            value = config.lookup(U32.pack(0)) or b""
        return int(U32.unpack_from(value)[0])
    return 0


def config_of(directory: Path) -> wire.ConfigValue:
    """Return the settings of an instance of this version, as its exporter wrote them. Raises OSError."""
    with open_map(directory, "config") as config:
        return wire.ConfigValue.unpack(config.lookup(U32.pack(0)) or b"")


def is_of_watch(directory: Path) -> bool:
    """Whether a watch made the instance, which is of this version. Raises OSError.

    Only a watch follows the whole host and reads environments.
    """
    config = config_of(directory)
    return bool(config.is_host and config.reads_environments)


def is_enforcing(directory: Path) -> bool:
    """Whether some policy of the instance is enforced; False for one whose start was interrupted."""
    with suppress(FileNotFoundError), open_map(directory, "modes") as modes:
        return bool(enforced(modes))
    return False


def live_processes(directory: Path) -> list[int]:
    """Return the pids of jobs' processes that are still there; attached programs keep the table up to date.

    Processes that belong to no job don't count: on a host that is followed as a whole there always are some.
    """
    with suppress(FileNotFoundError):
        with open_map(directory, "candidates") as candidates, open_map(directory, "procs") as procs:
            found = all_of(candidates)
            pids = [pid for pid, proc in latest_procs(procs, procs) if known_scope(proc, found.get)]
        return [pid for pid in pids if Path(f"/proc/{pid}").exists()]
    return []


def remove(directory: Path, tell: Callable[[str], object] = lambda _: None) -> bool:
    """Detach and unpin everything in `directory`, and remove the directory itself; return whether it is gone.

    `tell` gets a line about connections that may send from now on what the instance dropped.

    Links of cgroups and interfaces are detached one by one: if they were only unpinned, the kernel would
    detach them at some later time. Pins that other processes make meanwhile, as for a new interface, are
    removed, too. If they go on making pins, the directory stays, and the next start sweeps it.
    """
    for line in _abort_dropped(directory):
        tell(line)
    if (directory / FILTERS).exists():
        with suppress(OSError), open_map(directory, "modes") as modes:
            modes.clear()  # without modes, a filter that isn't found drops nothing
        remove_filters(filter_name(directory.name))
    for _ in range(_REMOVALS):
        for pin in sorted(directory.glob("link_*")):
            with suppress(OSError), closing_fd(open_pinned(pin)) as link:
                detach_link(link)
        with suppress(OSError):
            shutil.rmtree(directory)
        if not directory.exists():
            return True
    return False


def _abort_dropped(directory: Path) -> Iterator[str]:
    """Abort the connections of which packets were dropped; yield a line about each kind that may go on."""
    try:
        with ExitStack() as stack:
            left = abort(*(stack.enter_context(open_map(directory, name)) for name in MAPS))
    except FileNotFoundError:
        return  # the instance is another version's, or never began
    except OSError as error:
        yield f"connections couldn't be looked for, and may send what the policy dropped: {error.strerror}"
        return
    yield from left.lines()


def map_number(pin: Path) -> int:
    """Return the kernel's id of a pinned map. Raises OSError."""
    with closing(Map(pin)) as opened:
        return opened.number


@contextmanager
def open_map(directory: Path, name: str) -> Iterator[Map]:
    """Open the map `name` of an instance. Raises OSError: FileNotFoundError where there is none."""
    with closing(Map(directory / f"map_{name}")) as opened:
        yield opened
