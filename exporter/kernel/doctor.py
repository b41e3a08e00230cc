"""Check whether `run` would work here: each need is checked by the function that `run` itself calls."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from exporter.common.errors import KernelError
from exporter.common.net.name_service import NameService, dns_obstacles
from exporter.kernel import requirements
from exporter.kernel.compilation.btf import VMLINUX, kernel_offsets
from exporter.kernel.compilation.compiling import Compiler, prebuilt, system_compiler
from exporter.kernel.elsewhere import remaining_way
from exporter.kernel.frames.interface_egress import AttachMethod, way_here
from exporter.kernel.instances.control import Instance, described, instances, leftovers
from exporter.kernel.instances.loading import loading
from exporter.kernel.mounts import MOUNT_BPFFS, ON_THE_HOST, cgroup2_root, find_bpffs, sees_all_cgroups
from exporter.kernel.programs.hooks import PROGRAMS
from exporter.kernel.programs.kinds import Continuation, Reserve, SecurityHook, Tracepoint, asks_programs

_ENDING = {signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGQUIT}

SECURITY_HOOKS = tuple(each for each in PROGRAMS if isinstance(each, SecurityHook))
_REFUSED_AT = {
    "socket_sendmsg": "sends of packet sockets",
    "socket_create": "packet, XDP and vsock sockets",
    "unix_stream_connect": "connects to Unix sockets by other names than a rule's",
    "ptrace_access_check": "the memory of other processes, of which not all that reach for it are reported",
}
"""What an enforced job is refused at each; at the others, acts are only seen."""

_ON_EVERY_CALL = tuple(
    each for each in PROGRAMS if isinstance(each, Tracepoint) and each.tracepoint in ("sys_enter", "sys_exit")
)
_NO_TRACING = "no tracing: "

Need = Callable[[], str]
"""A function that returns what was found; it raises KernelError when something is missing."""

CGROUP_NAMESPACE = Path("/proc/self/ns/cgroup")

# PROC_CGROUP_INIT_INO, include/linux/proc_ns.h
_HOST_CGROUP_NAMESPACE = "cgroup:[4026531835]"

# include/uapi/linux/capability.h: number, and what is lost without it
_HELPFUL = {
    "CAP_SYS_PTRACE": (19, "no working directories of processes that this user may not trace"),
    "CAP_DAC_READ_SEARCH": (2, "no working directories below directories closed to this user"),
    "CAP_KILL": (5, "no signals passed on to a COMMAND that runs as another user"),
    "CAP_SYS_NICE": (23, "records may get lost of a job that starts thousands of processes"),
    "CAP_SETUID": (7, "no COMMAND as another user (--user, sudo)"),
    "CAP_SETGID": (6, "no COMMAND as another user (--user, sudo)"),
}


@dataclass(frozen=True)
class Check:
    """The result of one check."""

    name: str
    ok: bool
    found: str = ""
    """What was found; empty when the check failed."""
    lost: str = ""
    """What doesn't work while the check fails, and why; empty when it is ok."""
    fix: str = ""
    """How to make the check succeed; empty when it is ok."""
    detail: str = ""
    """The output of a tool about the failure, such as the compiler's."""
    is_loss: bool = True
    """Whether something isn't reported while the check fails."""
    is_required: bool = True
    """Whether `run` can't work without it; otherwise `run` works, and only reports less."""
    is_checked: bool = True
    """Whether this user could look; what nobody looked at isn't ok."""


def examine(tell: Callable[[str], object] = lambda _: None, *, compiles: bool = False) -> list[Check]:
    """Run every check, in the order in which one would fix things. Never raises when something is missing.

    `tell` gets a line about connections that may send from now on what a dead instance dropped. With
    `compiles`, the programs are compiled here, though the package has them.
    """
    checks = [
        *_required(),
        programs(system_compiler(), compiles=compiles),
        *helpful_capabilities(),
        host_cgroup_namespace(),
        name_resolution(),
    ]
    checks += [*frames(), *security_hooks(), *left_over()]
    return [*checks, probe(compiles=compiles, tell=tell) if would_work(checks) else _not_tried()]


