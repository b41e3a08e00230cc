"""What docs/stack.md says to paste does what it says."""

from __future__ import annotations

import os
import re
import subprocess
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from demo.stack.servers import PROJECT, prepare
from exporter.common.errors import CiEgressError

if TYPE_CHECKING:
    from demo.stack.servers import Binaries

pytestmark = [pytest.mark.kernel, pytest.mark.timeout(900)]  # the first one may wait for the servers' build

MANUAL = PROJECT / "docs/stack.md"
READY = ("13134/", "13133/status", "9090/-/ready", "9093/-/ready")
"""Of the four servers, by their usual ports of the loopback."""
WAIT = f"""
for each in {" ".join(READY)}; do
    until curl -fsS -o /dev/null "127.0.0.1:$each"; do
        [ "$(jobs -pr | wc -l)" = {len(READY)} ]
        sleep 0.2
    done
done
"""
"""Until all serve, or one has ended."""
WITHIN_S = 600


def block(language: str, *, after: str) -> str:
    """The first one of the manual behind a heading."""
    text = MANUAL.read_text().partition(f"\n## {after}\n")[2]
    found = re.search(rf"^```{language}\n(.*?)^```$", text, re.DOTALL | re.MULTILINE)
    assert found
    return found[1]


def bash(script: str, *before: str, cwd: Path = PROJECT, **environ: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [*before, "bash", "-eu", "-o", "pipefail", "-c", script],
        cwd=cwd,
        env={**os.environ, **environ},
        capture_output=True,
        text=True,
        timeout=WITHIN_S,
        check=False,
    )


@pytest.fixture(scope="module")
def binaries() -> Binaries:
    """The servers' programs: minutes, where they aren't there yet."""
    try:
        return prepare()
    except CiEgressError as error:
        pytest.fail(str(error), pytrace=False)


@pytest.mark.usefixtures("binaries")
def test_the_servers_start_as_the_manual_says_and_keep_nothing_in_the_checkout(tmp_path: Path) -> None:
    cache = os.environ.get("XDG_CACHE_HOME") or str(Path.home() / ".cache")
    checkout = tmp_path / "checkout"  # one that nobody else works in
    checkout.mkdir()
    for each in PROJECT.iterdir():
        (checkout / each.name).symlink_to(each)
    before = set(checkout.iterdir())
    start = block("bash", after="On a machine without")
    alone = ("unshare", "--net", "--pid", "--fork", "--kill-child", "--mount-proc")
    script = f"ip link set lo up\n{start}\n{WAIT}\nkill $(jobs -p)\nwait"
    done = bash(script, *alone, cwd=checkout, HOME=str(tmp_path), XDG_CACHE_HOME=cache)
    logs = {path.name: path.read_text() for path in (tmp_path / "ci-egress-stack").glob("*.log")}
    assert done.returncode in {0, 143}, (done.stderr, logs)  # 143 of a server that ends by SIGTERM
    assert logs.keys() == {"jaeger.log", "collector.log", "prometheus.log", "alertmanager.log"}
    assert done.stdout.count("SUCCESS") >= 4  # of promtool, three files, and of amtool
    assert set(checkout.iterdir()) == before


def test_the_recipe_for_runners_elsewhere_makes_files_that_only_the_collector_reads(
    tmp_path: Path, binaries: Binaries
) -> None:
    folder = tmp_path / "otelcol"
    recipe = block("sh", after="Runners on other machines").replace("/etc/otelcol", str(folder))
    recipe = recipe.replace("group=otelcol-contrib", "group=root")
    recipe = recipe.replace("otelcol-contrib --config", f"{binaries.otelcol} validate --config")
    done = bash(recipe)
    assert done.returncode == 0, done.stderr
    modes = {path.name: path.stat().st_mode & 0o777 for path in folder.iterdir()}
    assert modes == {"tokens": 0o640, "collector.key": 0o640, "collector.pem": 0o644}
    assert re.fullmatch(r"[0-9a-f]{64}\n", (folder / "tokens").read_text())
    names = bash(f"openssl x509 -in {folder}/collector.pem -noout -ext subjectAltName").stdout
    assert "DNS:collector.example" in names
