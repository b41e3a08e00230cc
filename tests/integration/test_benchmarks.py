"""The benchmarks run; what they measure is not for a test to judge."""

from __future__ import annotations

import json
import subprocess
import sys

import pytest

from tests.checkout import ROOT


@pytest.mark.kernel
@pytest.mark.timeout(600)
def test_a_quick_benchmark_gives_its_figures() -> None:
    only = ["--only", "connect", "--only", "live"]
    command = [sys.executable, "-m", "benchmarks", "--quick", "--no-limits", *only, "--json"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=580, check=False)
    assert done.returncode == 0, done.stderr
    told = json.loads(done.stdout)
    assert [figure["name"] for figure in told["figures"]] == [
        "loop of connects over loopback",
        "loop of sends over loopback",
        "loop of connects to its own Unix socket",
        "download over loopback",
        "loop of connects, live",
        "scan of destinations, live",
    ]
    assert all(figure["value"] > 0 for figure in told["figures"])
    assert told["machine"]["kernel"]
