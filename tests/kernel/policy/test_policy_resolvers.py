"""Whose answers grant: over loopback only of who had port 53 before, or resolves names for the machine."""

from __future__ import annotations

import os
import socket
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from typing import NamedTuple

import pytest

from exporter.kernel.maps.resolvers import UNITS
from exporter.kernel.mounts import cgroup2_root
from tests.kernel.arrivals import TCP, Endpoint, Packet
from tests.kernel.dns_exchange import NAME, Asking, policy, udp
from tests.kernel.held_job import DENIED, SENT, HeldJob, connect, held_job, record
from tests.kernel.lab import NETWORKS, PORT, V4, V6, Lab, Network
from tests.kernel.running_exporter import nothing_left

pytestmark = pytest.mark.kernel

OTHER_PORT = 7001
STUBS = {V4: "127.0.0.53", V6: "::1"}
"""Where something listens on the build side before there are any programs."""

LATE = {V4: "127.0.0.1", V6: V6.build}
EVERY = [
    ("0.0.0.0", "127.0.0.1"),  # noqa: S104 - on purpose
    *(("::", asked) for asked in ("::1", "127.0.0.1")),
    ("::ffff:127.0.0.7", "127.0.0.7"),
]
UNIT = "AdGuardHome.service"


class Early(NamedTuple):
    """The programs, and what had port 53 of stubs before them."""

    job: HeldJob
    lab: Lab
    stubs: dict[Network, socket.socket]
    spare: dict[Network, Lab]
    """A lab for each, whose stub may be spoilt."""
    spare_stubs: dict[Network, socket.socket]


@pytest.fixture(scope="module")
def early() -> Iterator[Early]:
    with Lab() as lab, Lab() as one, Lab() as other, ExitStack() as stack:
        stubs, spare = listening(stack, {V4: lab, V6: lab}), {V4: one, V6: other}
        spare_stubs = listening(stack, spare)
        with nothing_left(), held_job() as job:
            yield Early(job, lab, stubs, spare, spare_stubs)


def listening(stack: ExitStack, labs: dict[Network, Lab]) -> dict[Network, socket.socket]:
    return {network: udp(stack, lab.build, STUBS[network], 53) for network, lab in labs.items()}


def told_by(stack: ExitStack, lab: Lab, server: socket.socket, at: str, network: Network) -> None:
    """Have the job ask `server`, which is reached at the address `at`, for NAME, and be told the peer's."""
    client = udp(stack, lab.build, at, 0)
    asking = Asking(client, server, server)
    asking.ask(NAME, record(network.peer), at=at)


def opened(lab: Lab, network: Network) -> tuple[str, int]:
    """What comes of a connect to the peer, and how many packets get there."""
    with lab.watch() as watch:
        result = connect(lab.build, network.peer, PORT)
    return result, watch.arrivals.packets[Packet(TCP, Endpoint(network.peer, PORT))]


@contextmanager
def in_cgroup(path: str) -> Iterator[None]:
    """Let this process be there, below the hierarchy's root, for the block."""
    root = cgroup2_root()
    (own,) = (line[3:] for line in Path("/proc/self/cgroup").read_text().split() if line.startswith("0::"))
    made = []
    for folder in (root / path, *(root / path).parents):
        if folder.exists():
            break
        made.append(folder)
    (root / path).mkdir(parents=True, exist_ok=True)
    try:
        (root / path / "cgroup.procs").write_text(f"{os.getpid()}")
        yield
    finally:
        (root / own.lstrip("/") / "cgroup.procs").write_text(f"{os.getpid()}")
        with suppress(OSError):  # somebody else, in a root of its own, is in one of them
            for folder in made:
                folder.rmdir()


@NETWORKS
def test_who_may_be_answered_is_no_resolver_for_that(early: Early, network: Network) -> None:
    """Anybody's datagram from port 53 lets the job answer there: by the rule `answer`, not as a resolver."""
    early.job.hold_to_text(policy(network, f"{NAME}:{PORT}"))
    with ExitStack() as stack:
        asking = Asking.at(stack, early.lab, network)
        asking.stranger.sendto(b"x", asking.client.getsockname())
        assert asking.client.recv(9) == b"x"
        Asking(asking.client, asking.stranger, asking.resolver).ask(NAME, record(network.peer))
        assert opened(early.lab, network) == (DENIED, 0)
        asking.ask(NAME, record(network.peer))
    assert connect(early.lab.build, network.peer, PORT) == SENT


