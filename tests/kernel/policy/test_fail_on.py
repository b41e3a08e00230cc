"""`run --fail-on`: what the policy said decides about the exit status, to the last attempt."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tests.integration.receivers import Answer, collector
from tests.kernel.lab import PORT, V4, Lab
from tests.kernel.policy_runs import failed
from tests.kernel.tracing import copy_of_the_program, copy_with, trace

if TYPE_CHECKING:
    from pathlib import Path

    from tests.kernel.conftest import Programs

pytestmark = pytest.mark.kernel

PEER_ALONE = ("--allowed-endpoints", f"{V4.peer}:{PORT}")
IN_VAIN = "ci-egress: warning: --fail-on deny: the policy isn't enforced, so nothing is denied; "


def connect_twice(programs: Programs, status: int = 0) -> list[str]:
    """To where no rule allows it, and end with `status`."""
    return ["sh", "-c", f'"$@"; "$@"; exit {status}', "sh", *programs.act("connect", V4.evil, PORT)]


@pytest.mark.parametrize(
    ("options", "command_status", "status"),
    [
        (["--enforce", "--fail-on", "deny"], 0, 90),
        (["--enforce", "--fail-on", "audit,deny"], 0, 90),
        (["--enforce", "--fail-on", "deny"], 3, 3),
        (["--enforce", "--fail-on", "audit"], 0, 0),
        (["--enforce"], 0, 0),
        (["--fail-on", "deny"], 0, 0),
    ],
    ids=["denied", "either", "commands-own-comes-first", "nothing-audited", "not-asked", "nothing-denied"],
)
def test_what_was_denied_is_a_failure_if_asked_for(
    lab: Lab, programs: Programs, tmp_path: Path, options: list[str], command_status: int, status: int
) -> None:
    command = connect_twice(programs, command_status)
    seen = trace(lab, command, tmp_path, *PEER_ALONE, *options)
    assert seen.status == status, seen.stderr
    is_met = "--enforce" in options and any("deny" in option for option in options)
    line = f"deny: 2 attempts denied, first: act (dash → act) → {V4.evil}:{PORT}, rule default"
    assert failed(seen.stderr) == ([line] if is_met else [])
    assert (IN_VAIN in seen.stderr) == (options == ["--fail-on", "deny"])
    assert seen.account == "attempts 2 = exported 2 + aggregated 0 + dropped 0 + pending 0"


def test_what_would_be_denied_is_a_failure_if_asked_for(lab: Lab, programs: Programs, tmp_path: Path) -> None:
    seen = trace(lab, connect_twice(programs), tmp_path, *PEER_ALONE, "--fail-on", "deny, audit")
    assert (seen.status, seen.stdout) == (90, "ok\nok\n")
    assert failed(seen.stderr) == [
        f"audit: 2 attempts would be denied, first: act (dash → act) → {V4.evil}:{PORT}, rule default"
    ]
    assert IN_VAIN not in seen.stderr
    assert "policy --allowed-endpoints" not in seen.stderr


def test_what_is_allowed_is_no_failure(lab: Lab, programs: Programs, tmp_path: Path) -> None:
    command = programs.act("connect", V4.peer, PORT)
    seen = trace(lab, command, tmp_path, *PEER_ALONE, "--enforce", "--fail-on", "audit,deny")
    assert (seen.status, failed(seen.stderr)) == (0, [])
    assert "policy --allowed-endpoints, enforced: nothing was denied" in seen.stderr.splitlines()


@pytest.mark.parametrize(
    "entries",
    [{}, {"slots": 4, "free_slots": 4, "free_other_slots": 2}],
    ids=["aggregated", "no-room-to-tell-apart"],
)
def test_a_flood_is_counted_to_the_last_attempt(
    lab: Lab, programs: Programs, tmp_path: Path, entries: dict[str, int]
) -> None:
    env = copy_with(tmp_path / "copy", **entries)
    ports = 65_535
    allowed = f"udp://{V4.evil}:7 udp://{V4.evil}:60000"
    seen = trace(
        lab,
        programs.flood("scan", V4.evil),
        tmp_path / "otlp",
        *("--enforce", "--allowed-endpoints", allowed, "--fail-on", "deny"),
        env=env,
        cwd=tmp_path,
    )
    assert seen.status == 90, seen.stderr
    (line,) = failed(seen.stderr)
    first = f"flood (flood) → {V4.evil}:1, rule default"
    assert line == f"deny: {ports - 2} attempts denied, first: {first}"


def test_evidence_that_got_lost_comes_before_what_was_denied(
    lab: Lab, programs: Programs, tmp_path: Path
) -> None:
    options = ("--enforce", "--fail-on", "deny", "--strict")
    with collector(lambda _: Answer(400)) as receiver:
        env = {"OTEL_EXPORTER_OTLP_ENDPOINT": receiver.url, "STATE_DIRECTORY": str(tmp_path / "state")}
        seen = trace(lab, connect_twice(programs), tmp_path / "otlp", *PEER_ALONE, *options, env=env)
    assert seen.status == 92, seen.stderr
    assert len(failed(seen.stderr)) == 1


def test_what_is_not_known_is_taken_for_a_failure(lab: Lab, programs: Programs, tmp_path: Path) -> None:
    env = copy_of_the_program(tmp_path / "copy")
    tracing = tmp_path / "copy/exporter/session/run.py"
    tracing.write_text(
        tracing.read_text().replace("ended_ns = wait(", "raise RuntimeError; ended_ns = wait(")
    )
    options = ("--enforce", "--fail-on", "deny")
    command = programs.act("connect", V4.peer, PORT)
    seen = trace(lab, command, tmp_path / "otlp", *PEER_ALONE, *options, env=env, cwd=tmp_path)
    assert (seen.status, seen.stdout) == (90, "ok\n")
    assert "untraced, and --fail-on takes what isn't known for a failure" in seen.stderr
