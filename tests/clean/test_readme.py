"""README's commands do what it says, as they stand there, in a new clone.

It is set up, with the network, by what `make demo` and `make test` do first; what is tried has none but
loopback. So what README promises of the demo is shown, too: no internet, no collector. The first three as
written, on a machine where nothing was ever installed, are `.ci/run`'s, which runs these tests there as well.
"""

from __future__ import annotations

import os
import re
import shlex
from typing import TYPE_CHECKING

import pytest
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest

from tests.checkout import ROOT
from tests.clean.clone import PREPARED_WITHIN_S
from tests.clean.readme import README, commands, script
from tests.launch import spans_in

if TYPE_CHECKING:
    from tests.clean.clone import Clone

pytestmark = [pytest.mark.index, pytest.mark.timeout(PREPARED_WITHIN_S + 600)]

INSTEAD = {
    "make demo-stack": "",  # tests/stack runs it: it takes a minute, and the servers
    "make test": "PYTEST_ARGS=tests/unit/common/test_clock.py make test",  # this one is among the rest
}
"""What is run instead of a command."""
MY_PROJECT = """
mkdir ~/my-project ~/received
printf 'all:\\n\\tcurl -s http://collector.example:4318/\\n' > ~/my-project/Makefile
echo 127.0.0.1 collector.example >> /etc/hosts
coproc receiver { exec /usr/bin/python3 tests/clean/receiver.py ~/received; }
trap 'kill $receiver_PID' EXIT
read -r -u ${receiver[0]} listening
"""
"""What README's reader has, a project that `make` builds; and the collector that README calls so."""


def test_what_isnt_run_as_written_here_is_what_ci_runs_so_after_the_demo() -> None:
    stages = re.findall(r"^row bookworm (.+)$", (ROOT / ".ci/run").read_text(), re.MULTILINE)
    run = [command for stage in stages for command in shlex.split(stage)]
    first = [command for command in commands(README.read_text()) if command in {"make demo", *INSTEAD}]
    assert [command for command in run if command in first] == first
    assert first == ["make demo", *INSTEAD]


@pytest.mark.skipif(os.geteuid() != 0, reason="needs root")
def test_a_new_clone_is_set_up(clone: Clone) -> None:
    """Apart from the next one, which keeps others from being alone while it runs."""
    clone.prepared()


@pytest.mark.kernel
def test_readmes_commands_work_as_written(clone: Clone) -> None:
    clone.prepared()
    steps = [(command, INSTEAD.get(command, command)) for command in commands(README.read_text())]
    status, told = clone.run(MY_PROJECT + script(steps))
    assert status == 0, told
    assert "\nattempts 11 = exported 11 + aggregated 0 + dropped 0 + pending 0\n" in told
    assert "`ci-egress run` works here" in told
    spans = spans_in(clone.home / "my-project/ci-egress")
    fetched = [span["attributes"] for span in spans if span["name"].startswith("connect ")]
    assert {each["process.executable.name"] for each in fetched} == {"curl"}
    sent = ExportTraceServiceRequest.FromString((clone.home / "received/traces.bin").read_bytes())
    assert sent.resource_spans