def would_work(checks: list[Check]) -> bool:
    """Whether `run` would trace: nothing required is missing."""
    return all(check.ok for check in checks if check.is_required)


def instead(checks: list[Check]) -> str:
    """Return how jobs can be traced all the same where `run` can't; empty where the fixes are enough."""
    return remaining_way([check.name for check in checks if check.is_required and not check.ok])


def _required() -> Iterator[Check]:
    yield require("kernel", requirements.supported_kernel)
    yield require("machine", requirements.supported_machine)
    yield require("pid namespace", requirements.host_pid_namespace)
    yield require("time namespace", requirements.host_time_namespace)
    yield require("BTF", _btf)
    yield require("cgroup v2", lambda: str(cgroup2_root()))
    yield require("bpffs", bpffs)
    yield require("capabilities", requirements.tracing_capabilities)


def require(name: str, need: Need) -> Check:
    """Run the check called `name`: it is ok when `need` returns."""
    try:
        return Check(name, ok=True, found=need())
    except KernelError as error:
        return Check(
            name, ok=False, lost=f"{_NO_TRACING}{error.what}", fix=error.hint or "", detail=error.detail
        )


def programs(
    compiler: Compiler,
    *,
    compiles: bool = False,
    ahead: Callable[[str], object | None] = prebuilt,
) -> Check:
    """Check whether the programs came with the package; else, or if `compiles`, whether they can be made."""

    def found() -> str:
        machine = os.uname().machine
        if not compiles and ahead(machine) is not None:
            return f"compiled ahead, for {machine}"
        return f"compiled at each start, by BCC {compiler.version()}"

    return require("programs", found)


def _btf() -> str:
    return f"{VMLINUX}, {len(kernel_offsets())} offsets"


def bpffs(found: Callable[[], Path | None] = find_bpffs) -> str:
    """Return where bpffs is, or that `run` can mount it. Raises KernelError when it can't."""
    path = found()
    if path is None and not requirements.has_effective(requirements.CAP_SYS_ADMIN):
        raise KernelError("bpffs is not mounted", hint=f"as root: {' '.join(MOUNT_BPFFS)}")
    return str(path) if path else "not mounted, `run` mounts it"


def helpful_capabilities() -> Iterator[Check]:
    """Check the capabilities without which `run` works, but reports less."""
    for name, (number, lost) in _HELPFUL.items():
        if requirements.has_effective(number):
            yield Check(name, ok=True, found="there", is_required=False)
        else:
            yield Check(
                name,
                ok=False,
                lost=lost,
                fix=f"root with all capabilities has it, or give it {name}",
                is_required=False,
            )


def host_cgroup_namespace(
    link: Path = CGROUP_NAMESPACE, sees_all: Callable[[], bool] = sees_all_cgroups
) -> Check:
    """Check whether cgroup v2 is seen from the host's root, or only from a container's part of it."""
    name = "cgroup namespace"
    try:
        namespace = str(link.readlink())
    except OSError as error:
        namespace = f"{link}: {error.strerror}"
    if namespace == _HOST_CGROUP_NAMESPACE or _is_so(sees_all):
        return Check(name, ok=True, found=namespace, is_required=False)
    return Check(
        name,
        ok=False,
        lost=f"no trace of a process that leaves this container's cgroup ({namespace})",
        fix=ON_THE_HOST,
        is_required=False,
    )


def _is_so(question: Callable[[], bool]) -> bool:
    try:
        return question()
    except KernelError:
        return False


def name_resolution(of: NameService = NameService()) -> Check:  # noqa: B008 - immutable
    """Check whether names are resolved by DNS packets of the process that asks."""
    obstacles = dns_obstacles(of)
    if not obstacles:
        return Check("name resolution", ok=True, found="by DNS packets", is_required=False)
    lost, fix = ("; ".join(part) for part in zip(*obstacles, strict=True))
    return Check("name resolution", ok=False, lost=lost, fix=fix, is_required=False)


