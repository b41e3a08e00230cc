"""A machine to install on: another root on this kernel, with a bpffs and a systemd of its own."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tests.checkout import ROOT
from tests.kernel.running_exporter import wait_for
from tests.kernel.tracing import Span, spans
from tests.turns import turn_left

if TYPE_CHECKING:
    from collections.abc import Iterator

LIMIT_S = 300.0
"""Far from what anything takes, on a machine that is busy with other tests, too."""
CI_EGRESS = "/usr/bin/ci-egress"
APT_FAILED = 100
"""What apt-get ends with where dpkg failed, or what is asked for can't be installed."""
PINS = Path("sys/fs/bpf/ci-egress")
LOG = "root/ci-egress.log"
"""In place of the journal."""

_FOLDERS = (
    "/var/lib/ci-egress-standalone /var/lib/ci-egress /var/cache/ci-egress /var/log/ci-egress /etc/ci-egress"
)
# Without BCC, which the package doesn't need.
_PREPARE = f"""
rm -rf {_FOLDERS} /usr/lib/python3/dist-packages/bcc
mount -t bpf -o mode=0700 none /sys/fs/bpf
printf '#!/bin/sh\\nexit 101\\n' > /usr/sbin/policy-rc.d
echo ready
exec sleep infinity
"""

# What systemd looks for before it believes that it was this machine's first process, and what it hides with.
_SYSTEMD = """
for hierarchy in $HIERARCHIES; do echo $$ > $hierarchy/cgroup.procs; done
mount -t tmpfs -o mode=0755 none /run
mkdir -p /run/systemd/system /run/systemd/inaccessible/dir /run/systemd/own
touch /run/systemd/inaccessible/reg
chmod 0700 /run/systemd/own
exec /lib/systemd/systemd --user
"""
_SYSTEMD_ENVIRONMENT = {
    "PATH": "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin",
    "HOME": "/root",
    "XDG_RUNTIME_DIR": "/run/systemd/own",
    # Where StateDirectory= and the like are below, as with the system's own manager.
    "XDG_CONFIG_HOME": "/var/lib",
    "XDG_CACHE_HOME": "/var/cache",
}
_TO_LOG = f"[Service]\nStandardError=append:/{LOG}\n"
_SYSTEMCTL = (
    '#!/bin/sh\nXDG_RUNTIME_DIR=/run/systemd/own exec /usr/bin/systemctl.real --user --no-pager "$@"\n'
)


@dataclass(frozen=True)
class Machine:
    """One that goes on; it shares this machine's processes and network."""

    pid: int
    """Of a process in it."""

    @property
    def root(self) -> Path:
        """Its files."""
        return Path(f"/proc/{self.pid}/root")

    def command(self, *command: str) -> list[str]:
        """COMMAND, run in it."""
        return ["nsenter", f"--target={self.pid}", "--mount", "--root", "--wdns=/", *command]

    def run(self, *command: str, status: int | None = 0) -> subprocess.CompletedProcess[str]:
        """Run COMMAND to its end, which must have this status, if any is given."""
        done = subprocess.run(
            self.command(*command),
            env={"PATH": _SYSTEMD_ENVIRONMENT["PATH"], "DEBIAN_FRONTEND": "noninteractive", "HOME": "/root"},
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=LIMIT_S,
            check=False,
        )
        assert status in (None, done.returncode), done
        return done

    def apt(self, verb: str, package: str | Path, *, status: int = 0) -> str:
        """`apt-get install` a file, or `remove` or `purge` a package; what it and dpkg say."""
        if isinstance(package, Path):
            shutil.copyfile(package, self.root / "root" / package.name)
            package = f"/root/{package.name}"
        options = ("--yes", "--quiet=2", "--allow-downgrades", "-o", "Dpkg::Use-Pty=0")
        done = self.run("apt-get", *options, verb, package, status=status)
        return done.stdout + done.stderr

    def package_state(self) -> tuple[str, str]:
        """As dpkg has it: `ii` for one that is installed, and its version."""
        fields = "${db:Status-Abbrev}\t${Version}"
        abbreviated, version = self.run(
            "dpkg-query", "--show", f"--showformat={fields}", "ci-egress"
        ).stdout.split("\t")
        return abbreviated.strip(), version

    def doctor(self) -> dict[str, Any]:
        """What `doctor --json` says; its status must be a good one."""
        told: dict[str, Any] = json.loads(self.run(CI_EGRESS, "doctor", "--json").stdout)
        return told

    def systemctl(self, *arguments: str, status: int | None = 0) -> str:
        """What it says; its status must be this."""
        return self.run("systemctl", *arguments, status=status).stdout.strip()

    def shown(self, name: str) -> str:
        """A property of the service."""
        return self.systemctl("show", "--value", f"--property={name}", "ci-egress.service")

    def main_pid(self) -> int:
        """Of the service."""
        return int(self.shown("MainPID"))

    def instances(self) -> list[str]:
        """What is pinned on its bpffs."""
        home = self.root / PINS
        return sorted(path.name for path in home.iterdir()) if home.exists() else []

    def files_of_ci_egress(self) -> set[str]:
        """Every file or folder below the places that the package may use, and its command."""
        places = (
            "opt/ci-egress",
            "etc/ci-egress",
            "var/lib/ci-egress",
            "var/cache/ci-egress",
            "var/log/ci-egress",
        )
        units = ("usr/lib/systemd/system/ci-egress.service", "usr/bin/ci-egress", "usr/share/doc/ci-egress")
        return {place for place in (*places, *units) if os.path.lexists(self.root / place)}

    def files_of_package(self) -> dict[str, str]:
        """Digests of all files below /opt/ci-egress but bytecode, which has times in it."""
        top = self.root / "opt/ci-egress"
        files = (path for path in top.rglob("*") if path.is_file() and path.suffix != ".pyc")
        return {str(path.relative_to(top)): sha256(path.read_bytes()).hexdigest() for path in files}

    def said(self) -> str:
        """What the service said on stderr."""
        return (self.root / LOG).read_text()

    def told(self) -> list[Span]:
        """The spans that the service wrote so far, of every job of the host."""
        return spans_of(self.root / "var/lib/ci-egress/ci-egress")


