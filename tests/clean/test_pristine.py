"""Where CI runs what README says, nothing is that somebody installed; and nothing stays of what ran there."""

from __future__ import annotations

import os
import re
import signal
import subprocess
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import psutil
import pytest

from tests.checkout import ROOT

if TYPE_CHECKING:
    from collections.abc import Iterator

MADE_WITHIN_S = 900
"""The root may have to be made, from a Debian mirror."""
pytestmark = [
    pytest.mark.skipif(os.geteuid() != 0, reason="needs root"),
    pytest.mark.timeout(MADE_WITHIN_S),
]
ENDED_WITHIN_S = 60
CACHE = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")


def command(folder: Path, *commands: str) -> list[str | Path]:
    return [ROOT / "tools/pristine.sh", "bookworm", folder, *commands]


def pristine(folder: Path, *commands: str, **environ: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        command(folder, *commands),
        env={**os.environ, **environ},
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        check=False,
    )


@contextmanager
def planted(path: Path, text: str) -> Iterator[None]:
    """An executable file of this machine, for a while."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)
    path.chmod(0o755)
    try:
        yield
    finally:
        path.unlink()


def processes_of(marker: str) -> dict[int, list[str]]:
    """Those that have it in their arguments."""
    return {
        each.pid: each.info["cmdline"]
        for each in psutil.process_iter(["cmdline"])
        if any(marker in argument for argument in each.info["cmdline"] or ())
    }


def mounts(folder: Path) -> list[str]:
    """Those of this machine, but for other tests': what stands in their folders comes and goes meanwhile."""
    tests = f" {folder.parents[1]}/"  # of all rows
    lines = Path("/proc/self/mountinfo").read_text().splitlines()
    return [line for line in lines if tests not in line or str(folder) in line]


def test_what_is_on_this_machine_is_not_seen_there(tmp_path: Path) -> None:
    name = f"planted-{os.getpid()}"
    paths = [Path("/usr/local/bin") / name, CACHE / name, CACHE / "ci-egress" / name, ROOT / "build" / name]
    look = f'for p in {" ".join(map(str, paths))}; do ! test -e "$p" || echo "seen: $p"; done'
    with (
        planted(paths[0], "#!/bin/sh\necho ran\n"),
        planted(paths[1], ""),
        planted(paths[2], ""),
        planted(paths[3], ""),
    ):
        here = subprocess.run(["sh", "-c", f"{name}; {look}"], capture_output=True, text=True, check=True)
        there = pristine(tmp_path / "there", f"! {name}", look, 'echo "$PLANTED."', PLANTED="by hand")
    assert here.stdout.splitlines() == ["ran", *(f"seen: {path}" for path in paths)]
    assert there.returncode == 0, there.stdout
    assert f"{name}: command not found" in there.stdout
    assert not [line for line in there.stdout.splitlines() if line.startswith("seen: ")]
    assert "\n.\n" in there.stdout


def test_it_has_git_and_make_and_what_is_committed_and_nothing_else(tmp_path: Path) -> None:
    absent = "! command -v python3 pip curl gcc go node chromium debootstrap prometheus"
    there = pristine(
        tmp_path / "there", absent, "git status --porcelain --ignored", "git rev-parse HEAD", "make"
    )
    assert there.returncode == 0, there.stdout
    head = subprocess.run(
        ["git", "-C", ROOT, "rev-parse", "HEAD"], capture_output=True, text=True, check=True
    ).stdout
    assert head in there.stdout.splitlines(keepends=True)
    assert re.search(r"\$ git status --porcelain --ignored\n=== bookworm: ok", there.stdout)
    assert "\nmake demo " in there.stdout


def test_whatever_fails_the_others_run_and_all_is_said_in_the_end(tmp_path: Path) -> None:
    there = pristine(tmp_path / "there", "echo first >~/kept; false", "cat ~/kept", "exit 7")
    assert there.returncode == 1
    assert "first" in there.stdout.splitlines()
    told = [re.sub(r"\d+ s", "N s", line) for line in there.stdout.splitlines()[-3:]]
    assert told == [
        "=== bookworm: FAILED (1) after N s: echo first >~/kept; false",
        "=== bookworm: ok after N s: cat ~/kept",
        "=== bookworm: FAILED (7) after N s: exit 7",
    ]


def test_what_a_command_leaves_running_is_ended_and_makes_it_a_failed_one(tmp_path: Path) -> None:
    marker = f"3{os.getpid()}"
    there = pristine(tmp_path / "there", f"setsid sleep {marker} & true")
    assert there.returncode == 1, there.stdout
    assert f", sleep {marker}" in there.stdout
    assert processes_of(marker) == {}


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_when_it_is_told_to_end_no_process_and_no_mount_stays(tmp_path: Path, number: signal.Signals) -> None:
    before, marker = mounts(tmp_path), f"4{os.getpid()}"
    # One that tidies up, one that won't hear of it, and one that is in a session and in mounts of its own.
    script = (
        f"trap 'echo tidied' EXIT; (trap '' INT TERM; sleep {marker}) & setsid unshare --mount "
        f"sh -c 'mount -t tmpfs none /mnt; trap \"\" INT; echo begun; sleep {marker}' & wait"
    )
    with subprocess.Popen(
        command(tmp_path / "there", script), stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
    ) as running:
        assert running.stdout
        for line in running.stdout:
            if line == "begun\n":
                break
        running.send_signal(number)
        told = running.stdout.read()
        assert running.wait(ENDED_WITHIN_S) == 143
    assert "tidied" in told.splitlines()
    assert processes_of(marker) == {}
    assert processes_of(str(tmp_path)) == {}
    assert mounts(tmp_path) == before
