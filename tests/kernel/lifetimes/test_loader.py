"""The programs load with either compiler, with just the rights they need, or it is said what is missing."""

from __future__ import annotations

import json
import platform
import re
import subprocess
import sys
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from exporter.events.decode import Decoder
from exporter.events.facts import Act, Acted, Event, Execed, Exited, Flowed, Metered, ProcessKey
from exporter.kernel.compilation.btf import MEMBERS, VMLINUX, kernel_offsets
from exporter.kernel.compilation.uses import Uses
from exporter.kernel.instances.loading import attach, load, pin_maps
from exporter.kernel.maps.windows import Coverage
from exporter.kernel.mounts import ensure_bpffs
from exporter.kernel.pins import new_instance
from exporter.kernel.programs.hooks import PROGRAMS
from exporter.kernel.programs.objects import Place, ProgramType, load_program
from exporter.kernel.programs.verifier import VerifierError
from exporter.kernel.requirements import version_of
from exporter.kernel.tracer import PINNED_MAPS, Tracer
from exporter.pipeline.procfs import started_ns
from tests.kernel.compilers import CONTRACT, Installed, of_this_machine, of_trixie, with_only
from tests.kernel.lab import PORT, V4, V6, Lab
from tests.kernel.running_exporter import nothing_left
from tests.kernel.tracing import copy_of_the_program, environment, trace
from tests.turns import turn_left

if TYPE_CHECKING:
    from collections.abc import Sequence

    from tests.kernel.conftest import Programs

DEBOOTSTRAP_LIMIT_S = 600
ZERO = bytes.fromhex("b700000000000000")
READ_NOTHING = bytes.fromhex("bf900000000000009500000000000000")
"""r0 = 0; and r0 = r9, which nothing was written to, and the end."""


@pytest.fixture(scope="session")
def trixie() -> Installed:
    """The other Debian's."""
    with turn_left():
        return of_trixie()


@pytest.fixture(scope="session")
def system() -> Installed:
    """This machine's own."""
    return of_this_machine()


def events_of(tracer: Tracer, command: Sequence[str | bytes]) -> list[Event]:
    """Follow COMMAND from its first exec to its end; what the rings then hold of it.

    Connections that another instance on this host follows show there, too, by their cookies alone.
    """
    with subprocess.Popen(
        ["sh", "-c", 'echo ready; read line; exec "$@"', "sh", *command],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
    ) as held:
        assert held.stdout is not None
        assert held.stdout.readline() == b"ready\n"
        started = started_ns(held.pid)
        assert started is not None
        tracer.processes.follow(ProcessKey(held.pid, started), 1)
        held.communicate(b"go on\n")
    decoder, events = Decoder(), list[Event]()
    while tracer.drain(lambda data, at, n: events.extend(decoder.decode(data, at, n)), limit=1000).number:
        pass
    return [event for event in (*events, *decoder.flush()) if not isinstance(event, Flowed)]


def told(event: Event) -> object:
    """What of an event two runs have in common."""
    match event:
        case Execed():
            return event.exec_id, event.path, event.arguments, event.arguments_cut, event.scope
        case Acted():
            return event.act, event.protocol, event.peer, event.peer_port, event.uid, event.exec_id
        case Exited():
            return event.wait_status
        case _:
            return event


@pytest.mark.timeout(DEBOOTSTRAP_LIMIT_S)
@pytest.mark.parametrize("name", ["system", "trixie"])
def test_the_records_are_the_same_with_either_compiler(
    lab: Lab, programs: Programs, request: pytest.FixtureRequest, name: str
) -> None:
    installed: Installed = request.getfixturevalue(name)
    made = installed.compiled()
    assert made.compiler.startswith(installed.version)
    assert set(made.programs) == {program.name for program in PROGRAMS}
    act = programs.act("udp-sendmmsg", V4.peer, PORT, V4.evil, PORT, "--", "a" * 6000)
    with nothing_left(), new_instance(ensure_bpffs()) as pins, ExitStack() as stack:
        loaded = load(made.fitted(kernel_offsets() | Uses().numbers), PROGRAMS, stack)
        pin_maps(loaded, pins, PINNED_MAPS)
        attach(loaded, pins)
        events = events_of(Tracer(pins, stack, Coverage()), lab.command(act))
    sent = [(Act.SEND, 17, mapped(address), PORT, 0, 2) for address in (V4.peer, V4.evil)]
    nsenter = tuple(str(part) for part in lab.command(act))
    assert [told(event) for event in events if not isinstance(event, Metered)] == [
        (1, "/usr/bin/nsenter", nsenter, False, 1),
        (2, act[0], tuple(act), False, 1),
        *sent,
        0,
    ]
    metered = [event for event in events if isinstance(event, Metered)]
    assert [(event.bytes_sent, event.bytes_received) for event in metered] == [(7, 0), (7, 0)]


