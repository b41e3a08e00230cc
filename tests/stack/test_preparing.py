"""How the servers come to a machine: built or unpacked into the cache, never installed."""

from __future__ import annotations

import os
import shutil
import subprocess
from contextlib import ExitStack
from pathlib import Path

import pytest

from demo.stack.servers import DEFAULT_PORTS, PROJECT, Binaries, free_ports, make_stack

pytestmark = [pytest.mark.stack, pytest.mark.timeout(900)]  # it may have to download
SCRIPTS = PROJECT / "tools/stack"
PACKAGED = ["prometheus", "promtool"]
AS_IF_NEVER_INSTALLED = """
for folder in /etc/prometheus /usr/share/prometheus; do
    [ ! -d "$folder" ] || mount -t tmpfs none "$folder"
done
exec "$@"
"""
"""By a shell in a mount namespace of its own: without the files of packages that this machine may have."""


def path_without(folder: Path, *programs: str) -> str:
    """A PATH with all programs of this machine but these."""
    folder.mkdir()
    for directory in (Path("/usr/sbin"), Path("/usr/bin")):
        for program in directory.iterdir():
            if program.name not in programs and not (folder / program.name).exists():
                (folder / program.name).symlink_to(program)
    return str(folder)


def run(script: str, *arguments: str, **environ: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [SCRIPTS / script, *arguments],
        env={**os.environ, **environ},
        capture_output=True,
        text=True,
        check=False,
    )


def test_what_is_missing_or_too_old_is_unpacked_into_the_cache(tmp_path: Path) -> None:
    path = path_without(tmp_path / "bin", *PACKAGED)
    too_old = Path(path, "prometheus")
    too_old.write_text("#!/bin/sh\necho 'prometheus, version 2.41.0 (branch: HEAD)'\n")
    too_old.chmod(0o755)
    done = run("prometheus.sh", PATH=path, XDG_CACHE_HOME=str(tmp_path / "cache"))
    assert done.returncode == 0, done.stderr
    found = dict(line.split() for line in done.stdout.splitlines())
    assert list(found) == PACKAGED
    for program in found.values():
        assert Path(program).is_relative_to(tmp_path / "cache/ci-egress")
        subprocess.run([program, "--version"], check=True, capture_output=True)
    again = run("prometheus.sh", PATH=path, XDG_CACHE_HOME=str(tmp_path / "cache"))
    assert (again.stdout, again.stderr) == (done.stdout, "")


@pytest.mark.skipif(os.geteuid() != 0, reason="needs root")
def test_servers_start_where_no_package_of_theirs_was_ever_installed(tmp_path: Path) -> None:
    path = path_without(tmp_path / "bin", *PACKAGED, "alertmanager", "prometheus-alertmanager", "amtool")
    found = dict(line.split() for line in run("servers.sh", PATH=path).stdout.splitlines())
    programs = Binaries(**{name: Path(each) for name, each in found.items()})
    with ExitStack() as stops:
        ports = stops.enter_context(free_ports(*DEFAULT_PORTS))
        stack = make_stack(tmp_path, programs, ports, interval_s=1.0)
        for server in (stack.prometheus, stack.alertmanager):
            server.command = ["unshare", "--mount", "sh", "-ec", AS_IF_NEVER_INSTALLED, "sh", *server.command]
            stops.callback(server.stop)
            server.start()


@pytest.mark.parametrize("server", ["otelcol", "jaeger", "alertmanager"])
def test_a_build_without_the_module_proxy_says_what_it_needs(server: str, tmp_path: Path) -> None:
    done = run(
        "servers.sh",
        server,
        XDG_CACHE_HOME=str(tmp_path / "cache"),
        GOMODCACHE=str(tmp_path / "modules"),
        GOPROXY="off",
        PATH=f"{go_folder()}:{os.environ['PATH']}",
    )
    assert (done.returncode, done.stdout) == (1, "")
    assert f"stack: {server} was not built; that needs the Go module proxy" in done.stderr


def go_folder() -> Path:
    """Where Go is: on PATH, else where an earlier build put it."""
    cache = Path(os.environ.get("XDG_CACHE_HOME", Path.home() / ".cache"))
    return Path(shutil.which("go") or cache / "ci-egress/go/bin/go").parent


def test_a_server_that_there_is_not_is_refused() -> None:
    done = run("servers.sh", "grafana")
    assert (done.returncode, done.stdout) == (2, "")
    assert "there is no server grafana" in done.stderr
