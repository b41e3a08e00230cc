"""otel-collector.yaml is valid, listens on loopback, and admits other machines over TLS with a token only."""

from __future__ import annotations

import os
import re
import subprocess
from dataclasses import replace
from typing import TYPE_CHECKING

import pytest

from demo.stack.servers import COLLECTOR_CONFIG, JAEGER_CONFIG, PROJECT, free_ports
from exporter.otlp.ledger import LedgerTotals
from tests.stack.conftest import wait_until
from tests.stack.span_sender import new_trace_id, stored_ids, submit, telemetry_to

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from pathlib import Path

    from demo.stack.process import Server
    from demo.stack.servers import Stack

pytestmark = [pytest.mark.stack, pytest.mark.timeout(900)]  # the first one may wait for the builds
both_protocols = pytest.mark.parametrize("protocol", ["http/protobuf", "grpc"])

EXPOSED_CONFIG = PROJECT / "otel-collector-exposed.yaml"
MANUAL = PROJECT / "docs/stack.md"
TOKEN = "correct-horse-battery"  # noqa: S105 - of this test


def validated(otelcol: Path, *configs: Path, **environ: str) -> subprocess.CompletedProcess[str]:
    """What `otelcol validate` says."""
    arguments = [argument for config in configs for argument in ("--config", str(config))]
    return subprocess.run(
        [otelcol, "validate", *arguments],
        env={"PATH": os.environ["PATH"], **environ},
        capture_output=True,
        text=True,
        check=False,
    )


def secrets_of(certificates: Path, tokens: Path) -> dict[str, str]:
    """The three files that the collector needs to admit other machines."""
    return {
        "COLLECTOR_CERTIFICATE": str(certificates / "server.pem"),
        "COLLECTOR_KEY": str(certificates / "server.key"),
        "COLLECTOR_TOKENS": str(tokens),
    }


@pytest.fixture
def tokens(tmp_path: Path) -> Path:
    """Two runners' tokens."""
    path = tmp_path / "tokens"
    path.write_text(f"another-token of the release runners\n{TOKEN} of all others\n")
    return path


def test_the_configuration_is_valid_as_it_stands(otelcol: Path) -> None:
    done = validated(otelcol, COLLECTOR_CONFIG)
    assert (done.returncode, done.stderr) == (0, "")


def test_with_certificate_and_tokens_it_is_valid_for_other_machines_too(
    otelcol: Path, certificates: Path, tokens: Path
) -> None:
    done = validated(otelcol, COLLECTOR_CONFIG, EXPOSED_CONFIG, **secrets_of(certificates, tokens))
    assert (done.returncode, done.stderr) == (0, "")


@pytest.mark.parametrize(
    ("missing", "said"),
    [
        ("COLLECTOR_CERTIFICATE", "must include both certificate and key"),
        ("COLLECTOR_KEY", "must include both certificate and key"),
        ("COLLECTOR_TOKENS", "no bearer token provided"),
    ],
)
def test_without_one_of_the_three_files_it_is_refused(
    otelcol: Path, certificates: Path, tokens: Path, missing: str, said: str
) -> None:
    environ = {name: value for name, value in secrets_of(certificates, tokens).items() if name != missing}
    done = validated(otelcol, COLLECTOR_CONFIG, EXPOSED_CONFIG, **environ)
    assert done.returncode == 1
    assert said in done.stderr


def test_a_component_that_the_recipe_lacks_would_be_noticed(otelcol: Path, tmp_path: Path) -> None:
    """So validation says that all that is named is built, from modules of the contrib distribution."""
    config = tmp_path / "config.yaml"
    config.write_text(COLLECTOR_CONFIG.read_text().replace("otlp_grpc/jaeger", "otlp_arrow/jaeger"))
    done = validated(otelcol, config)
    assert done.returncode == 1
    assert "otlp_arrow" in done.stderr


def test_it_listens_on_loopback_only(stack: Stack) -> None:
    shown = subprocess.run(["ss", "-Hltnp"], capture_output=True, text=True, check=True).stdout
    listening = [line.split()[3] for line in shown.splitlines() if f"pid={stack.collector.pid}," in line]
    assert len(listening) == 5
    assert {address.rpartition(":")[0] for address in listening} == {"127.0.0.1"}