def spans_of(otlp_dir: Path) -> list[Span]:
    """What a watch wrote there; a file that got too long has made room for another."""
    return [span for path in otlp_dir.glob("traces*.jsonl") for span in spans(path)]


def debian_root(suite: str, *packages: str) -> Path:
    """A root of that Debian with these packages, made once."""
    command = [str(ROOT / "tools/debian-root.sh"), suite, *packages]
    with turn_left():
        done = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True)
    return Path(done.stdout.strip())


@contextmanager
def machine(lower: Path) -> Iterator[Machine]:
    """One whose files are those of the root `lower`, which stay as they are."""
    command = [str(ROOT / "tools/in-root.sh"), str(lower), "sh", "-ec", _PREPARE]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        try:
            assert process.stdout is not None
            assert process.stdout.readline() == "ready\n"
            yield Machine(process.pid)
        finally:
            process.kill()


@contextmanager
def with_systemd(made: Machine) -> Iterator[None]:
    """Let a real systemd run there. This machine's first process is another one, so it is a user's manager.

    It is root's, and does with a unit what the system's would: `systemctl` in the machine talks to it.
    """
    wrapper = made.root / "usr/bin/systemctl"
    wrapper.rename(wrapper.with_suffix(".real"))
    wrapper.write_text(_SYSTEMCTL)
    wrapper.chmod(0o755)
    addition = made.root / "etc/systemd/user/ci-egress.service.d/log.conf"
    addition.parent.mkdir(parents=True)
    addition.write_text(_TO_LOG)
    with ExitStack() as stack:
        hierarchies = [stack.enter_context(_hierarchy(path)) for path in _systemds_hierarchies()]
        environment = {**_SYSTEMD_ENVIRONMENT, "HIERARCHIES": " ".join(map(str, hierarchies))}
        command = made.command("sh", "-ec", _SYSTEMD)
        with subprocess.Popen(command, env=environment, stderr=subprocess.DEVNULL) as process:
            try:
                wait_for((made.root / "run/systemd/own/systemd/private").exists, LIMIT_S)
                yield
            finally:
                process.send_signal(signal.SIGTERM)  # it ends its services first
                with suppress(subprocess.TimeoutExpired):
                    process.wait(LIMIT_S)
                process.kill()


def _systemds_hierarchies() -> list[Path]:
    """In which it makes cgroups: v2, and on hybrid hosts its own of v1."""
    top = Path("/sys/fs/cgroup")
    found = [path for path in (top / "unified", top / "systemd") if path.is_dir()]
    return found or [top]


@contextmanager
def _hierarchy(top: Path) -> Iterator[Path]:
    """A cgroup of the test's own, removed with all below it."""
    own = top / f"test-packaging-{os.getpid()}"
    own.mkdir()
    try:
        yield own
    finally:
        wait_for(lambda: _is_removed(own), LIMIT_S)


def _is_removed(own: Path) -> bool:
    for folder in sorted((path for path in own.rglob("*") if path.is_dir()), reverse=True):
        with suppress(OSError):
            folder.rmdir()
    with suppress(OSError):
        own.rmdir()
    return not own.exists()
