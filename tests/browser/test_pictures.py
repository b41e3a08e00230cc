"""What the manual shows of a terminal is what a terminal showed."""

from __future__ import annotations

import os
import re
import sys
from pathlib import Path

import pytest
from playwright.sync_api import Browser

from tests.checkout import ROOT
from tests.launch import CI_EGRESS, PLAIN_ENVIRONMENT
from tools.pictures.chromium import is_picture, picture
from tools.pictures.session import session
from tools.pictures.terminal import terminal_svg

COLUMNS = 116
POLICY = """\
version: 1
mode: audit
allow:
  - registry.example:443
  - "*.com:443"
  - git.example:70000
  - https://mirror.example/packages
denny:
  - 169.254.169.254
"""


@pytest.mark.kernel
def test_the_demo_as_a_terminal_shows_it(browser: Browser, tmp_path: Path) -> None:
    (tmp_path / "build").mkdir()
    command = (sys.executable, "-m", "demo", "--otlp-dir", "build/demo")
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    status, shown = session(command, columns=COLUMNS, environment=environment, cwd=tmp_path)
    assert status == 0, shown
    story = shown.partition("\n• ")[0].rstrip()
    assert re.search(r"attempts (\d+) = exported \1 \+ aggregated 0 \+ dropped 0 \+ pending 0", story)
    assert "beacon.example" in story
    drawn = terminal_svg(f"$ make demo\n{story}", title="make demo", columns=COLUMNS)
    assert is_picture(picture(browser, drawn, "demo"), width_px=1500)


def test_an_error_in_a_policy_as_a_terminal_shows_it(browser: Browser, tmp_path: Path) -> None:
    (tmp_path / "policy.yaml").write_text(POLICY)
    command = (*CI_EGRESS, "policy", "check", "policy.yaml")
    status, shown = session(command, columns=COLUMNS, environment=PLAIN_ENVIRONMENT, cwd=tmp_path)
    assert status == 2
    told = "$ ci-egress policy check policy.yaml\n" + shown.rstrip()
    assert "policy.yaml:6:5" in told
    drawn = terminal_svg(told, title="ci-egress policy check", columns=COLUMNS)
    assert is_picture(picture(browser, drawn, "policy-check"), width_px=1500)