@pytest.fixture
def exposed(stack: Stack, certificates: Path, tokens: Path, tmp_path: Path) -> Iterator[Server]:
    """Another collector that admits other machines, before the same Jaeger."""
    with free_ports("http", "grpc", "exposed_http", "exposed_grpc", "prometheus", "health", "own") as ports:
        environ = {
            **stack.collector.environ,
            **secrets_of(certificates, tokens),
            "COLLECTOR_OTLP_HTTP": f"127.0.0.1:{ports['http']}",
            "COLLECTOR_OTLP_GRPC": f"127.0.0.1:{ports['grpc']}",
            "COLLECTOR_EXPOSED_HTTP": f"127.0.0.1:{ports['exposed_http']}",
            "COLLECTOR_EXPOSED_GRPC": f"127.0.0.1:{ports['exposed_grpc']}",
            "COLLECTOR_PROMETHEUS": f"127.0.0.1:{ports['prometheus']}",
            "COLLECTOR_HEALTH": f"127.0.0.1:{ports['health']}",
            "COLLECTOR_SELF_PORT": str(ports["own"]),
            "COLLECTOR_STATE": str(tmp_path / "state"),
        }
        command = [*stack.collector.command, "--config", EXPOSED_CONFIG]
        server = replace(
            stack.collector,
            name="exposed",
            command=command,
            environ=environ,
            folder=tmp_path,
            ready_url=f"http://127.0.0.1:{ports['health']}/",
        )
        try:
            server.start()
            yield server
        finally:
            server.stop()


def runner(exposed: Server, certificates: Path, protocol: str, token: str | None) -> Mapping[str, str]:
    """The variables of a runner elsewhere."""
    address = exposed.environ["COLLECTOR_EXPOSED_GRPC" if protocol == "grpc" else "COLLECTOR_EXPOSED_HTTP"]
    headers = {"OTEL_EXPORTER_OTLP_HEADERS": f"authorization=Bearer%20{token}"} if token else {}
    return {
        "OTEL_EXPORTER_OTLP_ENDPOINT": f"https://{address}",
        "OTEL_EXPORTER_OTLP_PROTOCOL": protocol,
        "OTEL_EXPORTER_OTLP_CERTIFICATE": str(certificates / "ca.pem"),
        **headers,
    }


@both_protocols
def test_a_runner_elsewhere_is_admitted_with_its_token(
    exposed: Server, stack: Stack, certificates: Path, protocol: str
) -> None:
    trace_id = new_trace_id()
    with telemetry_to(runner(exposed, certificates, protocol, TOKEN)) as telemetry:
        submit(telemetry, trace_id, [1])
    assert telemetry.complaints() == []
    assert telemetry.account == LedgerTotals(exported=1)
    wait_until(lambda: stored_ids(stack, trace_id) == [1])


@both_protocols
@pytest.mark.parametrize("token", [None, "correct-horse-batterie"], ids=["none", "wrong"])
def test_without_the_token_everything_is_refused_and_counted(
    exposed: Server, certificates: Path, protocol: str, token: str | None
) -> None:
    with telemetry_to(runner(exposed, certificates, protocol, token)) as telemetry:
        submit(telemetry, new_trace_id(), [1])
    error_type = "UNAUTHENTICATED" if protocol == "grpc" else "401"
    assert telemetry.account == LedgerTotals(dropped={("export", error_type): 1})
    assert telemetry.complaints()


def test_a_token_that_is_added_is_admitted_without_a_restart(
    exposed: Server, stack: Stack, certificates: Path, tokens: Path
) -> None:
    trace_id = new_trace_id()
    pid = exposed.pid

    def is_admitted() -> bool:
        with telemetry_to(runner(exposed, certificates, "http/protobuf", "next-token")) as telemetry:
            submit(telemetry, trace_id, [1])
        return telemetry.account == LedgerTotals(exported=1)

    assert not is_admitted()
    with tokens.open("a") as file:
        file.write("next-token of all, from next week on\n")
    wait_until(is_admitted)
    wait_until(lambda: stored_ids(stack, trace_id) == [1])
    assert exposed.pid == pid


def test_what_the_manual_adds_for_log_records_is_valid(otelcol: Path, tmp_path: Path) -> None:
    (block,) = re.findall(r"^```yaml\n(.*?)^```$", MANUAL.read_text(), re.DOTALL | re.MULTILINE)
    addition = tmp_path / "logs.yaml"
    addition.write_text(block)
    done = validated(otelcol, COLLECTOR_CONFIG, addition)
    assert (done.returncode, done.stderr) == (0, "")


def test_the_manual_names_every_variable_with_its_default() -> None:
    text = MANUAL.read_text()
    for config in (COLLECTOR_CONFIG, EXPOSED_CONFIG, JAEGER_CONFIG):
        variables = re.findall(r"\$\{env:(\w+)(?::-([^}]*))?\}", config.read_text())
        assert variables
        for name, default in variables:
            assert f"`{name}`" in text or f"{name}=" in text, name
            assert default.rpartition(":")[2] in text, name
