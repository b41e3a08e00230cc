"""What keeps this process from being starved, tried on a process of its own."""

from __future__ import annotations

import subprocess
import sys

CODE = """
import os, resource
from pathlib import Path
from exporter.session.survival import as_others, go_first

def score():
    return int(Path("/proc/self/oom_score_adj").read_text())

resource.setrlimit(resource.RLIMIT_NOFILE, (100, 200))
Path("/proc/self/oom_score_adj").write_text("300")
go_first()
print(resource.getrlimit(resource.RLIMIT_NOFILE), score() in (-1000, 300))
before = score()
with as_others():
    print(score(), os.waitstatus_to_exitcode(os.system("exit $(cat /proc/self/oom_score_adj)")))
print(score() == before)
"""


def test_it_takes_what_it_may_and_what_it_starts_for_others_has_it_not() -> None:
    done = subprocess.run([sys.executable, "-c", CODE], capture_output=True, text=True, check=False)
    assert (done.stdout, done.stderr) == ("(200, 200) True\n0 0\nTrue\n", "")
