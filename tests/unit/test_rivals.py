"""What other tools recorded, as the comparison reads it."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from benchmarks.rivals import acts
from benchmarks.rivals.acts import Act
from benchmarks.rivals.compared import CONTROL, Row
from benchmarks.rivals.packages import Packages, no_service_starts
from benchmarks.rivals.processes import daemon
from benchmarks.rivals.rounds import cell, count, in_rounds, ratio
from benchmarks.rivals.table import as_markdown
from benchmarks.signals import end
from benchmarks.workshop import BenchmarkError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

HIT = ("/proc/self/exe", "hit", "7")
WRITTEN: dict[str, tuple[Callable[[Path], Iterator[Act]], str, str]] = {
    "cargowall": (
        acts.of_cargowall,
        "audit.json",
        '{"event_type": "connection_allowed", "dst_ip": "192.0.2.2", "dst_port": 8443, "protocol": "TCP"}\n'
        '{"event_type": "step_boundary"}\n',
    ),
    "bpftrace": (
        acts.of_bpftrace,
        "acts",
        "Attaching 4 probes...\nready\nexec 42 41 /proc/self/exe hit 7\nconnect 42 64288\n",
    ),
    "auditd": (
        acts.of_auditd,
        "audit.log",
        "type=SYSCALL msg=audit(1764.1:8): arch=c000003e syscall=59 success=yes ppid=41 pid=42\n"
        'type=EXECVE msg=audit(1764.1:8): argc=3 a0="/proc/self/exe" a1="hit" a2="7"\n'
        "type=SYSCALL msg=audit(1764.2:9): arch=c000003e syscall=42 success=yes ppid=41 pid=42\n"
        "type=SOCKADDR msg=audit(1764.2:9): saddr=020020FB7F0000010000000000000000\n",
    ),
    "strace": (
        acts.of_strace,
        "calls",
        "41  clone3({flags=CLONE_VM|CLONE_VFORK, exit_signal=SIGCHLD}, 88 <unfinished ...>\n"
        '42  execve("/proc/self/exe", ["/proc/self/exe", "hit", "7"], 0x7ffd22c02cf0 /* 36 vars */) = 0\n'
        "42  connect(4, {sa_family=AF_INET, sin_port=htons(8443), "
        'sin_addr=inet_addr("127.0.0.1")}, 16) = 0\n'
        "41  <... clone3 resumed>)             = 42\n",
    ),
}
"""For each tool the function that reads, the name of its file, and one connect as it writes it."""


@pytest.mark.parametrize("name", WRITTEN)
def test_a_connect_is_read_with_what_the_tool_knows_of_its_program(name: str, tmp_path: Path) -> None:
    read, file, text = WRITTEN[name]
    (tmp_path / file).write_text(text)
    program = () if name == "cargowall" else (HIT, 41)
    assert list(read(tmp_path)) == [Act("connect", 8443, 1, *program)]


@pytest.mark.parametrize("name", WRITTEN)
def test_a_tool_that_wrote_nothing_recorded_nothing(name: str, tmp_path: Path) -> None:
    assert not list(WRITTEN[name][0](tmp_path))


def test_a_connect_that_bpftrace_prints_before_its_exec_has_its_program(tmp_path: Path) -> None:
    (tmp_path / "acts").write_text("ready\nconnect 42 64288\nexec 42 41 /proc/self/exe hit 7\n")
    assert list(acts.of_bpftrace(tmp_path)) == [Act("connect", 8443, 1, HIT, 41)]


def test_of_cargowalls_events_the_first_packet_of_a_connect_and_datagrams_count(tmp_path: Path) -> None:
    tcp = {"dst_port": 8443, "protocol": "TCP"}
    events = [
        {"event_type": "connection_blocked", **tcp},
        {"event_type": "connection_blocked", **tcp, "mid_stream": True},
        {"event_type": "cgroup_would_block", **tcp},
        {"event_type": "connection_blocked", "dst_port": 53, "protocol": "UDP"},
    ]
    (tmp_path / "audit.json").write_text("".join(json.dumps(event) + "\n" for event in events))
    assert list(acts.of_cargowall(tmp_path)) == [Act("connect", 8443, 1), Act("send", 53, 1)]


def test_a_span_stands_for_as_many_attempts_as_it_says(tmp_path: Path) -> None:
    attributes = [
        {"key": "network.peer.port", "value": {"intValue": "8443"}},
        {"key": "egress.attempts", "value": {"intValue": "40"}},
        {"key": "process.parent_pid", "value": {"intValue": "41"}},
        {"key": "process.command_args", "value": {"arrayValue": {"values": [{"stringValue": "load"}]}}},
    ]
    spans = [{"name": "load", "attributes": []}, {"name": "send 192.0.2.2:8443", "attributes": attributes}]
    line = {"resourceSpans": [{"scopeSpans": [{"spans": spans}]}]}
    (tmp_path / "traces.jsonl").write_text(json.dumps(line) + "\n")
    assert list(acts.of_ci_egress(tmp_path)) == [Act("send", 8443, 40, ("load",), 41)]


def test_the_table_names_each_tool_with_its_version_and_those_that_are_not_there() -> None:
    rows = [
        Row("connects, loopback", {CONTROL: "×1.00", "strace": "×9.00"}),
        Row("start", {"strace": "0.1 s"}),
    ]
    text = as_markdown({"kernel": "6.18"}, {"strace": "strace 6.1"}, {"auditd": "no\nsuch package"}, rows)
    day, *lines = text.splitlines()
    assert day.startswith("- day: 2")
    assert lines == [
        "- kernel: 6.18",
        "- strace: strace 6.1",
        "- auditd: not measured; such package",
        "",
        "|  | control | strace |",
        "| --- | ---: | ---: |",
        "| connects, loopback | ×1.00 | ×9.00 |",
        "| start |  | 0.1 s |",
    ]


def test_a_round_has_each_tool_once_in_an_order_that_depends_on_the_row_alone() -> None:
    def orders(row: str) -> list[tuple[str, ...]]:
        measured: list[str] = []
        in_rounds(row, "abcde", 9, measured.append)
        return [tuple(measured[start : start + 5]) for start in range(0, 45, 5)]

    first = orders("sends")
    assert all(sorted(order) == list("abcde") for order in first)
    assert len(set(first)) > 5
    assert orders("sends") == first != orders("connects")


def test_what_was_found_is_kept_by_round() -> None:
    found: dict[str, int] = {}

    def measure(subject: str) -> int:
        found[subject] = found.get(subject, 0) + 1
        return found[subject]

    assert in_rounds("row", ["a", "b"], 3, measure) == {"a": [1, 2, 3], "b": [1, 2, 3]}


def test_a_tool_that_fails_in_a_round_ends_neither_the_round_nor_its_own_row(
    capsys: pytest.CaptureFixture[str],
) -> None:
    times = dict.fromkeys("ab", 0)

    def measure(subject: str) -> int:
        times[subject] += 1
        if subject == "b" and times[subject] == 2:
            raise BenchmarkError("b isn't ready")
        return 4 * times[subject]

    found = in_rounds("row", ["a", "b"], 3, measure)
    assert found == {"a": [4, 8, 12], "b": [4, None, 12]}
    assert capsys.readouterr().err == "b isn't ready\n"
    assert ratio(found["b"], found["a"]) == "×1.00 (1.00–1.00); failed in 1 of 3 rounds"


def test_one_round_is_no_measurement() -> None:
    assert cell([None, 7, None], count) == "failed"


@pytest.mark.parametrize("own", [None, "#!/bin/sh\nexit 104\n"])
def test_services_stay_off_while_a_package_is_installed_and_the_machines_policy_is_kept(
    own: str | None, tmp_path: Path
) -> None:
    policy = tmp_path / "policy-rc.d"
    if own is not None:
        policy.write_text(own)
    with no_service_starts(policy):
        assert subprocess.run([policy, "auditd", "start"], check=False).returncode == 101
    assert [path.read_text() for path in tmp_path.iterdir()] == ([] if own is None else [own])


APT = """\
case "$*" in *--no-download*)
    "$POLICY"
    echo "policy $?" >>"$CALLS"
    echo "Setting up auditd (1:3.0) ..."