def mapped(ipv4: str) -> bytes:
    """As the kernel's records have it."""
    return bytes(10) + b"\xff\xff" + bytes(map(int, ipv4.split(".")))


@pytest.mark.everywhere(feature="refusal")
def test_a_kernel_that_is_too_old_is_refused_and_command_is_not_started(tmp_path: Path) -> None:
    """On one that isn't, both take it for what the personality says: Linux 2.6."""
    release = platform.release()
    under = ["setarch", "--uname-2.6"] if release_is_supported(release) else []
    marker = tmp_path / "started"
    seen = trace(None, ["touch", str(marker)], tmp_path / "otlp", under=under)
    assert (seen.status, seen.stdout, marker.exists()) == (91, "", False)
    doctor = subprocess.run(
        [*under, sys.executable, "-m", "exporter", "doctor", "--json"],
        capture_output=True,
        text=True,
        env=environment(),
        check=False,
    )
    checks = {check["name"]: check for check in json.loads(doctor.stdout)["checks"]}
    assert doctor.returncode == 91
    assert not checks["tracing"]["ok"]
    lost, fix = checks["kernel"]["lost"], checks["kernel"]["fix"]
    assert re.fullmatch(r"no tracing: Linux \S+ is too old", lost)
    assert fix == "upgrade to Linux 5.15 or newer"
    said = f"ci-egress: error: {lost.removeprefix('no tracing: ')}; {fix}"
    assert seen.stderr == f"{said}\n"


def release_is_supported(release: str) -> bool:
    """Whether a release has a number that README promises."""
    return tuple(map(int, release.split(".")[:2])) >= (5, 15)


def test_records_of_another_layout_than_the_programs_are_refused(tmp_path: Path) -> None:
    env = copy_of_the_program(tmp_path / "copy")
    header = tmp_path / "copy/bpf/egress.h"
    header.write_text(header.read_text().replace("\tu64 cookie;\n", "\tu64 cookie;\n\tu64 more;\n"))
    marker = tmp_path / "started"
    with nothing_left():
        seen = trace(None, ["touch", str(marker)], tmp_path / "otlp", "-v", env=env, cwd=tmp_path)
    assert (seen.status, marker.exists()) == (91, False)
    assert seen.stderr.startswith("ci-egress: error: cannot compile the programs: ")
    assert "run `make wire`" in seen.stderr


def test_the_offsets_are_those_that_a_compiler_finds(tmp_path: Path) -> None:
    header = subprocess.run(
        ["bpftool", "btf", "dump", "file", VMLINUX, "format", "c"], capture_output=True, check=True
    ).stdout
    (tmp_path / "vmlinux.h").write_bytes(header)
    expressions = [
        f"__builtin_offsetof(struct {owner}, {'.'.join(path)})" for owner, *path in MEMBERS.values()
    ]
    body = ",\n".join(expressions)
    (tmp_path / "offsets.c").write_text(f'#include "vmlinux.h"\nlong offsets[] = {{ {body} }};\n')
    # Compiled, not run: the kernel's types don't go together with the C library's.
    subprocess.run(["gcc", "-w", "-S", "-o", "offsets.s", "offsets.c"], cwd=tmp_path, check=True)
    lines = (tmp_path / "offsets.s").read_text().splitlines()
    assert dict(zip(MEMBERS, quads(lines), strict=True)) == kernel_offsets()


