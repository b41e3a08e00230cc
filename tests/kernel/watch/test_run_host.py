"""`run --host`: the whole machine belongs to the job, also what doesn't descend from COMMAND."""

from __future__ import annotations

import errno
import os
import secrets
import shlex
from typing import TYPE_CHECKING

import pytest

from exporter.kernel.mounts import cgroup2_root
from tests.kernel.containers import container as made_container
from tests.kernel.host_watches import ALL_BUT_THAT, DENIED
from tests.kernel.lab import PORT, V4
from tests.kernel.policy_runs import policy
from tests.kernel.running_exporter import running, wait_for
from tests.kernel.tracing import trace
from tests.kernel.watching import Runner

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from tests.kernel.conftest import Programs
    from tests.kernel.lab import Lab
    from tests.kernel.tracing import Span, Trace

PATH = {"PATH": os.environ.get("PATH", os.defpath)}
WAIT = ["sh", "-c", "echo ready; read go"]


@pytest.fixture
def container() -> Iterator[Path]:
    """A cgroup like those that container engines make."""
    path = cgroup2_root() / secrets.token_hex(32)
    path.mkdir()
    yield path
    wait_for(lambda: "populated 0" in (path / "cgroup.events").read_text())
    path.rmdir()


@pytest.fixture
def service() -> Iterator[Runner]:
    """What was there before the job, and doesn't descend from it."""
    with Runner() as service:
        yield service


def reaching(seen: Trace, address: str, *places: Path) -> list[Span]:
    """What was connected to that address, in order, by command lines that name any of `places`.

    A stranger's lab may have the same address, and a name for it.
    """
    return [
        span
        for span in seen.egress
        if span.attributes.get("network.peer.address") == address
        and any(str(place) in str(span.attributes.get("process.command_line")) for place in places)
    ]


def test_what_does_not_descend_from_the_command_is_the_jobs_too(
    container: Path, service: Runner, lab: Lab, programs: Programs, tmp_path: Path
) -> None:
    # The contained one stays, so that its cgroup can be read.
    connect = f"exec 3<>/dev/tcp/{V4.peer}/{PORT}; touch {tmp_path}/connected"
    stay = f"until test -e {tmp_path}/over; do sleep 0.01; done"
    inside = ["bash", "-c", f"echo 0 > {container}/cgroup.procs; {connect}; {stay}"]
    plain, contained = (
        (PATH, [str(part) for part in lab.command(command)])
        for command in (programs.act("connect", V4.peer, PORT), inside)
    )
    with running(WAIT, tmp_path / "otlp", "--host") as run:
        assert run.next_line() == "ready"
        service.run(plain)
        service.start(contained)
        wait_for((tmp_path / "connected").exists)
        run.tell("go")
        seen = run.end()
        (tmp_path / "over").touch()
    assert seen.status == 0
    first, second = reaching(seen, V4.peer, programs.directory, tmp_path)
    assert {first.trace_id, second.trace_id} == {seen.job.trace_id}
    assert first["egress.attribution"] == "host"
    assert second["egress.attribution"] == "container"
    assert second["container.id"] == container.name


def test_without_it_only_what_descends_from_the_command_is(
    service: Runner, lab: Lab, programs: Programs, tmp_path: Path
) -> None:
    act = [str(part) for part in lab.command(programs.act("connect", V4.peer, PORT))]
    command = ["sh", "-c", 'echo ready; read go; "$@"', "sh", *act]
    with running(command, tmp_path / "otlp") as run:
        assert run.next_line() == "ready"
        service.run((PATH, act))
        run.tell("go")
        seen = run.end()
    (egress,) = seen.egress
    assert egress["egress.attribution"] == "lineage"


@pytest.mark.parametrize("options", [["--host-enforce"], []], ids=["host-enforce", "host"])
def test_containers_are_held_to_the_policy_if_asked_for_and_services_never(
    service: Runner, lab: Lab, programs: Programs, tmp_path: Path, options: list[str]
) -> None:
    file = policy(tmp_path, ALL_BUT_THAT)
    connect = shlex.join(programs.act("connect", DENIED, PORT))

    def failing_with(code: int) -> list[str]:
        return ["sh", "-c", f"{connect}; test $? = {code}"]

    in_container = failing_with(errno.EPERM if options else errno.ENETUNREACH)
    on_host = [str(part) for part in lab.command(failing_with(errno.ENETUNREACH))]
    bundle, shown = tmp_path / "bundle", [programs.directory]
    with (
        made_container(in_container, bundle, network=lab.build.path, shown=shown) as made,
        running(WAIT, tmp_path / "otlp", "--host", "--policy", file, *options) as run,
    ):
        assert run.next_line() == "ready"
        service.run((PATH, made.command))
        service.run((PATH, on_host))
        run.tell("go")
        seen = run.end()
    assert seen.status == 0
    mine = reaching(seen, DENIED, programs.directory)
    told = [(span["egress.verdict"], span["egress.attribution"]) for span in mine]
    assert told == [("deny" if options else "allow", "container"), ("allow", "host")]


@pytest.mark.parametrize("options", [["--host-enforce"], ["--host", "--host-enforce"]])
def test_what_it_takes_to_enforce_on_the_host_is_said(tmp_path: Path, options: list[str]) -> None:
    seen = trace(None, ["touch", str(tmp_path / "started")], tmp_path / "otlp", *options)
    assert (seen.status, (tmp_path / "started").exists()) == (2, False)
    assert "--host-enforce " in seen.stderr