esac
"""


def test_an_installed_package_is_named_and_its_services_are_switched_off(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    calls, policy = tmp_path / "calls", tmp_path / "policy-rc.d"
    programs = {
        "apt-get": APT,
        "dpkg-query": "echo /lib/systemd/system/auditd.service\n",
        "systemctl": 'echo "systemctl $*" >>"$CALLS"\n',
    }
    for name, text in programs.items():
        (tmp_path / name).write_text(f"#!/bin/sh\n{text}")
        (tmp_path / name).chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setenv("CALLS", str(calls))
    monkeypatch.setenv("POLICY", str(policy))
    packages = Packages(service_policy=policy)
    packages.need("auditd", "no-such-auditctl")
    packages.need("systemd", "systemctl")
    assert packages.installed == ["auditd"]
    assert calls.read_text().splitlines() == ["policy 101", "systemctl disable auditd.service"]


def test_a_daemon_ends_with_its_block(tmp_path: Path) -> None:
    with daemon(["sleep", "60"], tmp_path, lambda: True) as pid:
        assert Path(f"/proc/{pid}").exists()
    assert not Path(f"/proc/{pid}").exists()


def test_a_daemon_that_fails_says_why(tmp_path: Path) -> None:
    with (
        pytest.raises(BenchmarkError, match="no such rule"),
        daemon(["sh", "-c", "echo no such rule; exit 3"], tmp_path, lambda: False),
    ):
        pytest.fail("is ready")


KILLED = """\
import os, signal, sys
from pathlib import Path
from benchmarks.rivals.processes import daemon
folder = Path(sys.argv[1])
script = 'exec 3>life; trap "echo ended; exit" TERM; : >ready; while :; do sleep 0.05; done'
with daemon(["sh", "-c", f"cd '{folder}'; {script}"], folder, (folder / "ready").exists):
    os.kill(os.getpid(), signal.SIGKILL)
"""


def test_a_daemon_ends_even_if_the_benchmark_is_killed(tmp_path: Path) -> None:
    life = tmp_path / "life"
    os.mkfifo(life)
    with subprocess.Popen([sys.executable, "-c", KILLED, tmp_path]) as process, life.open() as until_it_ends:
        until_it_ends.read()
    assert process.returncode == -signal.SIGKILL
    assert (tmp_path / "messages").read_text() == "ended\n"


def test_sigterm_ends_a_run_through_every_finally_once() -> None:
    before = signal.getsignal(signal.SIGTERM)
    try:
        signal.signal(signal.SIGTERM, end)
        with pytest.raises(SystemExit) as ended:
            signal.raise_signal(signal.SIGTERM)
        signal.raise_signal(signal.SIGTERM)
        assert ended.value.code == 143
    finally:
        signal.signal(signal.SIGTERM, before)
