"""Check that the host has all that tracing needs, before a start. `run` and `doctor` share the messages."""

from __future__ import annotations

import os
import platform
import re
import resource
import shlex
import struct
import sys
from collections.abc import Callable, Collection, Sequence
from pathlib import Path

from exporter.common.errors import KernelError

from .libc import LIBC, checked

CAP_SETGID = 6
CAP_SETUID = 7

_LINUX_CAPABILITY_VERSION_3 = 0x20080522
_NO_CAPABILITIES = bytes(2 * 3 * 4)
"""Two halves (capabilities 0-31, 32-63) of effective, permitted and inheritable, 32 bits each."""


def has_effective(*capabilities: int) -> bool:
    """Whether this process may use all of the given capabilities (bit numbers of <linux/capability.h>)."""
    wanted = sum(1 << capability for capability in capabilities)
    return _effective() & wanted == wanted


def drop_all() -> None:
    """Give up every capability of this thread, those a later exec would inherit included; raises OSError.

    An empty inheritable set empties the ambient one too. The bounding set stays, so that sudo still works.
    """
    header = struct.pack("=Ii", _LINUX_CAPABILITY_VERSION_3, 0)
    checked(LIBC.capset(header, _NO_CAPABILITIES))


def _effective() -> int:
    lines = Path("/proc/self/status").read_text(encoding="ascii", errors="replace").splitlines()
    return next(int(line.split()[1], 16) for line in lines if line.startswith("CapEff:"))


OLDEST_KERNEL = (5, 15)
MACHINES = ("x86_64", "aarch64")
"""The architectures that the programs are for, as uname(2) has them."""
DESCRIPTORS = 186
"""The fewest descriptors that a start with a policy needs, for maps, programs and links."""
PID_NAMESPACE = Path("/proc/self/ns/pid")
TIME_NAMESPACE = Path("/proc/self/ns/time")

# PROC_PID_INIT_INO, include/linux/proc_ns.h (include/uapi/linux/nsfs.h since 6.18)
_HOST_PID_NAMESPACE = "pid:[4026531836]"

# PROC_TIME_INIT_INO, from the same files
_HOST_TIME_NAMESPACE = "time:[4026531834]"

# include/uapi/linux/capability.h
CAP_SYS_ADMIN = 21
TRACING_CAPABILITIES = {"CAP_BPF": 39, "CAP_PERFMON": 38, "CAP_NET_ADMIN": 12}
_REAL_TIME = (6, 12)
_FOLDERS_OF_ROOT = frozenset({"/usr/sbin", "/usr/bin", "/sbin", "/bin"})
"""The folders where sudo looks for programs by default, on every distribution."""
_NET_ADMIN_REPLACED = (6, 9)
"""The first kernel that takes CAP_SYS_ADMIN in place of CAP_NET_ADMIN where a program that sees packets is
attached. Every kernel takes it in place of the other capabilities."""


def require_host() -> None:
    """Raise KernelError for the first thing that this host lacks."""
    supported_kernel()
    supported_machine()
    host_pid_namespace()
    host_time_namespace()
    tracing_capabilities()
    open_files()


def open_files() -> None:
    """Raise KernelError when this process may not open as many files as any start does.

    Threads reach the limit at any moment, and then what else goes wrong, an import for instance, doesn't say
    that it was the limit.
    """
    limit, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    if limit < DESCRIPTORS:
        what = f"cannot start: {limit} files can be open at a time, and a start needs {DESCRIPTORS}"
        raise KernelError(what, hint="raise the limit of open files (ulimit -n)")


def supported_kernel(release: str | None = None, version: str | None = None) -> str:
    """Return the kernel's release (`uname -r`). Raises KernelError when it is too old.

    `version` is `uname -v`. On a real-time kernel before Linux 6.12, a ring takes a lock that may sleep, and
    a fork is reported where nothing may.
    """
    release = release or platform.release()
    if version_of(release) < OLDEST_KERNEL:
        oldest = ".".join(map(str, OLDEST_KERNEL))
        raise KernelError(f"Linux {release} is too old", hint=f"upgrade to Linux {oldest} or newer")
    if version_of(release) < _REAL_TIME and "PREEMPT_RT" in (version or platform.version()):
        newest = ".".join(map(str, _REAL_TIME))
        hint = f"use a real-time kernel of Linux {newest} or newer, or one that isn't"
        raise KernelError(f"Linux {release} is a real-time kernel", hint=hint)
    return release