@NETWORKS
def test_over_loopback_who_takes_port_53_later_grants_nothing(early: Early, network: Network) -> None:
    """As Docker does for whoever publishes that port; who had it before goes on."""
    early.job.hold_to_text(policy(network, f"{NAME}:{PORT}"))
    with ExitStack() as stack:
        with early.job.away():
            server = udp(stack, early.lab.build, LATE[network], 53)
        told_by(stack, early.lab, server, LATE[network], network)
        assert opened(early.lab, network) == (DENIED, 0)
        told_by(stack, early.lab, early.stubs[network], STUBS[network], network)
    assert connect(early.lab.build, network.peer, PORT) == SENT


@pytest.mark.parametrize(("taken", "asked"), EVERY)
def test_who_takes_it_later_in_other_words_grants_nothing(early: Early, taken: str, asked: str) -> None:
    early.job.hold_to_text(policy(V4, f"{NAME}:{PORT}"))
    with Lab() as lab, ExitStack() as stack:
        with early.job.away():
            server = udp(stack, lab.build, taken, 53)
        told_by(stack, lab, server, asked, V4)
        assert opened(lab, V4) == (DENIED, 0)


@NETWORKS
@pytest.mark.parametrize(
    ("where", "result"),
    [
        (f"system.slice/{UNIT}", SENT),
        ("system.slice/docker.service", DENIED),
        (f"system.slice/{UNIT[1:]}", DENIED),
        (f"system.slices/{UNIT}", DENIED),
        (f"user.slice/{UNIT}", DENIED),
        (f"user.slice/system.slice/{UNIT}", DENIED),
        (f"system.slice/{UNIT}/{UNIT}", DENIED),
        (UNIT, DENIED),
    ],
)
def test_a_service_that_resolves_for_the_machine_may_begin_again(
    early: Early, network: Network, where: str, result: str
) -> None:
    assert UNIT in UNITS
    early.job.hold_to_text(policy(network, f"{NAME}:{PORT}"))
    stub = STUBS[network]
    with Lab() as lab, ExitStack() as stack:
        with early.job.away(), in_cgroup(where):
            server = udp(stack, lab.build, stub, 53)
        told_by(stack, lab, server, stub, network)
        assert connect(lab.build, network.peer, PORT) == result


@NETWORKS
def test_over_loopback_names_are_granted_until_the_job_takes_port_53_itself(
    early: Early, network: Network
) -> None:
    """Of whatever address: it can send under each of them."""
    lab, stub = early.spare[network], early.spare_stubs[network]
    early.job.hold_to_text(policy(network, f"{NAME}:{PORT}", f"other.example:{OTHER_PORT}"))
    with ExitStack() as stack:
        told_by(stack, lab, stub, STUBS[network], network)
        assert connect(lab.build, network.peer, PORT) == SENT
        own = udp(stack, lab.build, LATE[network], 53)
        for server, at in ((own, LATE[network]), (stub, STUBS[network])):
            asking = Asking(udp(stack, lab.build, at, 0), server, server)
            asking.ask("other.example", record(network.peer))
            assert connect(lab.build, network.peer, OTHER_PORT) == DENIED


@NETWORKS
def test_a_resolver_that_a_job_made_before_it_was_known_is_its_own(early: Early, network: Network) -> None:
    """Even where it seems to be of a service."""
    early.job.hold_to_text(policy(network, f"{NAME}:{PORT}"))
    stub = STUBS[network]
    with Lab() as lab, ExitStack() as stack:
        with early.job.before_it_is_known(), in_cgroup(f"system.slice/{UNIT}"):
            server = udp(stack, lab.build, stub, 53)
        told_by(stack, lab, server, stub, network)
        assert connect(lab.build, network.peer, PORT) == DENIED
