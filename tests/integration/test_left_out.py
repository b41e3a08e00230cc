"""In CI a test that did not run is a failure: shown by running pytest with the project's own conftest."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

CONFTEST = Path(__file__).parent.parent / "conftest.py"
PASSES = "def test_passes():\n    pass\n"
SKIPPED = "import pytest\n\n@pytest.mark.skip(reason='for show')\ndef test_skipped():\n    pass\n"
MODULE_SKIPPED = "import pytest\n\npytest.importorskip('no_such_module')\n"
XFAILED = "import pytest\n\n@pytest.mark.xfail\ndef test_xfailed():\n    assert False\n"


def run_pytest(folder: Path, *arguments: str, ci: str, text: str) -> subprocess.CompletedProcess[str]:
    (folder / "conftest.py").write_text(CONFTEST.read_text())
    (folder / "test_a.py").write_text(PASSES)
    (folder / "test_b.py").write_text(text)
    command = [sys.executable, "-m", "pytest", "-p", "no:cacheprovider", "--rootdir", str(folder)]
    environment = os.environ | {"CI": ci}
    return subprocess.run(
        [*command, *arguments], cwd=folder, env=environment, capture_output=True, text=True, check=False
    )


@pytest.mark.parametrize("text", [SKIPPED, MODULE_SKIPPED, XFAILED])
def test_a_test_left_out_fails_the_run_in_ci_alone(tmp_path: Path, text: str) -> None:
    in_ci = run_pytest(tmp_path, ci="true", text=text)
    assert in_ci.returncode == 1
    assert "CI: 1 tests were left out" in in_ci.stdout
    assert run_pytest(tmp_path, ci="", text=text).returncode == 0


def test_a_deselected_test_fails_the_run_in_ci(tmp_path: Path) -> None:
    assert run_pytest(tmp_path, "-k", "passes", ci="true", text="def test_other(): pass").returncode == 1


def test_a_run_of_all_tests_passes_in_ci(tmp_path: Path) -> None:
    assert run_pytest(tmp_path, ci="true", text=PASSES).returncode == 0


def test_a_run_of_no_test_fails(tmp_path: Path) -> None:
    assert run_pytest(tmp_path, "-k", "nothing", ci="true", text=PASSES).returncode != 0
