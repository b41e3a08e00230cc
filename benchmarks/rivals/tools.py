"""The tools that are compared: how each is had, started and ended. Each is set up as its own pages say."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple, Protocol

from benchmarks.rivals import acts
from benchmarks.rivals.packages import MissingError, Packages
from benchmarks.rivals.place import INTERFACE, Place
from benchmarks.rivals.processes import daemon, first_line, printed, says, undo
from exporter import __version__

CARGOWALL = "CARGOWALL"
"""The variable with the path of CargoWall's program, which no package index has."""
_EVERYWHERE = "0.0.0.0/0"
_POLICY = f'version: 1\nmode: enforce\nallow: ["any://{_EVERYWHERE}", "any://[::/0]"]\n'
_CARGOWALL_POLICY = '{"defaultAction": "deny", "rules": [%s]}'
_ALL = f'{{"type": "cidr", "value": "{_EVERYWHERE}", "action": "allow"}}'
_STRONGEST = (
    *("--step-attribution", "--container-attribution", "--cgroup-enforce", "--dns-query-filtering"),
    f"--runner-worker-pid={os.getpid()}",
)
_SCRIPT = Path(__file__).with_name("connects.bt")
_BUFFER_PAGES = 4096
"""The size of bpftrace's buffer for each processor. By default it has 64 pages, and an exec takes four."""
_BACKLOG = 65536
"""The number of audit records that may wait for auditd."""
_AUDITED = ("connect", "sendto", "execve")
_AUDITD = """\
log_file = {folder}/audit.log
log_format = RAW
flush = NONE
max_log_file = 4096
max_log_file_action = IGNORE
space_left = 2
space_left_action = IGNORE
admin_space_left = 1
admin_space_left_action = IGNORE
disk_full_action = IGNORE
disk_error_action = IGNORE
plugin_dir = {folder}/plugins
"""


class Watched(NamedTuple):
    """A tool that watches."""

    pid: int | None
    """The tool's process; None if the load's own is it."""
    prefix: Sequence[str] = ()
    """The command that the load has to be started by."""


class Watch(Protocol):
    """A function that starts a tool, which then writes into `folder`, and ends it."""

    def __call__(self, place: Place, folder: Path, *, is_outside: bool) -> AbstractContextManager[Watched]:
        """Watch the near network; with `is_outside`, this process's own. Raises BenchmarkError."""


@dataclass(frozen=True)
class Tool:
    """A column of the table."""

    name: str
    version: Callable[[], str]
    """Return its version; raise MissingError."""
    watch: Watch
    recorded: Callable[[Path], Iterator[acts.Act]]
    """Read what it wrote into the folder."""
    omits: Sequence[str] = ()
    """What it doesn't record by design: `send`, `argv`."""


def tools(packages: Packages) -> Sequence[Tool]:
    """Return all, ci-egress first; those that the distribution has come from `packages`."""
    audit, all_allowed = _cargowall("", "--audit-mode"), _cargowall(_ALL, *_STRONGEST)
    return (
        Tool("ci-egress", _own_version, _ci_egress(), acts.of_ci_egress),
        Tool("ci-egress, a policy", _own_version, _ci_egress(_POLICY), acts.of_ci_egress),
        Tool("CargoWall, audit", _cargowall_version, audit, acts.of_cargowall, ("argv",)),
        Tool("CargoWall, strongest", _cargowall_version, all_allowed, acts.of_cargowall, ("argv", "send")),
        Tool("bpftrace", _packaged(packages, "bpftrace"), _bpftrace, acts.of_bpftrace),
        Tool("auditd", _auditd_version(packages), _auditd, acts.of_auditd),
        Tool("strace", _packaged(packages, "strace"), _strace, acts.of_strace),
    )


def _ci_egress(policy: str = "") -> Watch:
    @contextmanager
    def watch(place: Place, folder: Path, *, is_outside: bool) -> Iterator[Watched]:  # noqa: ARG001 - the host
        options = []
        if policy:
            file = place.shop.folder / "everything.yaml"
            file.write_text(policy)
            options = [f"--policy={file}"]
        command = [sys.executable, "-m", "exporter", "watch", "--json-log", f"--otlp-dir={folder}", *options]
        with daemon(command, folder, says(folder / "messages", "watching"), place.shop.environment) as pid:
            yield Watched(pid)

    return watch


def _own_version() -> str:
    return __version__