def quads(assembly: list[str]) -> list[int]:
    """Values of an array of longs, runs of zeros included."""
    values: list[int] = []
    for directive, value in (
        line.split()[:2] for line in assembly if line.startswith(("\t.quad", "\t.zero"))
    ):
        values += [int(value)] if directive == ".quad" else [0] * (int(value) // 8)
    return values


KEPT = ",".join(f"+{name}" for name in CONTRACT)
AS_NOBODY = [
    *("setpriv", "--reuid=65534", "--regid=65534", "--clear-groups"),
    *(f"--inh-caps={KEPT}", f"--ambient-caps={KEPT}"),
]
CONTRACT_BITS = {39, 38, 12, 21, 19, 2, 5}
SHOW_RIGHTS = "grep -E '^Cap(Bnd|Eff)' /proc/self/status"


def in_own_mounts(script: str) -> list[str]:
    """A command's beginning: a mount namespace of its own, changed by `script` first."""
    return ["unshare", "--mount", "--propagation", "private", "sh", "-ec", f'{script}\nexec "$@"', "sh"]


def test_the_contracts_capabilities_are_enough(lab: Lab, programs: Programs, tmp_path: Path) -> None:
    act = programs.act("connect", V6.peer, PORT)
    command = ["sh", "-c", f'{SHOW_RIGHTS}; exec "$@"', "sh", *act]
    seen = trace(lab, command, tmp_path, under=with_only(*CONTRACT))
    *rights, result = seen.stdout.splitlines()
    expected = sum(1 << bit for bit in CONTRACT_BITS)
    assert {int(line.split()[1], 16) for line in rights} == {expected}
    assert (seen.status, result) == (0, "ok")
    assert [leaf.name for leaf in seen.egress] == [f"connect [{V6.peer}]:{PORT}"]
    assert seen.account.startswith("attempts 1 = exported 1 ")


SYS_ADMIN_DOES = ["sys_admin"] if version_of(platform.release()) >= (6, 9) else ["sys_admin", "net_admin"]


@pytest.mark.parametrize("capabilities", [["bpf", "perfmon", "net_admin"], SYS_ADMIN_DOES], ids="+".join)
def test_fewer_capabilities_are_enough_for_what_matters(
    programs: Programs, tmp_path: Path, capabilities: list[str]
) -> None:
    act = programs.act("connect", "127.0.0.1", PORT)
    seen = trace(None, act, tmp_path, under=with_only(*capabilities))
    assert [leaf["process.command_args"] for leaf in seen.egress] == [act]


def test_a_user_with_the_contracts_capabilities_can_trace_where_bpffs_is_his(tmp_path: Path) -> None:
    tmp_path.chmod(0o777)
    under = [*in_own_mounts("mount -t bpf bpf /sys/fs/bpf"), *AS_NOBODY]
    command = ["bash", "-c", f"exec 3>/dev/udp/127.0.0.1/{PORT}; grep CapEff /proc/self/status"]
    seen = trace(None, command, tmp_path / "otlp", under=under)
    assert (seen.status, seen.stdout.split()[-1]) == (0, "0" * 16), seen.stderr
    assert [(leaf.name, leaf["process.owner"]) for leaf in seen.egress] == [
        (f"connect 127.0.0.1:{PORT}", "nobody")
    ]


MODULES = "/usr/lib/python3/dist-packages"
NO_COMPILER = f"mkdir -p {{tmp}}/own; mount --bind {{tmp}}/own {MODULES}"
FAKE = f"{NO_COMPILER}; echo '{{text}}' > {MODULES}/bcc.py"
OLD = '__version__ = "0.18.0"\nclass BPF:\n def load_func(self, func_name, prog_type): pass'
HINDRANCES = {
    "CAP_BPF is missing; run it as root": with_only(*(set(CONTRACT) - {"bpf", "sys_admin"})),
    "CAP_BPF, CAP_PERFMON, CAP_NET_ADMIN are missing; run it as root": with_only(),
    "cannot use BCC: No module named 'bcc'; apt-get install python3-bpfcc": in_own_mounts(NO_COMPILER),
    "cannot use BCC: bcc 0.18.0 is too old: 0.25 is needed; apt-get": in_own_mounts(
        FAKE.replace("{text}", OLD)
    ),
    "dist-packages/bcc.py is not the BPF Compiler Collection; apt-get": in_own_mounts(
        FAKE.replace("{text}", "class Blockchain: pass")
    ),
    "cannot use /sys/fs/bpf/ci-egress-65534: Permission denied; see that bpffs": [
        *in_own_mounts("mount -t bpf -o mode=0700 bpf /sys/fs/bpf"),
        *AS_NOBODY,
    ],
    "cgroup v2 is not mounted; mkdir -p": in_own_mounts("umount -lR /sys/fs/cgroup"),
}


@pytest.mark.parametrize("said", HINDRANCES)
def test_what_hinders_is_said_in_one_line_and_command_is_not_started(tmp_path: Path, said: str) -> None:
    marker = tmp_path / "started"
    under = [part.replace("{tmp}", str(tmp_path)) for part in HINDRANCES[said]]
    with nothing_left():
        options = ["--compile"] if "BCC" in said or "bcc" in said else []
        seen = trace(None, ["touch", str(marker)], tmp_path / "otlp", *options, under=under)
    assert (seen.status, seen.stdout, marker.exists()) == (91, "", False)
    (line,) = seen.stderr.splitlines()
    assert line.startswith("ci-egress: error: ")
    assert said in line


def test_without_bpffs_it_is_mounted(programs: Programs, tmp_path: Path) -> None:
    act = programs.act("connect", "127.0.0.1", PORT)
    shown = ["sh", "-c", 'findmnt -no FSTYPE /sys/fs/bpf; exec "$@"', "sh", *act]
    under = in_own_mounts("umount -l /sys/fs/bpf; ! findmnt /sys/fs/bpf")
    seen = trace(None, shown, tmp_path, under=under)
    assert seen.stdout == "bpf\nECONNREFUSED\n", seen.stderr
    assert len(seen.egress) == 1


def test_without_tracefs_nothing_is_missing(programs: Programs, tmp_path: Path) -> None:
    unmount = "umount -lR /sys/kernel/debug /sys/kernel/tracing || :; ! findmnt -t tracefs"
    seen = trace(None, programs.act("connect", "127.0.0.1", PORT), tmp_path, under=in_own_mounts(unmount))
    assert [leaf.name for leaf in seen.egress] == [f"connect 127.0.0.1:{PORT}"]


@pytest.mark.parametrize("options", [[], ["--compile"]], ids=["prebuilt", "compiled"])
def test_prebuilt_programs_and_those_compiled_here_trace_alike(
    lab: Lab, programs: Programs, tmp_path: Path, options: list[str]
) -> None:
    under = [] if options else in_own_mounts(NO_COMPILER.format(tmp=tmp_path))
    seen = trace(lab, programs.act("connect", V4.peer, PORT), tmp_path / "otlp", *options, under=under)
    assert [leaf.name for leaf in seen.egress] == [f"connect {V4.peer}:{PORT}"], seen.stderr


def test_a_program_that_the_verifier_refuses_is_told_with_its_reasons(tmp_path: Path) -> None:
    env = copy_of_the_program(tmp_path / "copy")
    source = tmp_path / "copy/bpf/process.bpf.c"
    broken = "int on_exit(void *ctx) { return *(int *)0; }"
    source.write_text(source.read_text().replace("int on_exit(", f"{broken}\nint replaced("))
    seen = trace(None, ["true"], tmp_path / "otlp", "-v", env=env, cwd=tmp_path)
    assert seen.status == 91
    error, *way = seen.stderr.splitlines()
    refused = f"cannot load the programs: Linux {platform.release()} refuses on_exit: R0 !read_ok; "
    assert error.startswith(f"ci-egress: error: {refused}")
    assert "R0 !read_ok" in way


def test_the_end_of_what_the_verifier_says_is_told_however_much_it_was() -> None:
    """Of each instruction it says a line, and before Linux 6.4 keeps the beginning of what is too long."""
    steps = ZERO * 60_000
    with pytest.raises(VerifierError) as raised:
        load_program("long", Place(ProgramType.RAW_TRACEPOINT), steps + READ_NOTHING, [])
    assert raised.value.reason == "R9 !read_ok"
    *_, last_step, fault, figures = raised.value.log.splitlines()
    assert last_step.startswith("60000: (bf) r0 = r9")
    assert fault == "R9 !read_ok"
    assert figures.startswith("processed 60001 insns")
