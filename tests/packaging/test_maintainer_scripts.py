"""The Debian package's scripts where something is missing or fails: they end well, or dpkg is stuck."""

from __future__ import annotations

import subprocess
from typing import TYPE_CHECKING

import pytest

from tests.kernel.tracing import ROOT

if TYPE_CHECKING:
    from pathlib import Path

pytestmark = pytest.mark.kernel

# In a mount namespace of its own, so that what it needs of /opt and /run is there, and nothing stays.
_RUN = """
mount -t tmpfs none /opt
mount -t tmpfs none /run
mkdir -p /run/systemd/system
if [ -n "$INSTALLED" ]; then
    version=$(/usr/bin/python3 -c 'import sys; print("%d.%d" % sys.version_info[:2])')
    mkdir -p /opt/ci-egress/bin /opt/ci-egress/lib/ci-egress "/opt/ci-egress/lib/python$version/package"
    ln -s /usr/bin/python3 /opt/ci-egress/bin/python3
    echo 'import os' >/opt/ci-egress/lib/ci-egress/same_programs.py
    touch "/opt/ci-egress/lib/python$version/package/module.py"
fi
status=0
"$@" || status=$?
find /opt -name '*.pyc'
exit "$status"
"""
_SYSTEMCTL = """#!/bin/sh
echo "$*" >>"${0%/*}/asked"
case $* in *kill*) exit 1 ;; esac
"""
_SYSTEMCTL_OF_ONE_THAT_IS_SLOW_TO_END = """#!/bin/sh
pid=${0%/*}/pid
case $* in
show*) sleep 60 >/dev/null 2>&1 & echo $! | tee "$pid" ;;
kill*) { sleep 1; kill -KILL "$(cat "$pid")"; } >/dev/null 2>&1 & ;;
start*) ! kill -0 "$(cat "$pid")" || echo 'it still runs' >>"${0%/*}/asked" ;;
esac
echo "$*" >>"${0%/*}/asked"
"""
_ANOTHER_PYTHON = "#!/bin/sh\nexit 9\n"


def maintained(
    folder: Path, script: str, *arguments: str, has_files: bool = True, systemctl: str = _SYSTEMCTL
) -> tuple[str, str]:
    """Run a script, which must end well; returns what was compiled, and what systemctl was asked."""
    programs = {"systemctl": systemctl, "python3": _ANOTHER_PYTHON, "ci-egress": "#!/bin/sh\nexit 91\n"}
    for name, text in programs.items():
        (folder / name).write_text(text)
        (folder / name).chmod(0o755)
    (folder / "os.py").write_text("raise SystemExit(1)\n")
    done = subprocess.run(
        [*("unshare", "--mount", "sh", "-euc", _RUN, "sh"), ROOT / "deploy/debian" / script, *arguments],
        env={
            "PATH": f"{folder}:/usr/sbin:/usr/bin:/sbin:/bin",
            "PYTHONPATH": str(folder),
            "INSTALLED": "yes" if has_files else "",
        },
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done
    return done.stdout, (folder / "asked").read_text()


def test_an_upgrade_goes_on_though_the_service_ended_meanwhile(tmp_path: Path) -> None:
    _, asked = maintained(tmp_path, "postinst", "configure", "1.0.0")
    assert asked.splitlines()[-2:] == [
        "kill --kill-who=main --signal=KILL ci-egress.service",
        "start ci-egress.service",
    ]


def test_an_upgrade_starts_the_service_once_the_killed_one_has_ended(tmp_path: Path) -> None:
    _, asked = maintained(
        tmp_path, "postinst", "configure", "1.0.0", systemctl=_SYSTEMCTL_OF_ONE_THAT_IS_SLOW_TO_END
    )
    assert [line.partition(" ")[0] for line in asked.splitlines()[-3:]] == ["show", "kill", "start"]


def test_it_is_compiled_for_the_python_that_runs_it_whichever_is_on_path(tmp_path: Path) -> None:
    compiled, _ = maintained(tmp_path, "postinst", "configure")
    assert "/package/__pycache__/module.cpython-3" in compiled


@pytest.mark.parametrize("has_files", [True, False])
def test_removing_it_goes_on_though_nothing_of_it_works(tmp_path: Path, *, has_files: bool) -> None:
    _, asked = maintained(tmp_path, "prerm", "remove", has_files=has_files)
    assert asked.splitlines() == ["--quiet disable --now ci-egress.service"]
