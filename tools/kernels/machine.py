"""A virtual machine of one kernel: boots, runs a job, and powers off, or is ended when it takes too long.

It leaves nothing behind: what it writes to the root is lost with it.
"""

from __future__ import annotations

import os
import subprocess
import tarfile
import time
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from tools.kernels.folders import CHECKOUT
from tools.kernels.initrd import initrd
from tools.kernels.roots import Image, Root
from tools.kernels.unpacked import Kernel

ACCELERATION = os.environ.get("KERNELS_ACCEL", "tcg,thread=single")
"""Qemu's accelerator. Emulated, every kernel boots on any host; with `kvm` it takes a tenth of the time."""
CLOCK = () if ACCELERATION.startswith("kvm") else ("-icount", "shift=0")
"""The clock counts the emulated processor's instructions, a nanosecond each. So a machine notices nothing of
a busy host: no time limit in it is reached sooner."""
PROCESSOR_LIMIT_S = 1800
"""Seconds of a processor until it counts as hung; it needs some 300."""
LIMIT_S = 3000
"""Seconds until it counts as hung after the last line that it wrote. It gets the time that no other process
wants, so beside a busy loop it needs an hour in all."""
_LOOKS_S = 1.0
MEMORY_MIB = 2048
# no_timer_check: on a busy host Ubuntu's kernels take the emulated timer for broken, and stop.
# The second line is for speed: emulated, clearing memory and waiting for RCU take a fifth of the time.
_KERNEL_ARGUMENTS = (
    "no_timer_check quiet loglevel=4 panic=-1 mitigations=off audit=0"
    " init_on_alloc=0 transparent_hugepage=always rcupdate.rcu_expedited=1 nowatchdog"
)
_TAIL_LINES = 40


@dataclass(frozen=True)
class Boot:
    """A boot that is over."""

    results: Path
    """The folder with `qemu`'s output, the `console`, the job's `log`, and the files that the job left."""
    status: int | None
    """The job's exit status; None when it didn't come to an end."""
    seconds: float

    def story(self) -> str:
        """Return the last lines of qemu's output, the console and the job's log."""
        parts = (_tail(self.results / name) for name in ("qemu", "console", "log"))
        return "\n".join(part for part in parts if part)


_SOURCES = "checkout"
_COMPILED = f"""
tar --extract --ignore-zeros --directory=/
mount --bind /{_SOURCES} /src
cd /src
unset PYTHONDONTWRITEBYTECODE
python3 -m compileall -q . >&2
/venv/bin/python -m pytest --quiet --collect-only -p no:cacheprovider "$@" >/tmp/said || {{
    cat /tmp/said >&2
    exit 1
}}
tar --create .
"""
"""Reads the sources and .venv, one tar file behind the other: Python compiles all of it, pytest its tests."""


def pack_checkout(root: Root, tests: Sequence[str], target: Path) -> None:
    """Pack the checkout, except what git ignores, as a tar file, its Python compiled by the root's.

    `tests` are the test files that are to run: pytest has a way of its own to compile them.
    """
    plain = target.with_suffix(".plain")
    _pack_sources(plain)
    command = root.command("sh", "-ec", _COMPILED, "sh", *tests)
    both = subprocess.Popen(["cat", plain, root.venv], stdout=subprocess.PIPE)
    with both as given, target.open("wb") as made:
        subprocess.run(command, stdin=given.stdout, stdout=made, check=True)
    plain.unlink()


def _pack_sources(target: Path) -> None:
    listed = ["git", "-C", str(CHECKOUT), "ls-files", "-z", "--cached", "--others", "--exclude-standard"]
    names = subprocess.run(listed, capture_output=True, text=True, check=True).stdout.split("\0")
    with tarfile.open(target, "w") as tar:
        for name in filter(None, names):
            if os.path.lexists(CHECKOUT / name):
                tar.add(CHECKOUT / name, f"{_SOURCES}/{name}")


def boot(kernel: Kernel, image: Image, checkout: Path, results: Path, job: str) -> Boot:
    """Boot the kernel, and run `job` there, a shell script, which finds `results` at /results."""
    (results / "job").write_text(job)
    (results / "initrd").write_bytes(initrd(kernel, image.busybox))
    began_s = time.monotonic()
    command = _command(kernel, image, checkout, results)
    with (results / "qemu").open("w") as said:
        emulator = subprocess.Popen(command, stdout=said, stderr=said, start_new_session=True)
    _come_last(emulator.pid)
    with emulator:
        _wait(emulator, results)
    # However qemu ended: a job that came to its end has written its status.
    seconds = time.monotonic() - began_s
    status = results / "status"
    return Boot(results, int(status.read_text()) if status.exists() else None, seconds)


def _wait(emulator: subprocess.Popen[bytes], results: Path) -> None:
    """Wait until it ends, or kill it where it has written nothing for LIMIT_S."""
    size, since_s = 0, time.monotonic()
    while emulator.poll() is None:
        files = (results / name for name in ("console", "log"))
        if (written := sum(file.stat().st_size for file in files if file.exists())) != size:
            size, since_s = written, time.monotonic()
        if time.monotonic() - since_s > LIMIT_S:
            emulator.kill()
        time.sleep(_LOOKS_S)


def _come_last(pid: int) -> None:
    """Let other sessions have the processors first.

    Where the kernel shares them out by session, `chrt --idle` counts within the own one alone.
    """
    with suppress(FileNotFoundError):
        Path(f"/proc/{pid}/autogroup").write_text("19")


def _command(kernel: Kernel, image: Image, checkout: Path, results: Path) -> list[str]:
    def disk(name: str, path: Path, more: str) -> list[str]:
        drive = f"file={path},format=raw,if=none,id={name},{more}"
        return ["-drive", drive, "-device", f"virtio-blk-pci,drive={name}"]

    def folder(name: str, path: Path, more: str) -> list[str]:
        shared = f"local,id={name},path={path},security_model=none,{more}"
        return ["-fsdev", shared, "-device", f"virtio-9p-pci,fsdev={name},mount_tag={name}"]

    architecture = kernel.stock.architecture
    return [
        *("setpriv", "--pdeathsig", "KILL", "--"),  # it ends with us
        *("chrt", "--idle", "0"),  # and takes time from nobody of its session
        *("prlimit", f"--cpu={PROCESSOR_LIMIT_S}", "--"),
        *(*architecture.emulator, "-accel", ACCELERATION, "-smp", "1"),
        *CLOCK,
        *("-m", str(MEMORY_MIB), "-nodefaults", "-display", "none", "-no-reboot", "-monitor", "none"),
        *("-serial", f"file:{results}/console", "-device", "virtio-rng-pci"),
        *("-kernel", str(kernel.image), "-initrd", f"{results}/initrd"),
        *("-append", f"console={architecture.console} {_KERNEL_ARGUMENTS}"),
        *disk("root", image.file, "snapshot=on,cache=unsafe"),
        *disk("checkout", checkout, "readonly=on"),
        *folder("modules", kernel.modules, "readonly=on"),
        *folder("results", results, "readonly=off"),
    ]


def _tail(path: Path) -> str:
    if not path.exists():
        return f"({path.name} is empty)"
    lines = path.read_text(errors="replace").splitlines()[-_TAIL_LINES:]
    return "\n".join([f"--- {path}, its last lines", *lines])
