"""The servers of the stack as processes: ready when they say so, and gone when they are stopped."""

from __future__ import annotations

import socket
import sys
from contextlib import ExitStack
from typing import TYPE_CHECKING

import psutil
import pytest

from demo.stack.process import Server, wait_until_ready
from demo.stack.servers import free_ports, running_stack
from exporter.common.errors import CiEgressError
from tests.stack.conftest import wait_until

if TYPE_CHECKING:
    from pathlib import Path

    from demo.stack.servers import Stack

pytestmark = [pytest.mark.stack, pytest.mark.timeout(900)]  # the first one may wait for the builds


def test_all_four_serve(stack: Stack) -> None:
    servers = [stack.collector, stack.jaeger, stack.prometheus, stack.alertmanager]
    assert all(server.pid for server in servers)
    assert all(server.log.stat().st_size for server in servers)


def test_a_port_is_its_servers_own_also_while_that_is_down() -> None:
    with free_ports("server") as ports:
        where = ("127.0.0.1", ports["server"])
        for _ in range(2):
            with socket.create_server(where), socket.create_connection(where):
                pass
        with socket.socket() as anybody, pytest.raises(OSError, match="in use"):
            anybody.bind(where)


def test_a_server_that_ends_at_once_is_told_with_the_end_of_its_log(tmp_path: Path) -> None:
    program = [sys.executable, "-c", "import sys; sys.exit('no such option: --x')"]
    server = Server("broken", program, "http://127.0.0.1:9/", tmp_path)
    with pytest.raises(CiEgressError, match=r"broken ended at once.*\n.*no such option: --x"):
        server.start()


def test_one_that_ends_is_told_at_once_while_others_still_start(tmp_path: Path) -> None:
    slow = Server("slow", ["sleep", "600"], "http://127.0.0.1:9/", tmp_path)
    broken = Server("broken", ["false"], "http://127.0.0.1:9/", tmp_path)
    with ExitStack() as stops:
        for server in (slow, broken):
            server.launch()
            stops.callback(server.stop)
        with pytest.raises(CiEgressError, match="broken ended at once"):
            wait_until_ready([slow, broken])
        assert slow.pid


def test_a_configuration_that_a_server_refuses_is_told_with_its_words(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    refused = tmp_path / "alertmanager.yaml"
    refused.write_text("route: {receiver: nobody}\nreceivers: []\n")
    monkeypatch.setattr("demo.stack.servers.ALERTMANAGER_CONFIG", refused)
    with (
        pytest.raises(CiEgressError, match=r"(?s)alertmanager ended at once.*undefined receiver.*nobody"),
        running_stack(tmp_path / "stack", servers=("alertmanager", "prometheus")),
    ):
        pytest.fail("it must not start")


def test_a_server_that_ignores_being_stopped_is_killed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("demo.stack.process.STOP_WITHIN_S", 0.1)
    serving = (
        "import http.server, signal; signal.signal(signal.SIGTERM, signal.SIG_IGN);"
        "server = http.server.ThreadingHTTPServer(('127.0.0.1', 0), http.server.SimpleHTTPRequestHandler);"
        "open('port', 'w').write(str(server.server_port)); server.serve_forever()"
    )
    server = Server("stubborn", [sys.executable, "-c", serving], "", tmp_path)
    server.launch()
    port = tmp_path / "port"
    wait_until(lambda: port.exists() and bool(port.read_text()))
    server.ready_url = f"http://127.0.0.1:{port.read_text()}/"
    wait_until_ready([server])
    process = psutil.Process(server.pid)
    server.stop()
    assert server.pid is None
    assert not process.is_running()


def test_when_the_block_ends_no_server_is_left(tmp_path: Path) -> None:
    with running_stack(tmp_path, servers=("jaeger", "collector")) as running:
        processes = [psutil.Process(server.pid) for server in (running.jaeger, running.collector)]
        assert running.prometheus.pid is None
    assert not any(process.is_running() for process in processes)


def test_when_one_server_fails_the_others_are_stopped(tmp_path: Path) -> None:
    (tmp_path / "collector").mkdir()
    (tmp_path / "collector/queue").write_text("a file where the queue's folder should be")
    with (
        pytest.raises(CiEgressError, match="collector ended at once"),
        running_stack(tmp_path, servers=("jaeger", "collector")),
    ):
        pytest.fail("it must not start")
    wait_until(lambda: none_is_of(tmp_path))


def none_is_of(folder: Path) -> bool:
    """Does no process keep its data there? A server's child may outlive it for a moment."""
    environments = [each.info["environ"] or {} for each in psutil.process_iter(["environ"])]
    return all(str(folder / "jaeger") != each.get("JAEGER_STATE") for each in environments)
