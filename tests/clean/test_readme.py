"""README's commands do what it says, as they stand there, where nobody has worked yet.

A place is prepared, with the network, by what `make demo` and `make test` do first; what is tried has none
but loopback. So what README promises of the demo is shown, too: no internet, no collector.
"""

from __future__ import annotations

import os
import re
from typing import TYPE_CHECKING

import pytest
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest

from tests.clean.places import PREPARED_WITHIN_S, PROJECT, ROOT_PACKAGES
from tests.clean.readme import README, commands, script
from tests.kernel.test_loader import BCC_PACKAGES
from tests.launch import spans_in

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.clean.places import Place

pytestmark = [pytest.mark.index, pytest.mark.timeout(PREPARED_WITHIN_S + 600)]

INSTEAD = {
    "make demo-stack": "",  # tests/stack runs it: it takes a minute, and the servers
    "make test": "PYTEST_ARGS=tests/unit/test_clock.py make test",  # all of them are what runs this one
}
"""What is run instead of a command in every place."""
IN_A_ROOT = {
    "make test": "",  # `make test-unit` stands for it, which preparing ran
}
"""What is run instead in a Debian root, beside that."""
MY_PROJECT = """
mkdir ~/my-project ~/received
printf 'all:\\n\\tcurl -s http://collector.example:4318/\\n' > ~/my-project/Makefile
echo 127.0.0.1 collector.example >> /etc/hosts
coproc receiver { exec /usr/bin/python3 tests/clean/receiver.py ~/received; }
trap 'kill $receiver_PID' EXIT
read -r -u ${receiver[0]} listening
"""
"""What README's reader has, a project that `make` builds; and the collector that README calls so."""


def steps(place: str) -> Iterator[tuple[str, str]]:
    """Each command of README, and what is run for it."""
    instead = INSTEAD if place == "clone" else INSTEAD | IN_A_ROOT
    for command in commands(README.read_text()):
        if place != "clone" and command.startswith("sudo "):  # which isn't there
            yield command, ""
        else:
            yield command, instead.get(command, command)


def test_what_is_run_instead_of_a_command_stands_in_readme() -> None:
    assert {*INSTEAD, *IN_A_ROOT} <= {*commands(README.read_text())}


@pytest.mark.skipif(os.geteuid() != 0, reason="needs root")
def test_a_place_is_prepared_by_what_readmes_commands_do_first(place: Place) -> None:
    """Apart from the next one, which keeps others from being alone while it runs."""
    told = place.prepared()
    if place.name != "clone":
        assert re.search(r"=== \d{4,} passed in ", told), told


@pytest.mark.kernel
def test_readmes_commands_work_as_written(place: Place) -> None:
    place.prepared()
    status, told = place.run(MY_PROJECT + script(steps(place.name)))
    assert status == 0, told
    assert "\nattempts 11 = exported 11 + aggregated 0 + dropped 0 + pending 0\n" in told
    assert "`ci-egress run` works here" in told
    fetched = [
        span for span in spans_in(place.file("my-project/ci-egress")) if span["name"].startswith("connect ")
    ]
    assert {span["attributes"]["process.executable.name"] for span in fetched} == {"curl"}
    sent = ExportTraceServiceRequest.FromString(place.file("received/traces.bin").read_bytes())
    assert sent.resource_spans


def test_what_is_fetched_ahead_is_what_tests_ask_for() -> None:
    fetched = (PROJECT / "tools/prefetch.sh").read_text()
    for suite, packages in (("bookworm", ROOT_PACKAGES), ("trixie", ROOT_PACKAGES), ("trixie", BCC_PACKAGES)):
        assert f"\nfetch tools/debian-root.sh {suite} {' '.join(packages)} &\n" in fetched
