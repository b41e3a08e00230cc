"""`ci-egress run` under rules with `lineage`: what is told of them, and which executables it doesn't take."""

from __future__ import annotations

import os
import shlex
import shutil
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from tests.kernel.lab import NETWORKS, PORT, V4, Lab, Network
from tests.kernel.policy_runs import policy
from tests.kernel.tracing import Trace, copy_with, trace

if TYPE_CHECKING:
    from collections.abc import Mapping

    from tests.kernel.conftest import Programs

pytestmark = pytest.mark.kernel

BOTH = 'timeout 60 "$@"; "$@"; true'


def under(
    lab: Lab,
    command: list[str],
    tmp_path: Path,
    rule: str,
    *options: str,
    env: Mapping[str, str] | None = None,
) -> Trace:
    """Run COMMAND with that as the only rule of its policy."""
    file = policy(tmp_path, f"allow:\n  - {rule}\n")
    return trace(
        lab, command, tmp_path / "otlp", "--policy", file, *options, "--enforce", env=env, cwd=tmp_path
    )


@NETWORKS
def test_the_rule_is_told_where_the_chain_has_it(
    lab: Lab, programs: Programs, tmp_path: Path, network: Network
) -> None:
    act = programs.act("connect", network.evil, PORT)
    rule = f'{{host: "{network.evil}", ports: [{PORT}], lineage: [timeout]}}'
    with lab.watch() as watch:
        seen = under(lab, ["sh", "-c", BOTH, "sh", *act], tmp_path, rule)
    assert seen.stdout == "ok\nEPERM\n"
    told = [(span["egress.verdict"], span["egress.rule"]) for span in seen.egress]
    assert told == [("allow", rule), ("deny", "default")]
    assert sum(watch.arrivals.accepted.values()) == 1
    evil = f"[{network.evil}]" if ":" in network.evil else network.evil
    assert f"ci-egress: blocked: act (dash → act) → {evil}:{PORT}, rule default" in seen.stderr.splitlines()


def test_what_git_starts_has_git_in_its_chain(lab: Lab, programs: Programs, tmp_path: Path) -> None:
    act = shlex.join(programs.act("connect", V4.evil, PORT))
    rule = f"{{host: {V4.evil}, ports: [{PORT}], lineage: [git]}}"
    seen = under(lab, ["sh", "-c", f'git -c alias.go="!$1" go; {act}; true', "sh", act], tmp_path, rule)
    assert seen.stdout == "ok\nEPERM\n"
    assert [span["egress.rule"] for span in seen.egress] == [rule, "default"]


def test_what_ci_egress_itself_runs_on_is_in_no_chain(lab: Lab, programs: Programs, tmp_path: Path) -> None:
    python = Path(sys.executable).resolve()
    rule = f"{{host: {V4.evil}, ports: [{PORT}], lineage: [{python}]}}"
    seen = under(lab, programs.act("connect", V4.evil, PORT), tmp_path, rule)
    assert (seen.stdout, seen.stderr.count("blocked: ")) == ("EPERM\n", 1)


def test_an_orphan_that_found_no_room_in_the_table_has_it_in_its_chain(
    lab: Lab, programs: Programs, tmp_path: Path
) -> None:
    env = copy_with(tmp_path / "copy", procs=2, found_steps=2)
    orphan = programs.lineage("double-fork", *programs.act("connect", V4.evil, PORT))
    script = 'timeout 60 sh -c "$1 & wait"; sh -c "$1 & wait"; true'
    rule = f"{{host: {V4.evil}, ports: [{PORT}], lineage: [timeout]}}"
    seen = under(lab, ["sh", "-c", script, "sh", shlex.join(orphan)], tmp_path, rule, env=env)
    assert "processes found the table of processes full" in seen.stderr
    assert seen.stdout == "ok\nEPERM\n"


def test_what_is_not_on_this_machine_is_told_and_holds_for_no_chain(
    lab: Lab, programs: Programs, tmp_path: Path
) -> None:
    rule = f"{{host: {V4.evil}, ports: [{PORT}], lineage: [no-such-program]}}"
    seen = under(lab, programs.act("connect", V4.evil, PORT), tmp_path, rule)
    assert seen.stdout == "EPERM\n"
    assert (
        f"ci-egress: warning: {tmp_path}/policy.yaml:3: there is no `no-such-program` on this machine, in "
        "none of the system's directories: no chain has it"
    ) in seen.stderr.splitlines()


@pytest.mark.parametrize("fault", ["mode", "owner", "folder", "script", "directory"])
def test_with_an_executable_that_cannot_count_nothing_starts(tmp_path: Path, fault: str) -> None:
    folder, marker = tmp_path / "tools", tmp_path / "started"
    folder.mkdir()
    tool = Path(shutil.copy2("/usr/bin/env", folder / "tool"))
    where, who = tool, "its mode is 0777"
    if fault == "mode":
        tool.chmod(0o777)
    elif fault == "owner":
        os.chown(tool, 65534, -1)
        who = "it belongs to user 65534"
    elif fault == "folder":
        folder.chmod(0o777)
        where = folder
    elif fault == "script":
        tool.write_text("#!/bin/sh\n")
    else:
        tool.unlink()
        tool.mkdir()
    told = {
        "script": "is a script: what runs is its interpreter; name that, as in node for npm",
        "directory": "is no file that can be executed; name an executable",
    }.get(
        fault,
        f"isn't root's alone to change: `{where}`, {who}; `chown root` and `chmod go-w` `{where}`, or name "
        "another executable",
    )
    file = policy(tmp_path, f'allow:\n  - "192.0.2.1"\n  - {{host: 192.0.2.2, lineage: [{tool}]}}\n')
    seen = trace(None, ["touch", str(marker)], tmp_path / "otlp", "--policy", file, cwd=tmp_path)
    assert (seen.status, marker.exists()) == (2, False)
    assert seen.stderr.splitlines()[0] == f"{file}:4:5: `{tool}` in `lineage` {told}"
