"""Fixtures of the kernel tests."""

from __future__ import annotations

import os
import subprocess
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from exporter.kernel.mounts import cgroup2_root

from .job_steps import Steps
from .kernel_side import KernelSide, kernel_side
from .lab import PORT, V4, V6, Lab, Network
from .running_exporter import wait_for
from .steered_runs import Host, own_host
from .watching import Runner

if TYPE_CHECKING:
    from collections.abc import Generator, Iterator

SOURCES = Path(__file__).parent / "programs"


@dataclass(frozen=True)
class Programs:
    """The compiled test programs, each method gives a command line to run."""

    directory: Path

    def act(self, verb: str, *arguments: object) -> list[str]:
        """Run one network act: `act("connect", *endpoint)`."""
        return [str(self.directory / "act"), verb, *map(str, arguments)]

    def executing(self, *arguments: object) -> list[str]:
        """Leave behind a process that is executing a program: `executing(fuse, file, *endpoint, "true")`."""
        return [str(self.directory / "executing"), *map(str, arguments)]

    def flood(self, verb: str, *arguments: object) -> list[str]:
        """Do one thing very often: `flood("sends", 1_000_000, *endpoint)`."""
        return [str(self.directory / "flood"), verb, *map(str, arguments)]

    def tamper(self, verb: str, *arguments: object) -> list[str]:
        """Do what no build should: `tamper("kill", pid)`."""
        return [str(self.directory / "tamper"), verb, *map(str, arguments)]

    def lineage(self, shape: str, *arguments: object) -> list[str]:
        """Put a process shape around a command: `lineage("double-fork", *programs.act(...))`."""
        return [str(self.directory / "lineage"), shape, *map(str, arguments)]


@pytest.fixture(scope="session")
def made_ahead(request: pytest.FixtureRequest) -> Path | None:
    """Where what takes long to make is already."""
    folder: Path | None = request.config.getoption("made_ahead")
    return folder


@pytest.fixture(scope="session")
def programs(tmp_path_factory: pytest.TempPathFactory, made_ahead: Path | None) -> Programs:
    """Compile them, once; below a name that nobody else's on this machine have, from another root either."""
    if made_ahead:
        return Programs(made_ahead / "programs")
    directory = tmp_path_factory.mktemp(f"programs-{os.getpid()}-")
    subprocess.run(["make", "--silent", "-C", SOURCES, f"OUT={directory}"], check=True, timeout=120)
    return Programs(directory)


@pytest.fixture(scope="module")
def lab() -> Iterator[Lab]:
    """Build a network of the module's own."""
    with Lab() as lab:
        yield lab


@pytest.fixture(params=[V4, V6], ids=["ipv4", "ipv6"])
def network(request: pytest.FixtureRequest) -> Network:
    """Each IP version, as by the mark NETWORKS, for tests whose other fixtures need it, too."""
    chosen: Network = request.param
    return chosen


@pytest.fixture(scope="module")
def kernel() -> Iterator[KernelSide]:
    """The kernel side alone, started once for the module."""
    with kernel_side() as side:
        yield side


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Function) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """Show beside a failure what the kernel side had to say."""
    report = yield
    side = item.funcargs.get("kernel")
    if report.when == "call" and report.failed and isinstance(side, KernelSide):
        report.sections.append(("the kernel side", side.state()))
    return report


@pytest.fixture(scope="module")
def host() -> Iterator[Host]:
    """A bpffs of the module's own, for runs that are steered from outside."""
    with own_host() as made:
        yield made


@pytest.fixture
def any_source(lab: Lab) -> Iterator[None]:
    """Sockets of the build side may have any IPv6 address, as with IPV6_FREEBIND where that isn't denied."""
    name = "net/ipv6/ip_nonlocal_bind"
    lab.build.configure({name: 1})
    yield
    lab.build.configure({name: 0})


@pytest.fixture
def act(lab: Lab, programs: Programs) -> list[str]:
    """A command that connects to the lab's peer."""
    return [str(part) for part in lab.command(programs.act("connect", V4.peer, PORT))]


@pytest.fixture
def runner() -> Iterator[Runner]:
    """A runner's agent, without variables of a job."""
    with Runner() as runner:
        yield runner


@pytest.fixture
def steps(lab: Lab, programs: Programs, runner: Runner, tmp_path: Path) -> Iterator[Steps]:
    """Steps of jobs, which are over with the test."""
    folder = tmp_path / "steps"
    folder.mkdir()
    yield Steps(folder, lab, programs, runner)
    (folder / "over").touch()


@pytest.fixture
def cgroup() -> Iterator[Path]:
    """A cgroup of the test's own, straight below the root."""
    path = cgroup2_root() / f"test-{os.getpid()}"
    path.mkdir()
    yield path
    wait_for(lambda: "populated 0" in (path / "cgroup.events").read_text())
    path.rmdir()
