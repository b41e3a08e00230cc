"""The Debian package's scripts where something is missing or fails: they end well, or dpkg is stuck."""

from __future__ import annotations

import subprocess
from typing import TYPE_CHECKING

import pytest

from exporter.common.errors import CANNOT_TRACE_STATUS
from tests.checkout import ROOT

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
    echo "import os; raise SystemExit($SAME_STATUS)" >/opt/ci-egress/lib/ci-egress/same_programs.py
    echo "import os; raise SystemExit($LOADS_STATUS)" >/opt/ci-egress/lib/ci-egress/loads.py
    touch "/opt/ci-egress/lib/python$version/package/module.py"
fi
status=0
"$@" || status=$?
find /opt -name '*.pyc'
exit "$status"
"""
_SYSTEMCTL = """#!/bin/sh
echo "$*" >>"${0%/*}/asked"
case $* in *kill* | *is-failed*) exit 1 ;; esac
"""
_SYSTEMCTL_OF_ONE_THAT_FAILED = """#!/bin/sh
echo "$*" >>"${0%/*}/asked"
case $* in *is-active*) exit 3 ;; esac
"""
_SYSTEMCTL_OF_ONE_THAT_IS_SLOW_TO_END = """#!/bin/sh
pid=${0%/*}/pid
case $* in
show*) sleep 60 >/dev/null 2>&1 & echo $! | tee "$pid" ;;
*is-failed*) exit 1 ;;
kill*) { sleep 1; kill -KILL "$(cat "$pid")"; } >/dev/null 2>&1 & ;;
start*) ! kill -0 "$(cat "$pid")" || echo 'it still runs' >>"${0%/*}/asked" ;;
esac
echo "$*" >>"${0%/*}/asked"
"""
_ANOTHER_PYTHON = "#!/bin/sh\nexit 9\n"


def maintained(
    folder: Path,
    script: str,
    *arguments: str,
    has_files: bool = True,
    systemctl: str = _SYSTEMCTL,
    same: int = 0,
    loads: int = 0,
    status: int = 0,
) -> tuple[str, str]:
    """Run a script, which must end with `status`; returns what was compiled, and what systemctl was asked.

    `same` and `loads` are what the package's questions end with.
    """
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
            "SAME_STATUS": str(same),
            "LOADS_STATUS": str(loads),
        },
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == status, done
    asked = folder / "asked"
    return done.stdout, asked.read_text() if asked.exists() else ""


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


def test_a_watch_is_restarted_only_once_other_programs_load(tmp_path: Path) -> None:
    _, asked = maintained(tmp_path, "postinst", "configure", "1.0.0", same=1)
    assert asked.splitlines()[-2:] == ["daemon-reload", "restart ci-egress.service"]
    (tmp_path / "asked").unlink()
    for loads in (CANNOT_TRACE_STATUS, 1):
        _, asked = maintained(tmp_path, "postinst", "configure", "1.0.0", same=1, loads=loads, status=1)
    assert set(asked.splitlines()) == {
        "--quiet is-failed ci-egress.service",
        "--quiet is-active ci-egress.service",
    }


def test_one_that_systemd_gave_up_is_tried_again(tmp_path: Path) -> None:
    _, asked = maintained(
        tmp_path, "postinst", "configure", "1.0.0", systemctl=_SYSTEMCTL_OF_ONE_THAT_FAILED, loads=1
    )
    assert asked.splitlines()[-3:] == [
        "reset-failed ci-egress.service",
        "--quiet is-enabled ci-egress.service",
        "start ci-egress.service",
    ]


@pytest.mark.parametrize(
    ("same", "loads", "status"),
    [(0, CANNOT_TRACE_STATUS, 0), (1, 0, 0), (1, CANNOT_TRACE_STATUS, 1), (1, 1, 0)],
)
def test_being_replaced_ends_only_where_other_programs_are_refused(
    tmp_path: Path, same: int, loads: int, status: int
) -> None:
    """What can't be told while other packages are replaced, too, is asked again once they are in order."""
    compiled, _ = maintained(tmp_path, "postrm", "upgrade", "2.0.0", same=same, loads=loads, status=status)
    assert compiled == "", "it would stand beside the files that are put back"


def test_being_replaced_by_a_version_without_the_question_goes_on(tmp_path: Path) -> None:
    maintained(tmp_path, "postrm", "upgrade", "0.1.0", has_files=False, same=1, loads=1)


def test_nothing_is_asked_of_programs_where_no_watch_runs(tmp_path: Path) -> None:
    systemctl = _SYSTEMCTL_OF_ONE_THAT_FAILED
    maintained(tmp_path, "postrm", "upgrade", "2.0.0", systemctl=systemctl, same=1, loads=CANNOT_TRACE_STATUS)


def test_the_new_versions_script_lets_dpkg_go_back(tmp_path: Path) -> None:
    maintained(tmp_path, "postrm", "failed-upgrade", "1.0.0", status=1)


@pytest.mark.parametrize("undone", ["abort-upgrade", "abort-remove"])
def test_what_is_undone_has_its_bytecode_again(tmp_path: Path, undone: str) -> None:
    compiled, asked = maintained(tmp_path, "postinst", undone, "2.0.0")
    assert "/package/__pycache__/module.cpython-3" in compiled
    assert asked == ""


def test_it_is_compiled_for_the_python_that_runs_it_whichever_is_on_path(tmp_path: Path) -> None:
    compiled, _ = maintained(tmp_path, "postinst", "configure")
    assert "/package/__pycache__/module.cpython-3" in compiled


@pytest.mark.parametrize("has_files", [True, False])
def test_removing_it_goes_on_though_nothing_of_it_works(tmp_path: Path, *, has_files: bool) -> None:
    _, asked = maintained(tmp_path, "prerm", "remove", has_files=has_files)
    assert asked.splitlines() == ["--quiet disable --now ci-egress.service"]
