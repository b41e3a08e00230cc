"""Runs that are steered from outside, on a bpffs of their own: `stop --all` ends the test's alone."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from exporter.kernel.programs.links import attached_links
from tests.checkout import ROOT

from .running_exporter import Running, end_session, in_session, start, wait_for
from .tracing import RUN_LIMIT_S, environment, run_command

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence
    from pathlib import Path

_HOLD = "mount -t bpf -o mode=0700 none /sys/fs/bpf && echo ready && read -r _"

AGENT = """
import errno, socket, sys

KINDS = {"tcp": (socket.SOCK_STREAM, 0), "mptcp": (socket.SOCK_STREAM, 262), "udp": (socket.SOCK_DGRAM, 0)}
held = {}

def family(address):
    return socket.AF_INET6 if ":" in address else socket.AF_INET

def open_(name, kind, address, port):
    held[name] = socket.socket(family(address), *KINDS[kind])
    held[name].settimeout(100)
    held[name].connect((address, int(port)))

def say(name):
    held[name].sendall(b"hello")
    if held[name].type == socket.SOCK_STREAM:
        assert held[name].recv(5), "the end"

def hear(name):
    print("hears", flush=True)
    assert held[name].recv(5), "the end"

def listen(name, address, port):
    held[name] = socket.create_server((address, int(port)), family=family(address))

def accept(name, listener):
    held[name], _ = held[listener].accept()

def close(name):
    held.pop(name).close()

acts = {"open": open_, "say": say, "hear": hear, "listen": listen, "accept": accept, "close": close}
print("ready", flush=True)
for line in sys.stdin:
    verb, *words = line.split()
    try:
        acts[verb](*words)
    except OSError as error:
        print(errno.errorcode.get(error.errno, str(error)), flush=True)
    except AssertionError as error:
        print(error, flush=True)
    else:
        print("ok", flush=True)
"""
"""Holds sockets, and does with them what it is told to, a line at a time."""


def agent() -> list[str]:
    """It as a COMMAND."""
    return [sys.executable, "-c", AGENT]


@dataclass(frozen=True)
class Host:
    """A mount namespace with a bpffs of its own; what runs in it traces the whole machine all the same."""

    under: list[str]
    """What puts a command there."""

    def ci_egress(
        self, *arguments: str, rights: Sequence[str] = (), status: int = 0
    ) -> subprocess.CompletedProcess[str]:
        """Run a command of ci-egress to its end, which must have this status; `rights` takes some away."""
        done = subprocess.run(
            [*self.under, *rights, sys.executable, "-m", "exporter", *arguments],
            capture_output=True,
            text=True,
            timeout=RUN_LIMIT_S,
            env=environment(),
            cwd=ROOT,
            check=False,
        )
        assert done.returncode == status, done
        return done

    def status(self, *selectors: str) -> list[dict[str, Any]]:
        """What `enforce status --json` says."""
        rows: list[dict[str, Any]] = json.loads(
            self.ci_egress("enforce", "status", "--json", *selectors).stdout
        )
        return rows

    def doctor(self) -> list[dict[str, Any]]:
        """The checks of `doctor --json`."""
        checks: list[dict[str, Any]] = json.loads(self.ci_egress("doctor", "--json").stdout)["checks"]
        return checks

    def modes(self) -> list[tuple[str | None, str | None]]:
        """Of each job, what was asked for and what is done."""
        return [(row["requested"], row["effective"]) for row in self.status()]

    def instances(self) -> list[str]:
        """Ids of all that are pinned, whether or not they have jobs."""
        done = subprocess.run(
            [*self.under, "ls", "/sys/fs/bpf/ci-egress"], capture_output=True, text=True, check=False
        )
        return done.stdout.split()

    def python(self, code: str, *arguments: str) -> str:
        """Run a piece of Python there, with exporter at hand; what it prints."""
        command = [*self.under, sys.executable, "-c", code, *arguments]
        done = subprocess.run(
            command, env=environment(), cwd=ROOT, timeout=RUN_LIMIT_S, check=True, stdout=subprocess.PIPE
        )
        return done.stdout.decode()

    @contextmanager
    def nothing_left(self) -> Iterator[None]:
        """At the end of the block, no program of the one instance there is at its beginning is attached."""
        (name,) = self.instances()
        number = int(self.python(_MODES_NUMBER, name))
        assert is_used(number)
        yield
        wait_for(lambda: not is_used(number))

    @contextmanager
    def running(
        self,
        command: Sequence[str | bytes],
        otlp_dir: Path,
        *options: str,
        env: Mapping[str, str] | None = None,
    ) -> Iterator[Running]:
        """Start `ci-egress run`; whatever of its session is left at the end is killed, and of it in bpffs."""
        with start([*self.under, *run_command(otlp_dir, command, *options)], env) as process:
            try:
                yield Running(process, otlp_dir)
            finally:
                end_session(process.pid)
                process.wait()
                self.ci_egress("stop")


_MODES_NUMBER = """
import sys
from pathlib import Path
from exporter.kernel.bpf import Map
print(Map(Path("/sys/fs/bpf/ci-egress", sys.argv[1], "map_modes")).number)
"""


def is_used(number: int) -> bool:
    """Whether a program that is attached to a cgroup uses the map of that number."""
    return any(number in link.maps for link in attached_links())


@contextmanager
def own_host() -> Iterator[Host]:
    """Make one; at the end all of its instances are stopped."""
    with subprocess.Popen(
        ["unshare", "--mount", "--propagation", "private", "sh", "-c", _HOLD],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    ) as holder:
        assert holder.stdout is not None
        assert holder.stdout.readline() == "ready\n"
        host = Host(["nsenter", f"--mount=/proc/{holder.pid}/ns/mnt", "--"])
        try:
            yield host
        finally:
            host.ci_egress("stop", "--all")
            assert host.instances() == []
            holder.communicate("\n")


def asked(run: Running, *words: object) -> str:
    """Have the agent do something; what it says to it."""
    run.tell(" ".join(map(str, words)))
    return run.next_line()


def kill(run: Running) -> None:
    """End its exporter as the kernel does when memory runs out."""
    os.kill(run.pid, signal.SIGKILL)
    run.process.wait()


def end_agent(run: Running) -> None:
    """Let the orphaned agent end."""
    assert run.process.stdin is not None
    run.process.stdin.close()
    wait_for(lambda: in_session(run.pid) == [])