def version_of(release: str) -> tuple[int, ...]:
    """Return the first two numbers of a kernel's release; an empty tuple when `release` isn't one."""
    found = re.match(r"(\d+)\.(\d+)", release)
    return tuple(map(int, found.groups())) if found else ()


def supported_machine(machine: str | None = None) -> str:
    """Return the machine (`uname -m`). Raises KernelError when its system call numbers aren't known here."""
    machine = machine or platform.machine()
    if machine not in MACHINES:
        raise KernelError(f"{machine} is not supported", hint=f"use one of {', '.join(MACHINES)}")
    return machine


def host_pid_namespace(link: Path = PID_NAMESPACE) -> str:
    """Return the pid namespace. Raises KernelError unless it is the host's, whose pids the kernel reports."""
    try:
        namespace = str(link.readlink())
    except OSError as error:
        raise KernelError(f"cannot read {link}: {error.strerror}", hint="mount -t proc proc /proc") from None
    if namespace != _HOST_PID_NAMESPACE:
        raise KernelError(
            f"ci-egress sees other pids than the kernel: it is in the pid namespace {namespace}",
            hint="run it on the host, or in a container with --pid=host",
        )
    return namespace


def host_time_namespace(link: Path = TIME_NAMESPACE) -> str:
    """Return the time namespace. Raises KernelError unless it is the host's, whose clock the kernel uses."""
    try:
        namespace = str(link.readlink())
    except OSError:
        return "there are none"
    if namespace != _HOST_TIME_NAMESPACE:
        raise KernelError(
            f"ci-egress has another clock than the kernel: it is in the time namespace {namespace}",
            hint="run it outside of `unshare --time`",
        )
    return namespace


def tracing_capabilities(has: Callable[[int], bool] = has_effective, release: str | None = None) -> str:
    """Return the capabilities that tracing uses. Raises KernelError that names the missing ones."""
    is_newer = version_of(release or platform.release()) >= _NET_ADMIN_REPLACED
    replaced = {name for name in TRACING_CAPABILITIES if is_newer or name != "CAP_NET_ADMIN"}
    missing = [name for name, number in TRACING_CAPABILITIES.items() if not has(number)]
    if has(CAP_SYS_ADMIN):
        missing = [name for name in missing if name not in replaced]
    if missing:
        these, are = ", ".join(missing), "is" if len(missing) == 1 else "are"
        raise KernelError(
            f"{these} {are} missing",
            hint=f"run it as root{_how()}, or with {these}{_instead(missing, replaced)}",
        )
    return ", ".join(TRACING_CAPABILITIES)


def _instead(missing: Sequence[str], replaced: Collection[str]) -> str:
    """Return which capabilities are enough in place of those that are `missing`."""
    rest = [name for name in missing if name not in replaced]
    if len(rest) == len(missing):
        return ""
    if not rest:
        return " (CAP_SYS_ADMIN alone is enough instead)"
    return f" (CAP_SYS_ADMIN and {', '.join(rest)} are enough instead)"


def _how() -> str:
    return " with all capabilities" if os.geteuid() == 0 else f": `{as_root()} …`"


def as_root(started_as: str | None = None) -> str:
    """Return the command that calls this ci-egress by sudo, with the variables by which a CI job is known.

    The command has the program's path where root wouldn't find it by name: with the caller's PATH, root might
    run a program that a job put there. `started_as` is the name or path that this process was called by;
    without it, argv[0].
    """
    path = Path(started_as or sys.argv[0])
    is_named = path.name == "ci-egress" and str(path.parent) not in _FOLDERS_OF_ROOT
    return f"sudo -E {shlex.quote(str(path.absolute())) if is_named else 'ci-egress'}"
