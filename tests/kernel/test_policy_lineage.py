"""Rules with `lineage`: what has the executable in its chain is allowed, and nothing that only looks so."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from exporter.events import Acted, ProcessKey, Verdict
from exporter.policy.compile import Compiled, compile_policy
from exporter.procfs import started_ns
from tests.unit.policy.files import rules

from .direct import KernelSide, kernel_side
from .lab import NETWORKS, PORT, RUN_LIMIT_S, V4, Lab, Network

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from .conftest import Programs

pytestmark = pytest.mark.kernel

TIMEOUT = ["timeout", "60"]
"""An executable of the system that runs what follows; COMMAND is then in its chain."""
ALLOWED, DENIED, WOULD_DENY = (Verdict.ALLOW, 1), (Verdict.DENY, 0), (Verdict.AUDIT, 0)


@pytest.fixture(scope="module")
def kernel() -> Iterator[KernelSide]:
    with kernel_side() as side:
        yield side


@pytest.fixture
def tool(tmp_path: Path) -> Path:
    """An executable that is only root's to change, and of no directory of the system's."""
    return Path(shutil.copy2("/usr/bin/env", tmp_path / "tool"))


def policy(*lineage: str | Path, network: Network = V4, mode: str = "enforce") -> Compiled:
    """`evil` is allowed to what has all of `lineage` in its chain."""
    named = ", ".join(map(str, lineage))
    allow = f'{{host: "{network.evil}", protocol: any, lineage: [{named}]}}'
    return compile_policy(rules(allow=allow, more=f"mode: {mode}\n"))


def outcome(
    kernel: KernelSide, lab: Lab, command: Sequence[str], compiled: Compiled
) -> tuple[str, set[tuple[Verdict, int]]]:
    """What COMMAND says, as a job under a policy, and how all acts of the job were decided."""
    with kernel.beginning(lab, command, compiled) as (child, _):
        stdout, stderr = child.communicate("\n", timeout=RUN_LIMIT_S)
    assert stderr == ""
    acts = [event for event in kernel.drain() if isinstance(event, Acted) and event.scope == kernel.scope]
    return stdout, {(event.verdict, event.rule) for event in acts}


@NETWORKS
@pytest.mark.parametrize("verb", ["connect", "udp-sendto"])
def test_what_has_the_executable_in_its_chain_is_allowed(
    lab: Lab, programs: Programs, kernel: KernelSide, network: Network, verb: str
) -> None:
    act = programs.act(verb, network.evil, PORT)
    with lab.watch() as watch:
        told = outcome(kernel, lab, [*TIMEOUT, *act], policy("timeout", network=network))
    assert told == ("ok\n", {ALLOWED})
    assert watch.arrivals.packets_to(network.evil) > 0


@NETWORKS
@pytest.mark.parametrize("verb", ["connect", "udp-sendto"])
def test_what_lacks_it_is_denied(
    lab: Lab, programs: Programs, kernel: KernelSide, network: Network, verb: str
) -> None:
    act = programs.act(verb, network.evil, PORT)
    with lab.watch() as watch:
        told = outcome(kernel, lab, ["env", *act], policy("timeout", network=network))
    assert told == ("EPERM\n", {DENIED})
    assert watch.arrivals.packets_to(network.evil) == 0


@NETWORKS
def test_audit_tells_the_two_apart(
    lab: Lab, programs: Programs, kernel: KernelSide, network: Network
) -> None:
    act = programs.act("connect", network.evil, PORT)
    compiled = policy("timeout", network=network, mode="audit")
    assert outcome(kernel, lab, [*TIMEOUT, *act], compiled) == ("ok\n", {ALLOWED})
    assert outcome(kernel, lab, ["env", *act], compiled) == ("ok\n", {WOULD_DENY})


@pytest.mark.parametrize("shape", ["double-fork", "setsid-fork", "clone-parent", "vfork", "thread-exec"])
def test_what_it_leaves_to_others_still_has_it_in_its_chain(
    lab: Lab, programs: Programs, kernel: KernelSide, shape: str
) -> None:
    command = programs.lineage(shape, *programs.act("connect", V4.evil, PORT))
    assert outcome(kernel, lab, [*TIMEOUT, *command], policy("timeout")) == ("ok\n", {ALLOWED})
    assert outcome(kernel, lab, command, policy("timeout")) == ("EPERM\n", {DENIED})


def test_an_executable_before_it_in_the_same_process_is_in_the_chain(
    lab: Lab, programs: Programs, kernel: KernelSide
) -> None:
    command = ["env", "--", *programs.act("connect", V4.evil, PORT)]
    assert outcome(kernel, lab, command, policy("env")) == ("ok\n", {ALLOWED})


def test_a_sibling_is_not_in_the_chain(lab: Lab, programs: Programs, kernel: KernelSide) -> None:
    command = ["sh", "-c", 'timeout 60 true; "$@"', "sh", *programs.act("connect", V4.evil, PORT)]
    assert outcome(kernel, lab, command, policy("timeout")) == ("EPERM\n", {DENIED})


@pytest.mark.parametrize(
    ("lineage", "expected"),
    [
        (["timeout", "env"], "ok\n"),
        (["/usr/bin/timeout", "/usr/bin/env", "timeout"], "ok\n"),
        (["timeout", "/usr/bin/nice"], "EPERM\n"),
        (["no-such-program", "timeout"], "EPERM\n"),
        (["/usr/sbin/timeout"], "EPERM\n"),
    ],
)
def test_all_of_a_lineage_must_be_there(
    lab: Lab, programs: Programs, kernel: KernelSide, lineage: list[str], expected: str
) -> None:
    command = ["env", *TIMEOUT, *programs.act("connect", V4.evil, PORT)]
    stdout, _ = outcome(kernel, lab, command, policy(*lineage))
    assert stdout == expected


def test_a_deny_for_a_lineage_hits_that_alone(lab: Lab, programs: Programs, kernel: KernelSide) -> None:
    denied = f"{{host: {V4.evil}, lineage: [timeout]}}"
    compiled = compile_policy(rules(allow=f"any://{V4.evil}", deny=denied, more="mode: enforce\n"))
    act = programs.act("connect", V4.evil, PORT)
    assert outcome(kernel, lab, act, compiled) == ("ok\n", {ALLOWED})
    assert outcome(kernel, lab, [*TIMEOUT, *act], compiled) == ("EPERM\n", {(Verdict.DENY, 2)})


IN_MEMORY = """
import os, sys
file = os.memfd_create("timeout")
os.write(file, open("/usr/bin/timeout", "rb").read())
os.execve(file, ["timeout", *sys.argv[1:]], os.environ)
"""
BOUND = 'mount --bind "$1" /usr/bin/timeout && shift && exec /usr/bin/timeout "$@"'
OVERLAID = """
mkdir up work && cp "$1" up/timeout && shift &&
mount -t overlay -o lowerdir=/usr/bin,upperdir=up,workdir=work,userxattr none /usr/bin &&
exec /usr/bin/timeout "$@"
"""


@pytest.mark.parametrize("imitation", ["copy", "memory", "bind", "overlay", "name", "script"])
def test_what_only_looks_like_it_is_not_it(
    lab: Lab, programs: Programs, kernel: KernelSide, tmp_path: Path, imitation: str
) -> None:
    copy = Path(shutil.copy2("/usr/bin/timeout", tmp_path / "timeout"))
    script = tmp_path / "bin" / "timeout"
    script.parent.mkdir()
    script.write_text('#!/bin/sh\nshift\n"$@"\n')
    script.chmod(0o755)
    in_namespaces = ["unshare", "-Urm", "sh", "-ec"]
    commands = {
        "copy": [str(copy), "60"],
        "memory": [sys.executable, "-c", IN_MEMORY, "60"],
        "bind": [*in_namespaces, BOUND, "sh", str(copy), "60"],
        "overlay": ["env", "-C", str(tmp_path), *in_namespaces, OVERLAID, "sh", str(copy), "60"],
        "name": ["bash", "-c", 'exec -a /usr/bin/timeout "$@"', "bash", "env"],
        "script": [str(script), "60"],
    }
    command = [*commands[imitation], *programs.act("connect", V4.evil, PORT)]
    with lab.watch() as watch:
        told = outcome(kernel, lab, command, policy("timeout", "/usr/bin/timeout"))
    assert told == ("EPERM\n", {DENIED})
    assert watch.arrivals.packets_to(V4.evil) == 0


@pytest.mark.parametrize("way", ["symbolic", "hard", "bind", "descriptor"])
def test_the_file_itself_counts_whatever_it_is_called(
    lab: Lab, programs: Programs, kernel: KernelSide, tool: Path, way: str
) -> None:
    other = tool.with_name("another")
    if way == "symbolic":
        other.symlink_to(tool)
    elif way == "hard":
        other.hardlink_to(tool)
    else:
        other.touch()
    bound = 'mount --bind "$1" "$2" && shift && exec "$@"'
    execute = "import os, sys; os.execve(os.open(sys.argv[1], os.O_PATH), sys.argv[1:], os.environ)"
    before = {
        "bind": ["unshare", "-Urm", "sh", "-ec", bound, "sh", str(tool), str(other)],
        "descriptor": [sys.executable, "-c", execute, str(tool)],
    }.get(way, [str(other)])
    command = [*before, *programs.act("connect", V4.evil, PORT)]
    assert outcome(kernel, lab, command, policy(tool)) == ("ok\n", {ALLOWED})


def rewrite(tool: Path) -> None:
    with tool.open("r+b") as file:
        file.write(file.read(4))


def replace(tool: Path) -> None:
    Path(shutil.copy2(tool, tool.with_name("new"))).rename(tool)


def put_back_in_time(tool: Path) -> None:
    before = tool.stat()
    rewrite(tool)
    os.utime(tool, ns=(before.st_atime_ns, before.st_mtime_ns))


def link(tool: Path) -> None:
    tool.with_name("linked").hardlink_to(tool)


@pytest.mark.parametrize("change", [rewrite, replace, put_back_in_time, link])
def test_an_executable_that_is_changed_counts_no_more_until_it_is_looked_at_again(
    lab: Lab, programs: Programs, kernel: KernelSide, tool: Path, change: object
) -> None:
    assert callable(change)
    command = [str(tool), *programs.act("connect", V4.evil, PORT)]
    compiled = policy(tool)
    assert outcome(kernel, lab, command, compiled)[0] == "ok\n"
    change(tool)
    assert outcome(kernel, lab, command, compiled) == ("EPERM\n", {DENIED}), (
        "also under the next job's policy"
    )
    kernel.tracer.executables.look_again()
    assert outcome(kernel, lab, command, compiled)[0] == "ok\n"


def test_another_policy_takes_nothing_from_what_a_process_has_in_its_chain(
    lab: Lab, programs: Programs, kernel: KernelSide
) -> None:
    """Its bits have other numbers there, and it comes while the job runs."""
    act = programs.act("udp-sendto", V4.evil, PORT)
    twice = ["timeout", "60", "sh", "-c", '"$@"; read -r _; "$@"', "sh", *act]
    others = "\n".join(f"{{host: 192.0.2.{n}, lineage: [{name}]}}" for n, name in enumerate(("nice", "env")))
    allow = f"{others}\n{{host: {V4.evil}, protocol: udp, ports: [{PORT}], lineage: [timeout]}}"
    next_policy = compile_policy(rules(allow=allow, more="mode: enforce\n"))
    first = f"{{host: {V4.evil}, protocol: udp, ports: [{PORT}], lineage: [timeout]}}"
    with kernel.beginning(lab, twice, compile_policy(rules(allow=first, more="mode: enforce\n"))) as (
        child,
        _,
    ):
        assert child.stdin is not None
        assert child.stdout is not None
        child.stdin.write("\n")
        child.stdin.flush()
        assert child.stdout.readline() == "ok\n"
        assert next_policy.executables["timeout"] == 2
        kernel.tracer.govern(kernel.scope, next_policy)
        assert child.communicate("\n", timeout=RUN_LIMIT_S)[0] == "ok\n"


def test_who_ran_before_it_was_followed_has_what_its_chain_runs(
    lab: Lab, programs: Programs, kernel: KernelSide
) -> None:
    shell = ["sh", "-c", 'echo $$; read -r _; "$@"', "sh", *programs.act("connect", V4.evil, PORT)]
    pipe = subprocess.PIPE
    command = lab.command([*TIMEOUT, *shell])
    with subprocess.Popen(command, stdin=pipe, stdout=pipe, text=True, start_new_session=True) as child:
        assert child.stdin is not None
        assert child.stdout is not None
        pid, scope = int(child.stdout.readline()), 1 << 20
        started = started_ns(pid)
        assert started is not None
        kernel.tracer.govern(scope, policy("timeout"))
        assert kernel.tracer.executables.held_by([pid]) == 0
        held = kernel.tracer.executables.held_by([child.pid, pid])
        timeout = kernel.tracer.executables.mask(["timeout"])
        assert held & timeout == timeout
        kernel.tracer.follow(ProcessKey(pid, started), scope, held)
        assert child.communicate("\n", timeout=RUN_LIMIT_S)[0] == "ok\n"
