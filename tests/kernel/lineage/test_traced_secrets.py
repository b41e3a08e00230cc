"""Secrets in command lines stay in the kernel's ring: nothing that is written or shown has them."""

from __future__ import annotations

import os
import secrets
import shlex
import signal
from contextlib import contextmanager
from typing import TYPE_CHECKING

import pytest

from tests.kernel.arrivals import Endpoint
from tests.kernel.lab import NETWORKS, PORT, V4, Lab, Network
from tests.kernel.tracing import trace

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from tests.kernel.conftest import Programs

SECRETS = {
    name: f"hunter2-{secrets.token_hex(8)}"
    for name in ("variable", "header", "password", "parameter", "option", "script", "left")
}
LEAVE_BEHIND = "import os, time; print(os.getpid(), flush=True); os.closerange(0, 3); time.sleep(1000)"


def leaking(programs: Programs, network: Network, pid_file: Path) -> str:
    """Secrets in the script itself, in programs that connect, above them, in tampering and left behind."""
    host = network.peer if network is V4 else f"[{network.peer}]"
    curl = [
        *("env", f"AWS_SECRET_ACCESS_KEY={SECRETS['variable']}"),
        *("sh", "-c", 'curl -s "$@"; true', "sh", "-H", f"Authorization: Bearer {SECRETS['header']}"),
        f"http://ci:{SECRETS['password']}@{host}:{PORT}/?access_token={SECRETS['parameter']}",
    ]
    connect = [*programs.act("connect", network.peer, PORT), "--", f"--token={SECRETS['option']}"]
    left = ["/usr/bin/python3", "-c", LEAVE_BEHIND, "--password", SECRETS["left"]]
    tamper = shlex.join(programs.tamper("packet-socket", os.getpid()))
    lines = [
        f"DEPLOY_TOKEN={SECRETS['script']} {tamper}",
        shlex.join(curl),
        shlex.join(connect),
        f"{shlex.join(left)} >{pid_file} 2>/dev/null & until [ -s {pid_file} ]; do sleep 0.02; done",
    ]
    return "\n".join(lines)


@contextmanager
def ended_afterwards(pid_file: Path) -> Iterator[None]:
    """The process that is left behind doesn't outlive the test."""
    try:
        yield
    finally:
        os.kill(int(pid_file.read_text()), signal.SIGKILL)


@NETWORKS
@pytest.mark.parametrize("options", [[], ["--json-log"]], ids=["plain", "json"])
def test_secrets_of_command_lines_are_in_nothing_that_is_written(
    lab: Lab, programs: Programs, tmp_path: Path, network: Network, options: list[str]
) -> None:
    out, recording, pid_file = tmp_path / "otlp", tmp_path / "recording", tmp_path / "pid"
    script = leaking(programs, network, pid_file)
    everything = ["-v", "--process-spans", "all", "--record", str(recording), *options]
    with ended_afterwards(pid_file):
        with lab.watch() as watch:
            seen = trace(lab, ["sh", "-c", script], out, *everything)
        written = {path.name: path.read_text() for path in [*out.iterdir(), recording]}
        assert set(written) == {"traces.jsonl", "metrics.jsonl", "logs.jsonl", "recording"}
        written["stderr"] = seen.stderr
        found = {(name, kind) for name, text in written.items() for kind in SECRETS if SECRETS[kind] in text}
        assert found == set()
        assert watch.arrivals.accepted == {Endpoint(network.peer, PORT): 2}
        redacted = {name for name, text in written.items() if "<redacted>" in text}
        assert redacted == {"traces.jsonl", "logs.jsonl", "recording", "stderr"}