def _cargowall(rule: str, *options: str) -> Watch:
    """Return a watch with that rule, or none.

    CargoWall records each connect, but a datagram only if no rule allows it (`handle_ipv4` in its
    bpf/tcbpf.c). Nothing on loopback is recorded.
    """

    @contextmanager
    def watch(place: Place, folder: Path, *, is_outside: bool) -> Iterator[Watched]:
        (folder / "config.json").write_text(_CARGOWALL_POLICY % rule)
        ready = folder / "ready"
        files = {
            "config": "config.json",
            "audit-log": "audit.json",
            "ready-file": "ready",
            "failure-file": "failed",
        }
        command = [
            *_mounted("cgroup2", "/sys/fs/cgroup"),
            *(os.environ[CARGOWALL], "start", *(f"--{name}={folder / file}" for name, file in files.items())),
            *(f"--dns-upstream={_nameserver() if is_outside else '127.0.0.9'}:53", *options),
        ]
        if not is_outside:
            command.append(f"--interface={INTERFACE}")
            command = place.near_command(command)
        # It looks for cgroups where systemd mounts them.
        with daemon(["unshare", "--mount", *command], folder, ready.exists) as pid:
            yield Watched(pid)

    return watch


def _mounted(kind: str, place: str) -> Sequence[str]:
    """Return the beginning of a command that mounts a file system first."""
    return ("sh", "-euc", f'mount -t {kind} none {place}; exec "$0" "$@"')


def _nameserver() -> str:
    lines = map(str.split, Path("/etc/resolv.conf").read_text().splitlines())
    return next((words[1] for words in lines if words[:1] == ["nameserver"]), "127.0.0.53")


def _cargowall_version() -> str:
    if not (program := os.environ.get(CARGOWALL)):
        raise MissingError(
            f"no package index has it: build it by `go build .`, and give its path in ${CARGOWALL}"
        )
    return first_line(program, "--version")


@contextmanager
def _bpftrace(place: Place, folder: Path, *, is_outside: bool) -> Iterator[Watched]:  # noqa: ARG001 - the host
    out = folder / "acts"
    # It looks for tracepoints where systemd mounts tracefs.
    mounted = _mounted("tracefs", "/sys/kernel/tracing")
    command = ["unshare", "--mount", *mounted, "bpftrace", "-B", "line", "-o", str(out), str(_SCRIPT)]
    environment = os.environ | {"BPFTRACE_PERF_RB_PAGES": str(_BUFFER_PAGES)}
    with daemon(command, folder, lambda: _has_seen_an_exec(out), environment) as pid:
        yield Watched(pid)


def _has_seen_an_exec(out: Path) -> bool:
    """Run a program, and tell whether bpftrace has recorded one: it prints nothing on an idle machine."""
    printed("true")
    return says(out, "exec ")()


@contextmanager
def _auditd(place: Place, folder: Path, *, is_outside: bool) -> Iterator[Watched]:  # noqa: ARG001 - the host
    (folder / "plugins").mkdir()
    (folder / "auditd.conf").write_text(_AUDITD.format(folder=folder))
    command = ["auditd", "-n", "-c", str(folder)]
    calls = [option for call in _AUDITED for option in ("-S", call)]
    with (
        _audit_settings_kept(),
        daemon(command, folder, (folder / "audit.log").exists) as pid,
        ExitStack() as rules,
    ):
        rules.callback(undo, "auditctl", "-D")
        printed("auditctl", "-b", str(_BACKLOG))
        printed("auditctl", "-a", "always,exit", "-F", "arch=b64", *calls)
        yield Watched(pid)


@contextmanager
def _audit_settings_kept() -> Iterator[None]:
    """Restore the kernel's settings at the end of the block: auditd switches auditing on, and leaves it on.

    Raises MissingError where the machine is audited already, which the end of ours would end, too.
    """
    before = _audit_status()
    if before["enabled"] == "2":
        raise MissingError("this machine's audit rules are locked until it is started again")
    if before["pid"] != "0" or first_line("auditctl", "-l") != "No rules":
        raise MissingError("this machine is audited already, and that would have to be switched off")
    with ExitStack() as settings:
        settings.callback(undo, "auditctl", "-e", before["enabled"])
        settings.callback(undo, "auditctl", "-b", before["backlog_limit"])
        yield


def _audit_status() -> Mapping[str, str]:
    lines = printed("auditctl", "-s").splitlines()
    return {name: value for name, _, value in (line.partition(" ") for line in lines)}


def _auditd_version(packages: Packages) -> Callable[[], str]:
    def version() -> str:
        if os.uname().machine != "x86_64":
            raise MissingError("its log has the numbers of system calls, which are read for x86-64 alone")
        packages.need("auditd", "auditctl")
        return first_line("auditctl", "-v")

    return version


@contextmanager
def _strace(place: Place, folder: Path, *, is_outside: bool) -> Iterator[Watched]:  # noqa: ARG001 - the load
    calls = "trace=connect,sendto,execve,fork,vfork,clone,clone3"
    yield Watched(None, ("strace", "-f", "-q", "-s", "64", "-e", calls, "-o", str(folder / "calls")))


def _packaged(packages: Packages, name: str) -> Callable[[], str]:
    """Return a function for the version of a program that is in the package of its own name."""

    def version() -> str:
        packages.need(name, name)
        return first_line(name, "--version")

    return version