def frames(way: Callable[[], AttachMethod] = way_here) -> Iterator[Check]:
    """Check how frames of packet sockets can be stopped under an enforced policy."""
    name = "packet sockets"
    if not requirements.has_effective(requirements.TRACING_CAPABILITIES["CAP_NET_ADMIN"]):
        yield _unchecked(name)
        return
    found = way()
    if found is not AttachMethod.NONE:
        yield Check(name, ok=True, found=f"their frames can be stopped, by {found.value}", is_required=False)
        return
    yield Check(
        name,
        ok=False,
        lost="no stopping of their frames while a policy is enforced: the kernel has neither tcx nor clsact",
        fix="use Linux 6.6 or newer, or one with the modules sch_ingress and cls_bpf",
        is_required=False,
        is_loss=False,
    )


def security_hooks(hooks: Sequence[SecurityHook] = SECURITY_HOOKS) -> Iterator[Check]:
    """Check which of the kernel's questions to its security modules programs may answer."""
    name = "security hooks"
    if not requirements.has_effective(requirements.TRACING_CAPABILITIES["CAP_BPF"]):
        yield _unchecked(name)
        return
    lost = [
        _REFUSED_AT[hook.hook] for hook in hooks if hook.hook in _REFUSED_AT and not hook.takes_programs()
    ]
    if not lost:
        how = "among the security modules" if asks_programs() else "in front of the security modules"
        yield Check(name, ok=True, found=f"programs answer at {len(hooks)}, {how}", is_required=False)
        return
    yield Check(
        name,
        ok=False,
        lost=f"an enforced policy doesn't refuse {'; '.join(lost)}",
        fix="use a kernel with CONFIG_BPF_LSM or CONFIG_DYNAMIC_FTRACE_WITH_DIRECT_CALLS",
        is_required=False,
    )


def left_over(listed: Callable[[], list[Instance]] = instances) -> Iterator[Check]:
    """Look for instances that killed exporters left attached."""
    name = "leftovers"
    try:
        found = leftovers(listed())
    except KernelError:
        yield _unchecked(name)
        return
    if not found:
        yield Check(name, ok=True, found="no instance of a dead exporter", is_required=False)
    for instance in found:
        yield Check(
            f"instance {instance.name}",
            ok=False,
            lost=described(instance),
            fix=f"ci-egress stop {instance.name}",
            is_required=False,
            is_loss=False,
        )


def _unchecked(name: str) -> Check:
    """Return the result of a check for which this user lacks the right."""
    return Check(
        name,
        ok=False,
        lost="this user may not look",
        fix="run doctor as root",
        is_required=False,
        is_loss=False,
        is_checked=False,
    )


def probe(*, compiles: bool = False, tell: Callable[[str], object] = lambda _: None) -> Check:
    """Load and attach every program, as `run` does, and detach them again; `tell` is as for `examine`."""
    return require("tracing", partial(_trace, compiles=compiles, tell=tell))


def _trace(*, compiles: bool, tell: Callable[[str], object]) -> str:
    # An interrupt waits until everything is detached again.
    mask = signal.pthread_sigmask(signal.SIG_BLOCK, _ENDING)
    try:
        with loading(compiles=compiles, tell=tell) as kernel:
            attached = kernel.ready().attached
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, mask)
    number = len(attached) + sum(isinstance(each, Continuation | Reserve) for each in PROGRAMS)
    passed = [each.tracepoint for each in _ON_EVERY_CALL if each.name in attached]
    cost = f"; with them, each system call of the machine passes {' and '.join(passed)}" if passed else ""
    return f"{number} programs were attached, and detached again{cost}"


def _not_tried() -> Check:
    lost = "no tracing: the programs were not loaded, since what they need is missing"
    return Check("tracing", ok=False, lost=lost, fix="mend what is missing above")
